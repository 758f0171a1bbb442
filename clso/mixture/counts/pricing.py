r"""The predictions of given targets by models of one text: each lower order is computed once.

Notation: a model's orders are p_0, the prediction of the empty context, to p_n, that of its longest
context (`clso.mixture.counts.kneser_ney`). Models share an order where they share its tables of
counts and all shorter orders. n positions with a target y each.

.. math:: p_k(y \mid h_k) = \gamma_k(h_k) \, p_{k-1}(y \mid h_{k-1})
        + \frac{c_k(h_k, y) - D_k}{c_k(h_k)}
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from clso.counting import FloatArray
from clso.mixture.compiled import Handles, compiled, find_entry, read, read_float
from clso.mixture.counts.walk import ContextWalk
from clso.scoring import Int64Array

if TYPE_CHECKING:
    from clso.mixture.counts.count_table import CountTable
    from clso.mixture.counts.kneser_ney import KneserNey

__all__ = ["Pricing"]

_POSITIONS = 1 << 13  # at a time: contexts and orders of many models stay in a processor's cache


class Pricing:
    """The orders of some models, each once.

    Args:
        walk: finds the contexts of the models.
    """

    def __init__(self, models: Sequence[KneserNey], walk: ContextWalk) -> None:
        self._models, self._walk = models, walk
        self._bases: list[KneserNey] = []  # a model of each p_0
        numbers: dict[tuple[str | int, ...], int] = {}
        orders: list[tuple[int, int, int]] = []
        tables: list[CountTable] = []
        self._last: list[int] = []  # of each model; that of p_0 is less than 0
        for model in models:
            # as in `ContextWalk`, equal names and arrays of symbols mean equal tables
            names = model.pattern.count_names
            key: tuple[str | int, ...] = (names[0], id(model.levels[0].rows.symbols))
            key += (id(model.target_classes),)
            if key not in numbers:
                self._bases.append(model)
                numbers[key] = -len(self._bases)
            base = numbers[key]
            for name, table, context in zip(
                names[1:], model.levels[1:], walk.numbers(model), strict=True
            ):
                shorter, key = numbers[key], (*key, context, name, id(table.rows.symbols))
                if key not in numbers:
                    numbers[key] = len(orders)
                    orders.append((shorter, context, base))
                    tables.append(table)
            self._last.append(numbers[key])
        self._orders = np.array(orders, dtype=np.int64).reshape(-1, 3)
        self._discounts = np.reshape([table.discounts for table in tables], (-1, 4))
        arrays = [
            (table.rows.starts, table.rows.symbols, table.counts, table.totals, table.backoff)
            for table in tables
        ]
        self._tables = Handles([array for of_table in arrays for array in of_table])

    def prices(self, inputs: Int64Array, targets: Int64Array) -> FloatArray:
        """Return p(targets) under each model, `(K, B, T)`, of checked tokens."""
        prices = np.empty((len(self._models), *inputs.shape))
        size = max(_POSITIONS // max(inputs.shape[1], 1), 1)
        for start in range(0, len(inputs), size):
            part = slice(start, start + size)
            prices[:, part] = self._of_part(inputs[part], targets[part])
        return prices

    def _of_part(self, inputs: Int64Array, targets: Int64Array) -> FloatArray:
        tokens = targets.reshape(-1)
        classes = [model.target_classes for model in self._bases]
        symbols = np.stack([tokens if of is None else of[tokens] for of in classes])
        first = np.stack([m.base[of] for m, of in zip(self._bases, symbols, strict=True)])
        orders = np.empty((len(self._orders), len(tokens)))
        _interpolate(
            self._orders,
            self._walk.find(inputs),
            symbols.astype(np.int64, copy=False),
            self._tables.places,
            self._discounts,
            first,
            orders,
        )
        prices = np.empty((len(self._models), len(tokens)))
        for row, model, last in zip(prices, self._models, self._last, strict=True):
            row[:] = orders[last] if last >= 0 else first[-1 - last]
            if model.within_class is not None:
                row *= model.within_class[tokens]
        return prices.reshape(-1, *targets.shape)


@compiled
def _interpolate(
    orders: Int64Array,
    contexts: Int64Array,
    symbols: Int64Array,
    places: Int64Array,
    discounts: FloatArray,
    first: FloatArray,
    found: FloatArray,
) -> None:
    # one table after another, so that it stays in a processor's cache
    for number in range(len(orders)):
        shorter, context, base = orders[number]
        starts, entries = places[5 * number], places[5 * number + 1]
        counts, totals = places[5 * number + 2], places[5 * number + 3]
        backoff = places[5 * number + 4]
        for position in range(found.shape[1]):
            p = first[-1 - shorter, position] if shorter < 0 else found[shorter, position]
            row = contexts[context, position]
            # a context that ends a text has no counts after it
            if row >= 0 and read(starts, row) < read(starts, row + 1):
                p *= read_float(backoff, row)
                entry = find_entry(starts, entries, row, symbols[-1 - base, position])
                if entry >= 0:
                    count = read(counts, entry)
                    p += (count - discounts[number, min(count, 3)]) / read_float(totals, row)
            found[number, position] = p
