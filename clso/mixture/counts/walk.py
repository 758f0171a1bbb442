"""The contexts of many models of one text, at all positions of blocks: each is found once.

Notation: a model with n elements has contexts of length 1 .. n (`clso.mixture.counts.pattern`); a
context's number is its row in the table of counts after it. B blocks of T positions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from clso.mixture.arrays import UnsignedArray
from clso.mixture.compiled import Handles, compiled, find_entry
from clso.scoring import Int64Array

if TYPE_CHECKING:
    from clso.mixture.counts.kneser_ney import KneserNey

__all__ = ["ContextWalk"]


class ContextWalk:
    """The tables that lead to the contexts of some models, each table once.

    Models share a table where it has the same name and array of symbols, as in models of one text.
    A name alone may stand for tables of two texts, and an array alone, in models from a file, for
    different tables with equal contents.
    """

    def __init__(self, models: Sequence[KneserNey]) -> None:
        self._numbers: dict[tuple[str, int], int] = {}
        maps: dict[int, int] = {}
        steps: list[tuple[int, int, int]] = []
        arrays: list[UnsignedArray] = []
        classes: list[npt.NDArray[np.int32]] = []
        for model in models:
            parent = -1
            for key, element, rows in zip(
                _keys(model), model.pattern.elements, model.contexts, strict=True
            ):
                if key not in self._numbers:
                    self._numbers[key] = len(steps)
                    of_map = -1
                    if element.classes is not None:
                        of_token = model.class_maps[element.classes]
                        if id(of_token) not in maps:
                            maps[id(of_token)] = len(classes)
                            classes.append(of_token.astype(np.int32))
                        of_map = maps[id(of_token)]
                    steps.append((parent, element.offset, of_map))
                    arrays += [rows.starts, rows.symbols]
                parent = self._numbers[key]
        self._models = models  # a number of an array stands for it while it is kept
        self._steps = np.array(steps, dtype=np.int64).reshape(-1, 3)
        self._tables = Handles(arrays)
        self._classes = np.array(classes or [np.zeros(1, dtype=np.int32)])

    def numbers(self, model: KneserNey) -> list[int]:
        """Return which rows of `find` are a model's contexts of length 1, 2, ..."""
        return [self._numbers[key] for key in _keys(model)]

    def find(self, inputs: Int64Array, start: int = 0) -> Int64Array:
        """Return the contexts at the positions from `start` of blocks `(B, T)`.

        The result is `(n_contexts, B * (T - start))`; -1 where a context would begin before the
        block, or its tokens do not occur together in the text.
        """
        n_blocks, length = inputs.shape
        found = np.empty((len(self._steps), n_blocks * (length - start)), dtype=np.int64)
        tokens = np.ascontiguousarray(inputs, dtype=np.int64)
        _find(tokens, start, self._steps, self._classes, self._tables.places, found)
        return found


def _keys(model: KneserNey) -> Iterator[tuple[str, int]]:
    for name, rows in zip(model.pattern.context_names, model.contexts, strict=True):
        yield name, id(rows.symbols)


@compiled
def _find(
    inputs: Int64Array,
    start: int,
    steps: Int64Array,
    classes: npt.NDArray[np.int32],
    tables: Int64Array,
    found: Int64Array,
) -> None:
    n_blocks, length = inputs.shape
    # one table after another, so that it stays in a processor's cache
    for number in range(len(steps)):
        parent, offset, of_map = steps[number]
        starts, symbols = tables[2 * number], tables[2 * number + 1]
        index = 0
        for block in range(n_blocks):
            for position in range(start, length):
                place, entry = position - offset + 1, -1
                row = 0 if parent < 0 else found[parent, index]
                if row >= 0 and place >= 0:
                    symbol = inputs[block, place]
                    if of_map >= 0:
                        symbol = np.int64(classes[of_map, symbol])
                    entry = find_entry(starts, symbols, row, symbol)
                found[number, index] = entry
                index += 1
