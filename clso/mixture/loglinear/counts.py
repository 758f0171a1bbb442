"""Kneser-Ney models as experts: their probabilities of a range of columns at many positions.

Notation: a column is a symbol of the model in another order, or a group of symbols that never occur
(`clso.mixture.loglinear.columns`). n positions, m columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np

from clso.mixture.arrays import Float32Array
from clso.mixture.counts import Element, KneserNey
from clso.scoring import Int64Array

__all__ = ["Contexts", "CountExpert", "CountLevel"]

Contexts = Mapping[tuple[Element, ...], Sequence[Int64Array]]
"""By a context's elements, per level: the context of each position, `(n,)`; -1: not counted."""

# the most elements of a table that has all columns of a context
_DENSE_ELEMENTS: Final = 1 << 21


class CountLevel(NamedTuple):
    """The counts after contexts of one length, with columns in place of symbols.

    Attributes:
        keys: row times the number of columns, plus column, sorted, `(n_entries,)`.
        columns: of each entry, `(n_entries,)`.
        discounted: (c(h, y) - D) / c(h), `(n_entries,)`.
        backoff: gamma(h), `(n_rows,)`.
        starts: the first entry of each row, and the number of entries, `(n_rows + 1,)`.
    """

    keys: Int64Array
    columns: Int64Array
    discounted: Float32Array
    backoff: Float32Array
    starts: Int64Array


class CountExpert:
    """A Kneser-Ney model whose symbols are numbered by columns.

    The probabilities of all columns are kept for short contexts, of which there are few.

    Args:
        column_of: the column of each symbol, `(A,)`.
        symbol_of: a symbol of each column, `(m,)`.

    Attributes:
        elements: the context of the model.
        table: p of all columns after each short context, `(R, m)`; row 0: no context.
    """

    def __init__(self, model: KneserNey, column_of: Int64Array, symbol_of: Int64Array) -> None:
        self.elements = model.pattern.elements
        self._model = model
        self._n_columns = len(symbol_of)
        # rows of level 0, 1, ... one after another; the first row of each level
        tables, self._first_rows = [model.base[symbol_of].astype(np.float32)[None]], [0]
        self._levels: list[CountLevel] = []  # those without a table
        for level in range(1, len(model.levels)):
            counted = self._level(level, column_of)
            if self._levels or len(counted.backoff) * self._n_columns > _DENSE_ELEMENTS:
                self._levels.append(counted)
                continue
            self._first_rows.append(self._first_rows[-1] + len(tables[-1]))
            parents = model.contexts[level - 1].row_of_entries()
            table = tables[-1][parents] * counted.backoff[:, None]
            table.reshape(-1)[counted.keys] += counted.discounted
            tables.append(table)
        self.table = np.concatenate(tables)

    def _level(self, level: int, column_of: Int64Array) -> CountLevel:
        table = self._model.levels[level]
        rows = table.rows.row_of_entries().astype(np.int64)
        keys = rows * self._n_columns + column_of[table.rows.symbols]
        order = np.argsort(keys)
        discounted = table.discounted(slice(None), table.totals[rows]).astype(np.float32)
        keys, backoff = keys[order], table.backoff.astype(np.float32)
        starts = table.rows.starts.astype(np.int64)
        return CountLevel(keys, keys % self._n_columns, discounted[order], backoff, starts)

    def contexts(self, inputs: Int64Array) -> list[Int64Array]:
        """Return the context of every position of blocks `(B, T)` per level; see `Contexts`."""
        levels = [np.full(inputs.size, -1) for _ in self.elements]
        for level, active, rows in self._model.walk(inputs, np.arange(inputs.size)):
            levels[level - 1][active] = rows
        return levels

    def contexts_at(self, history: Int64Array, start: int) -> list[Int64Array]:
        """Return the context of each position of one block from `start`, per level, `(n,)`."""
        levels = [np.full(len(history) - start, -1) for _ in self.elements]
        if len(history) - start == 1:
            for of_level, row in zip(levels, self._model.contexts_after(history), strict=False):
                of_level[0] = row
            return levels
        for level, active, rows in self._model.walk(history[None], np.arange(start, len(history))):
            levels[level - 1][active] = rows
        return levels

    def split(self, contexts: Contexts) -> tuple[Int64Array, list[tuple[CountLevel, Int64Array]]]:
        """Return the row of `table` for each position, `(n,)`, and the longer contexts."""
        levels = contexts[self.elements]
        n_dense = len(self._first_rows) - 1
        tables = np.zeros(len(levels[0]), dtype=np.int64)
        for first_row, rows in zip(self._first_rows[1:], levels[:n_dense], strict=True):
            tables = np.where(rows >= 0, first_row + rows, tables)
        return tables, list(zip(self._levels, levels[n_dense:], strict=True))

    def log_probabilities_at_one(self, contexts: Contexts) -> Float32Array:
        """Return log p(column | context) of all columns where there is one position, `(m,)`."""
        tables, longer = self.split(contexts)
        p = self.table[tables[0]].copy()
        for level, rows in longer:
            row = int(rows[0])
            if row < 0:
                break
            p *= level.backoff[row]
            entries = slice(*level.starts[row : row + 2])
            p[level.columns[entries]] += level.discounted[entries]
        return np.asarray(np.log(p, out=p))

    def log_probabilities(
        self, contexts: Contexts, positions: Int64Array, start: int, stop: int
    ) -> Float32Array:
        """Return log p(column | context) of a range of columns, `(n, stop - start)`."""
        at = [level[positions] for level in contexts[self.elements]]
        tables, longer = self.split({self.elements: at})
        p = self.table[:, start:stop].take(tables, axis=0)
        flat, width = p.reshape(-1), stop - start
        for level, rows in longer:
            active = np.flatnonzero(rows >= 0)
            if not len(active):
                break
            backoff = np.ones(len(positions), dtype=np.float32)
            backoff[active] = level.backoff[rows[active]]
            p *= backoff[:, None]
            keys = rows[active] * self._n_columns
            first = np.searchsorted(level.keys, keys + start)
            lengths = np.searchsorted(level.keys, keys + stop) - first
            before = np.cumsum(lengths) - lengths
            entries = np.arange(lengths.sum()) + np.repeat(first - before, lengths)
            places = level.columns[entries] + np.repeat(active * width - start, lengths)
            flat[places] += level.discounted[entries]
        return np.log(p, out=p)
