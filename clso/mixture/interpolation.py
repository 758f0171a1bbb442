r"""Interpolated counts of many functions, summed: each row of a table is read once.

Notation: K functions f_k with weights w_k(t) at n positions; function k has levels from a base, the
prediction of the empty context, to its longest context. A weight is credited to the longest context
that has counts; what that leaves, gamma, is credited to the next shorter one, and at last to the
base. Tables that functions share get the sum of their credits:

.. math:: \sum_k w_k f_k = \sum_{\text{tables}} \frac{\text{credit}}{c(h)} (c(h, y) - D)
    + \sum_{\text{bases}} \text{credit} \; p(y)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from clso.counting import FloatArray
from clso.mixture.compiled import Handles, compiled, read, read_float
from clso.scoring import Int64Array

if TYPE_CHECKING:
    from clso.mixture.counts.count_table import CountTable

__all__ = ["Base", "CountTables", "Credits", "Interpolation", "Level", "add_entries"]


class Base(NamedTuple):
    """What an interpolation begins with: the prediction of the empty context.

    Attributes:
        name: equal names mean equal bases.
        p: of every token, `(V,)`.
        seen: the tokens that have counts.
    """

    name: str
    p: FloatArray
    seen: npt.NDArray[np.integer]


class Level(NamedTuple):
    """The counts after contexts of one length.

    Attributes:
        name: of the table; equal names mean equal tables.
        table: the counts.
        context: the row of `contexts` that has the numbers of the contexts.
        space: the name of the groups that are counted; empty for tokens.
    """

    name: str
    table: CountTable
    context: int
    space: str = ""


class Interpolation:
    """The functions that are added together.

    Args:
        bases: of each function.
        levels: of each function, the shortest context first.

    Attributes:
        bases: each once.
        of_base: the number of each function's base, `(K,)`.
        levels: all levels, function after function.
        starts: the first level of each function, and their number, `(K + 1,)`.
    """

    def __init__(self, bases: Sequence[Base], levels: Sequence[Sequence[Level]]) -> None:
        numbers: dict[str, int] = {}
        self.of_base = np.array([numbers.setdefault(base.name, len(numbers)) for base in bases])
        by_name = {base.name: base for base in bases}
        self.bases = [by_name[name] for name in numbers]
        self.levels = [level for of_function in levels for level in of_function]
        self.starts = np.cumsum([0, *map(len, levels)])
        self._contexts = np.array([level.context for level in self.levels], dtype=np.int64)

    def credit(
        self, tables: CountTables, contexts: Int64Array, weights: FloatArray, credits: Credits
    ) -> FloatArray:
        """Credit weights, `(K, n)`, to tables; return what is left for the bases, `(n_bases, n)`.

        Args:
            contexts: the contexts of the positions, `(n_contexts, n)`; -1: none.
        """
        left = np.zeros((len(self.bases), weights.shape[1]))
        _credit(
            np.ascontiguousarray(weights),
            contexts,
            self._contexts,
            tables.numbers(self),
            self.starts,
            self.of_base,
            tables.places,
            *credits,
            left,
        )
        return left


class Credits(NamedTuple):
    """What functions have credited to tables.

    Attributes:
        rows: the row of each table at each position, `(n_tables, n)`; undefined without a credit.
        values: `(n_tables, n)`.
    """

    rows: Int64Array
    values: FloatArray

    @classmethod
    def none(cls, n_tables: int, n_positions: int) -> Credits:
        """Return no credits."""
        shape = n_tables, n_positions
        return cls(np.zeros(shape, dtype=np.int64), np.zeros(shape))


class CountTables:
    """The tables of all interpolations of a mixture; grows.

    Attributes:
        spaces: what each table counts; see `Level`.
    """

    def __init__(self) -> None:
        self._numbers: dict[tuple[str, str], int] = {}
        self._of: dict[int, tuple[Interpolation, Int64Array]] = {}
        self._tables: list[CountTable] = []
        self.spaces: list[str] = []
        self._handles: tuple[Handles, FloatArray] | None = None

    def __len__(self) -> int:
        return len(self._tables)

    def numbers(self, interpolation: Interpolation) -> Int64Array:
        """Return the number of the table of each level."""
        known = self._of.get(id(interpolation))
        if known is None or known[0] is not interpolation:  # in a copy, numbers of objects differ
            numbers = [self._number(level) for level in interpolation.levels]
            known = interpolation, np.array(numbers, dtype=np.int64)
            self._of[id(interpolation)] = known
        return known[1]

    def _number(self, level: Level) -> int:
        key = level.space, level.name
        if key not in self._numbers:
            self._numbers[key] = len(self._tables)
            self._tables.append(level.table)
            self.spaces.append(level.space)
            self._handles = None
        return self._numbers[key]

    @property
    def places(self) -> Int64Array:
        """Where starts, symbols, counts, totals and backoff weights are, `(5 * n_tables, 2)`."""
        return self._made[0].places

    @property
    def discounts(self) -> FloatArray:
        """D of counts 0 to 3, `(n_tables, 4)`."""
        return self._made[1]

    @property
    def _made(self) -> tuple[Handles, FloatArray]:
        if self._handles is None:
            arrays = [
                (table.rows.starts, table.rows.symbols, table.counts, table.totals, table.backoff)
                for table in self._tables
            ]
            discounts = np.reshape([table.discounts for table in self._tables], (-1, 4))
            self._handles = Handles([array for part in arrays for array in part]), discounts
        return self._handles


@compiled
def _credit(
    weights: FloatArray,
    contexts: Int64Array,
    context_of: Int64Array,
    table_of: Int64Array,
    first: Int64Array,
    base_of: Int64Array,
    places: Int64Array,
    rows: Int64Array,
    credits: FloatArray,
    left: FloatArray,
) -> None:
    n_functions, n_positions = weights.shape
    for function in range(n_functions):
        for position in range(n_positions):
            level, weight = first[function], weights[function, position]
            while level < first[function + 1]:
                row, starts = contexts[context_of[level], position], places[5 * table_of[level]]
                if row < 0 or read(starts, row) == read(starts, row + 1):
                    break
                level += 1
            while level > first[function]:
                level -= 1
                row, table = contexts[context_of[level], position], table_of[level]
                rows[table, position] = row
                credits[table, position] += weight
                weight *= read_float(places[5 * table + 4], row)
            left[base_of[function], position] += weight


@compiled
def add_entries(
    sums: FloatArray,
    chosen: Int64Array,
    columns: Int64Array,
    of_symbol: Int64Array,
    places: Int64Array,
    discounts: FloatArray,
    rows: Int64Array,
    credits: FloatArray,
) -> None:
    """Add credits times discounted counts of chosen tables to sums, `(n, m)`.

    Those of a symbol go to the column `of_symbol`, and of table number i, `columns[i]` further;
    without `of_symbol`, a symbol is its column.
    """
    for position in range(sums.shape[0]):
        for index in range(len(chosen)):
            table, column = chosen[index], columns[index]
            credit, row = credits[table, position], rows[table, position]
            if credit == 0.0:
                continue
            starts, symbols, counts = (
                places[5 * table],
                places[5 * table + 1],
                places[5 * table + 2],
            )
            share = credit / read_float(places[5 * table + 3], row)
            for entry in range(read(starts, row), read(starts, row + 1)):
                symbol, count = read(symbols, entry), read(counts, entry)
                if len(of_symbol):
                    symbol = of_symbol[symbol]
                sums[position, column + symbol] += share * (count - discounts[table, min(count, 3)])
