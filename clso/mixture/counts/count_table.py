r"""The counts of one level of Kneser-Ney, with discounts, totals and backoff weights.

Notation: c(h, y) is the count of symbol y after context h, c(h) the sum over all y. D_r is the
discount of a count r (`clso.counting.modified_discounts`); p(y | h') is the prediction of the next
shorter context.

.. math:: p(y \mid h) = \frac{c(h, y) - D_{c(h, y)}}{c(h)} + \gamma(h) \, p(y \mid h'), \qquad
    \gamma(h) = \frac{1}{c(h)} \sum_{y : c(h, y) > 0} D_{c(h, y)}

A context without counts leaves the prediction to the shorter context: :math:`\gamma(h) = 1`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from clso.counting import FloatArray, modified_discounts
from clso.errors import ArtifactError
from clso.mixture.arrays import UnsignedArray, narrow, stored_array
from clso.mixture.counts.keys import KeyArray
from clso.mixture.counts.rows import BoolArray, Rows
from clso.scoring import Int64Array

__all__ = ["CountTable", "interpolation_flops"]

_HALF = 32
_LOW_BITS = (1 << _HALF) - 1
_ONES_AND_TWOS = np.array([0, 1, 1 << _HALF, 0])


class CountTable:
    """The counts c(h, y) after all contexts of a level, 1 or more; one per entry of `rows`."""

    def __init__(self, rows: Rows, counts: UnsignedArray) -> None:
        self.rows = rows
        self.counts = counts

    @classmethod
    def from_parts(
        cls, parts: Iterable[tuple[int, KeyArray, UnsignedArray]], alphabet: int
    ) -> CountTable:
        """Return the table that has the contexts of all parts, one part after another.

        A part is its number of contexts, its keys as in `Rows.from_parts`, and a count per key.
        """
        all_counts: list[UnsignedArray] = [np.empty(0, np.uint8)]

        def row_parts() -> Iterator[tuple[int, KeyArray]]:
            for n_contexts, keys, counts in parts:
                all_counts.append(counts)
                yield n_contexts, keys

        rows = Rows.from_parts(row_parts(), alphabet)
        return cls(rows, narrow(np.concatenate(all_counts)))

    @cached_property
    def discounts(self) -> FloatArray:
        """D of a count of 0, 1, 2, and 3 or more, `(4,)`."""
        return modified_discounts(self.counts)

    @cached_property
    def totals(self) -> FloatArray:
        """c(h), `(n_contexts,)`."""
        return self._row_sums(self.counts.astype(np.int64)).astype(np.float64)

    @cached_property
    def backoff(self) -> FloatArray:
        """gamma(h), `(n_contexts,)`."""
        # the number of ones and of twos in one pass, each in half of the bits
        packed = self._row_sums(_ONES_AND_TWOS[np.minimum(self.counts, 3)])
        ones, twos = packed & _LOW_BITS, packed >> _HALF
        more = self.rows.degrees - ones - twos
        _, d1, d2, d3 = self.discounts
        freed = d1 * ones + d2 * twos + d3 * more
        backoff: FloatArray = np.ones(self.rows.n_rows)
        np.divide(freed, self.totals, out=backoff, where=self.totals > 0)
        return backoff

    def _row_sums(self, values: Int64Array) -> Int64Array:
        sums = np.zeros(len(values) + 1, dtype=np.int64)
        np.cumsum(values, out=sums[1:])
        starts = self.rows.starts
        return np.asarray(sums[starts[1:]] - sums[starts[:-1]])

    def discounted(self, entries: Int64Array | slice, totals: FloatArray | float) -> FloatArray:
        """Return (c(h, y) - D) / c(h) of entries by number, `(n,)`; `totals` has c(h)."""
        counts = self.counts[entries]
        return np.asarray((counts - self.discounts[np.minimum(counts, 3)]) / totals)

    def without_discount(self, entries: Int64Array | slice) -> FloatArray:
        """Return c(h, y) - D of entries by number, `(n,)`."""
        return np.asarray(self._without_discount[self.counts[entries]])

    @cached_property
    def _without_discount(self) -> FloatArray:
        """R - D of every count r, from 0 to the largest."""
        counts = np.arange(int(self.counts.max(initial=0)) + 1)
        return np.asarray(counts - self.discounts[np.minimum(counts, 3)])

    def has_counts(self, contexts: Int64Array) -> BoolArray:
        """Return whether contexts have counts, `(n,)`; -1 is no context."""
        occurs = contexts >= 0
        occurs[occurs] = self.rows.occupied[contexts[occurs]]
        return occurs

    def interpolated(
        self, contexts: Int64Array, symbols: npt.NDArray[Any], shorter: FloatArray
    ) -> FloatArray:
        """Return p(y | h) of pairs of a context and a symbol, `(n,)`; `shorter` has p(y | h')."""
        entries = self.rows.find(contexts, symbols)
        mixed: FloatArray = self.backoff[contexts] * shorter
        seen = np.flatnonzero(entries >= 0)
        mixed[seen] += self.discounted(entries[seen], self.totals[contexts[seen]])
        return mixed

    def interpolate(self, context: int, probability: FloatArray) -> None:
        """Turn p(. | h') into p(. | h), `(A,)`, in place."""
        entries = self.rows.entries_of(context)
        probability *= self.backoff[context]
        probability[self.rows.symbols[entries]] += self.discounted(entries, self.totals[context])

    def to_arrays(self) -> dict[str, UnsignedArray]:
        """Return symbols, degrees and counts in the smallest types."""
        return {**self.rows.to_arrays(), "counts": narrow(self.counts)}

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, npt.NDArray[Any]], name: str, alphabet: int
    ) -> CountTable:
        """Return the table that `to_arrays` described; array names begin with `name` and a dot.

        Raises:
            ArtifactError: an array is missing, or the arrays do not fit each other.
        """
        rows = Rows.from_arrays(arrays, name, alphabet)
        counts = stored_array(arrays, f"{name}.counts")
        if len(counts) != len(rows) or not counts.all():
            raise ArtifactError(
                f"{name} has {len(counts):,} counts down to {counts.min(initial=0)} for "
                f"{len(rows):,} symbols, expected as many, none below 1",
                remedy="delete the stored functions and count again",
            )
        return cls(rows, counts)


def interpolation_flops(contexts: Sequence[Rows], levels: Sequence[CountTable]) -> int:
    """Return the operations that interpolate all levels for one target.

    Each level finds the key of the context and the key of the target, and takes 4 operations for
    the discounted count, its share of the total, the backoff weight and their sum.
    """
    pairs = zip(contexts, levels[1:], strict=True)
    return sum(rows.comparisons + table.rows.comparisons + 4 for rows, table in pairs)
