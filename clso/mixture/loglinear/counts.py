"""Kneser-Ney models as experts: their probabilities of a range of columns at many positions.

Notation: a column is a symbol of the model in another order, or a group of symbols that never occur
(`clso.mixture.loglinear.columns`). n positions, m columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np

from clso.mixture.arrays import Float32Array, narrow
from clso.mixture.counts import Element, KneserNey
from clso.scoring import Int64Array

__all__ = ["Contexts", "CountExpert", "CountLevel"]

Contexts = Mapping[tuple[Element, ...], Sequence[Int64Array]]
"""By a context's elements, per level: the context of each position, `(n,)`; -1: not counted."""

# the most elements of a table that has all columns of a context
_DENSE_ELEMENTS: Final = 1 << 21


class CountLevel(NamedTuple):
    """The counts after contexts of one length, with columns in place of symbols.

    Entries are sorted by row, then column.

    Attributes:
        rows: of each entry, `(n_entries,)`.
        columns: of each entry, `(n_entries,)`.
        discounted: (c(h, y) - D) / c(h), `(n_entries,)`.
        backoff: gamma(h), `(n_rows,)`.
        starts: the first entry of each row, and the number of entries, `(n_rows + 1,)`.
    """

    rows: Int64Array
    columns: Int64Array
    discounted: Float32Array
    backoff: Float32Array
    starts: Int64Array


class _Ranges:
    """The entries of a level in ranges of columns, which are sorted out when they are asked for.

    A search among the few entries of a range stays in a processor's cache.
    """

    def __init__(self, level: CountLevel) -> None:
        self._level = level
        self._by_column = np.argsort(narrow(level.columns), kind="stable")
        self._columns = level.columns[self._by_column]
        self._found: dict[tuple[int, int], _Range] = {}

    def of(self, start: int, stop: int) -> _Range:
        """Return the entries with columns from `start` to before `stop`."""
        if (start, stop) not in self._found:
            first, last = np.searchsorted(self._columns, [start, stop])
            entries = np.sort(self._by_column[first:last])
            self._found[start, stop] = _Range(
                self._level.rows[entries],
                self._level.columns[entries],
                self._level.discounted[entries],
            )
        return self._found[start, stop]


class _Range(NamedTuple):
    """Rows, columns and discounted counts of entries; see `CountLevel`."""

    rows: Int64Array
    columns: Int64Array
    discounted: Float32Array


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
        self._ranges: dict[int, _Ranges] = {}  # by the index of the level
        for level in range(1, len(model.levels)):
            counted = self._level(level, column_of)
            if self._levels or len(counted.backoff) * self._n_columns > _DENSE_ELEMENTS:
                self._levels.append(counted)
                continue
            self._first_rows.append(self._first_rows[-1] + len(tables[-1]))
            parents = model.contexts[level - 1].row_of_entries()
            table = tables[-1][parents] * counted.backoff[:, None]
            table[counted.rows, counted.columns] += counted.discounted
            tables.append(table)
        self.table = np.concatenate(tables)

    def _level(self, level: int, column_of: Int64Array) -> CountLevel:
        table = self._model.levels[level]
        rows = table.rows.row_of_entries().astype(np.int64)
        keys = rows * self._n_columns + column_of[table.rows.symbols]
        order = np.argsort(keys)
        discounted = table.discounted(slice(None), table.totals[rows]).astype(np.float32)
        row_of_entry, columns = np.divmod(keys[order], self._n_columns)
        backoff, starts = table.backoff.astype(np.float32), table.rows.starts.astype(np.int64)
        return CountLevel(row_of_entry, columns, discounted[order], backoff, starts)

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
        for number, (level, rows) in enumerate(longer):
            active = np.flatnonzero(rows >= 0)
            if not len(active):
                break
            backoff = np.ones(len(positions), dtype=np.float32)
            backoff[active] = level.backoff[rows[active]]
            p *= backoff[:, None]
            first, lengths, columns, discounted = self._entries(number, rows[active], start, stop)
            before = np.cumsum(lengths) - lengths
            entries = np.arange(lengths.sum()) + np.repeat(first - before, lengths)
            places = columns[entries] + np.repeat(active * width - start, lengths)
            flat[places] += discounted[entries]
        return np.log(p, out=p)

    def _entries(
        self, number: int, rows: Int64Array, start: int, stop: int
    ) -> tuple[Int64Array, Int64Array, Int64Array, Float32Array]:
        """Return where the entries of rows with a range of columns are.

        Returns:
            The first entry of each row and how many it has, `(n,)`; columns and discounted counts
            of all entries that these are counted among.
        """
        level = self._levels[number]
        if stop - start == self._n_columns:
            first = level.starts[rows]
            return first, level.starts[rows + 1] - first, level.columns, level.discounted
        if number not in self._ranges:
            self._ranges[number] = _Ranges(level)
        found = self._ranges[number].of(start, stop)
        first = np.searchsorted(found.rows, rows)
        last = np.searchsorted(found.rows, rows, side="right")
        return first, last - first, found.columns, found.discounted
