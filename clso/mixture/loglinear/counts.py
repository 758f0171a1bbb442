"""Kneser-Ney models as experts: their probabilities of a range of columns at many positions.

Notation: a column is a symbol of the models in another order, or a group of symbols that never
occur (`clso.mixture.loglinear.columns`). J models, n positions, m columns. Rows and entries of all
models and levels are numbered one after another.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from clso.mixture.arrays import Float32Array
from clso.mixture.buffers import buffer_float32
from clso.mixture.compiled import compiled, inner
from clso.mixture.counts import KneserNey
from clso.mixture.counts.walk import ContextWalk
from clso.scoring import Int64Array

__all__ = ["CountExperts", "Ranges", "SparseLevels", "table_row"]

# the most elements of a table that has all columns of a context
_DENSE_ELEMENTS: Final = 1 << 21
_FEW_ENTRIES: Final = 8
_ROW: Final = np.dtype([("start", np.int64), ("backoff", np.float32)], align=True)
_ENTRY: Final = np.dtype([("column", np.int32), ("discounted", np.float32)])


class Ranges(NamedTuple):
    """A range of columns at each of some positions.

    Attributes:
        positions: whose contexts are read, `(n,)`.
        first: the first column, `(n,)`.
        stop: the column after the last, `(n,)`.
        offsets: where the columns of a position begin among those of all, and their number,
            `(n + 1,)`.
    """

    positions: Int64Array
    first: Int64Array
    stop: Int64Array
    offsets: Int64Array

    @classmethod
    def of(cls, positions: Int64Array, first: Any, stop: Any) -> Ranges:  # noqa: ANN401 - or scalars
        """Return the ranges from `first` to `stop`, each `(n,)` or one for all positions."""
        bounds = np.empty((2, len(positions)), dtype=np.int64)
        bounds[0], bounds[1] = first, stop
        offsets = np.zeros(len(positions) + 1, dtype=np.int64)
        np.cumsum(bounds[1] - bounds[0], out=offsets[1:])
        return cls(positions, bounds[0], bounds[1], offsets)


class SparseLevels(NamedTuple):
    """The counts after the longer contexts of all models, with columns in place of symbols.

    Attributes:
        rows: the first entry of each row, and its backoff weight gamma(h), `(n_rows + 1,)`.
        entries: a column and (c(h, y) - D) / c(h); columns increase within a row, `(n_entries,)`.
    """

    rows: npt.NDArray[np.void]
    entries: npt.NDArray[np.void]


class CountExperts:
    """Kneser-Ney models of the same symbols, which are numbered by columns.

    The probabilities of all columns are kept for short contexts, of which there are few.

    Args:
        walk: finds the contexts of the models, among others.
        column_of: the column of each symbol, `(A,)`.
        symbol_of: a symbol of each column, `(m,)`.

    Attributes:
        table: p of all columns after the short contexts of all models, `(R, m)`.
        roots: the row of `table` that has no context, of each model, `(J,)`.
        levels: by model and level, the number of the context in `walk`, its first row in `table` or
            in the sparse levels, and which of the two (1: `table`), `(J, L, 3)`; -1: no more.
        sparse: the longer contexts.
    """

    def __init__(
        self,
        models: Sequence[KneserNey],
        walk: ContextWalk,
        column_of: Int64Array,
        symbol_of: Int64Array,
    ) -> None:
        n_columns = len(symbol_of)
        deepest = max(len(model.contexts) for model in models)
        self.levels = np.full((len(models), deepest, 3), -1)
        tables: list[Float32Array] = []
        sparse: list[tuple[Int64Array, Int64Array, Float32Array, Float32Array]] = []
        n_dense = n_rows = 0
        roots = []
        for index, model in enumerate(models):
            roots.append(n_dense)
            tables.append(model.base[symbol_of].astype(np.float32)[None])
            n_dense += 1
            is_dense = True
            for level, number in enumerate(walk.numbers(model)):
                entries = _entries(model, level + 1, column_of, n_columns)
                keys, _, discounted, backoff = entries
                is_dense &= len(backoff) * n_columns <= _DENSE_ELEMENTS
                self.levels[index, level] = number, n_dense if is_dense else n_rows, is_dense
                if not is_dense:
                    sparse.append(entries)
                    n_rows += len(backoff)
                    continue
                parents = model.contexts[level].row_of_entries()
                table = tables[-1][parents] * backoff[:, None]
                table.reshape(-1)[keys] += discounted
                tables.append(table)
                n_dense += len(table)
        self.table = np.concatenate(tables)
        self.roots = np.array(roots)
        self.sparse = _joined(sparse, n_columns)

    @property
    def n_models(self) -> int:
        """J."""
        return len(self.roots)

    def n_entries(self, contexts: Int64Array) -> int:
        """Return how many entries the sparse levels have at all positions together."""
        return _n_entries(self.levels, self.sparse.rows, contexts)

    def log_probabilities(self, contexts: Int64Array, ranges: Ranges) -> Float32Array:
        """Return log p(column | context) of all models, `(J * ranges.offsets[-1],)`.

        Those of a position stand together, model after model. `contexts` is what `walk` found. The
        thread's next call overwrites them.
        """
        p = buffer_float32("log p", self.n_models * int(ranges.offsets[-1]))
        _write_probabilities(
            p, self.table, self.roots, self.levels, *self.sparse, contexts, *ranges
        )
        return np.log(p, out=p)


def _entries(
    model: KneserNey, level: int, column_of: Int64Array, n_columns: int
) -> tuple[Int64Array, Int64Array, Float32Array, Float32Array]:
    """Return sorted keys, row times m plus column, the starts of rows, and values; see above."""
    table = model.levels[level]
    rows = table.rows.row_of_entries().astype(np.int64)
    keys = rows * n_columns + column_of[table.rows.symbols]
    order = np.argsort(keys)
    discounted = table.discounted(slice(None), table.totals[rows]).astype(np.float32)
    starts = table.rows.starts.astype(np.int64)
    return keys[order], starts, discounted[order], table.backoff.astype(np.float32)


def _joined(
    levels: Sequence[tuple[Int64Array, Int64Array, Float32Array, Float32Array]], n_columns: int
) -> SparseLevels:
    rows = np.zeros(1 + sum(len(backoff) for _, _, _, backoff in levels), dtype=_ROW)
    entries = np.zeros(sum(len(keys) for keys, _, _, _ in levels), dtype=_ENTRY)
    rows["start"][-1] = len(entries)
    first_row = first_entry = 0
    for keys, starts, discounted, backoff in levels:
        of_level = rows[first_row : first_row + len(backoff)]
        of_level["start"], of_level["backoff"] = first_entry + starts[:-1], backoff
        of_rows = entries[first_entry : first_entry + len(keys)]
        of_rows["column"], of_rows["discounted"] = keys % n_columns, discounted
        first_row, first_entry = first_row + len(backoff), first_entry + len(keys)
    return SparseLevels(rows, entries)


@compiled
def _n_entries(levels: Int64Array, rows: Any, contexts: Int64Array) -> int:  # noqa: ANN401
    total = 0
    for model in range(levels.shape[0]):
        for level in range(levels.shape[1]):
            if levels[model, level, 2] == 0:
                for position in range(contexts.shape[1]):
                    context = contexts[levels[model, level, 0], position]
                    if context >= 0:
                        context += levels[model, level, 1]
                        total += rows[context + 1].start - rows[context].start
    return total


@inner
def table_row(
    roots: Int64Array, levels: Int64Array, contexts: Int64Array, model: int, position: int
) -> tuple[int, int]:
    """Return the row of a model's longest context in the table, and the level after it."""
    row, level = roots[model], 0
    while level < levels.shape[1] and levels[model, level, 2] == 1:
        context = contexts[levels[model, level, 0], position]
        if context < 0:
            break
        row = levels[model, level, 1] + context
        level += 1
    return row, level


@compiled
def _write_probabilities(
    p: Float32Array,
    table: Float32Array,
    roots: Int64Array,
    levels: Int64Array,
    rows: Any,  # noqa: ANN401 - records
    entries: Any,  # noqa: ANN401
    contexts: Int64Array,
    positions: Int64Array,
    first: Int64Array,
    stop: Int64Array,
    offsets: Int64Array,
) -> None:
    n_models, n_levels = len(roots), levels.shape[1]
    # one model after another, so that its counts stay in a processor's cache
    for model in range(n_models):
        for index in range(len(positions)):
            position, left, right = positions[index], first[index], stop[index]
            width = right - left
            begin = n_models * offsets[index] + model * width
            row, level = table_row(roots, levels, contexts, model, position)
            at, from_column = np.uint64(begin), np.uint64(left)
            for column in range(np.uint64(width)):
                p[at + column] = table[row, from_column + column]
            while level < n_levels and levels[model, level, 2] == 0:
                context = contexts[levels[model, level, 0], position]
                if context < 0:
                    break
                context += levels[model, level, 1]
                entry, end = rows[context].start, rows[context + 1].start
                gamma = rows[context].backoff
                for column in range(np.uint64(width)):
                    p[at + column] *= gamma
                if end - entry > _FEW_ENTRIES:
                    high = end
                    while entry < high:
                        middle = (entry + high) >> 1
                        if entries[middle].column < left:
                            entry = middle + 1
                        else:
                            high = middle
                while entry < end and entries[entry].column < right:
                    if entries[entry].column >= left:
                        p[begin + entries[entry].column - left] += entries[entry].discounted
                    entry += 1
                level += 1
