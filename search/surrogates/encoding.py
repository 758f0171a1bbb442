r"""Genomes as rows of numbers, for surrogates that regress on them.

Notation: n genomes; a slot with c options is a block of c columns with a single 1 in it.
Exchangeable slots (`GenomeSpace.exchangeable`) share one block with a 1 for every option picked, so
the order of the picks has no effect. Option 0, "none", has no column there.

If these options have features f (`GenomeSpace.describe`), a pick with the unit vector e in the
block is encoded as :math:`[\sqrt{a}\, e;\ \sqrt{1 - a}\, f]` with a = 1/5. So a surrogate learns
about a pick from similar picks. With centred features of mean square norm 1, the squared distance
of two options is about 2 on average, as without features, and 2 a if their features are equal.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt

from clso.genome import Genome, GenomeSpace
from clso.threads import one_thread

__all__ = ["MultiHot"]

_OWN_SHARE = 0.2  # another value changes searches: raise `SEARCH_VERSION`


class MultiHot:
    """Encodes the genomes of a space as rows."""

    def __init__(self, space: GenomeSpace) -> None:
        cardinalities, exchangeable = space.cardinalities, space.exchangeable
        self._cardinalities = cardinalities
        self._shared = list(exchangeable)
        self._own = [slot for slot in range(len(cardinalities)) if slot not in set(exchangeable)]
        widths = [cardinalities[slot] for slot in self._own]
        self._starts = np.cumsum([0, *widths])
        self._set_size = cardinalities[self._shared[0]] if self._shared else 1
        self._features: npt.NDArray[np.float32] | None = None
        known = space.features()
        if known is not None:
            self._features = (math.sqrt(1 - _OWN_SHARE) * known[1:]).astype(np.float32)

    @property
    def is_binary(self) -> bool:
        """Whether rows have zeros and ones alone."""
        return self._features is None

    @property
    def width(self) -> int:
        """Number of columns."""
        known = 0 if self._features is None else self._features.shape[1]
        return int(self._starts[-1]) + self._set_size - 1 + known

    def replaced(self, genome: Genome) -> list[int]:
        """Return the option that a change of each slot takes away: 0 for a pick that stays."""
        picks = [genome[slot] for slot in self._shared]
        taken = list(genome)
        for slot in self._shared:
            if picks.count(genome[slot]) > 1:
                taken[slot] = 0
        return taken

    def products(self, rows: npt.NDArray[np.float64]) -> list[npt.NDArray[np.float64]]:
        """Return the inner products of what each option adds to a row with rows `(n, width)`.

        The result has an array `(c_i, n)` for each slot i, one array for all exchangeable slots.
        """
        products = [self._picks @ rows.T] * len(self._cardinalities)
        for slot, start in zip(self._own, self._starts.tolist(), strict=False):
            products[slot] = rows[:, start : start + self._cardinalities[slot]].T
        return products

    def distances(self, slot: int, option: int) -> npt.NDArray[np.float64]:
        """Return the squared distances of what a slot's options add from what one adds, `(c,)`."""
        if slot in self._own:
            apart = np.full(self._cardinalities[slot], 2.0)
            apart[option] = 0.0
            return apart
        return np.asarray(np.square(self._picks - self._picks[option]).sum(axis=1))

    @cached_property
    def _picks(self) -> npt.NDArray[np.float64]:
        """What each option of the exchangeable slots adds to a row, `(c, width)`."""
        picks = np.zeros((self._set_size, self.width))
        start, end = self._starts[-1], self._starts[-1] + self._set_size - 1
        own = 1.0
        if self._features is not None:
            own = math.sqrt(_OWN_SHARE)
            picks[1:, end:] = self._features
        picks[1:, start:end] = own * np.eye(self._set_size - 1)
        return picks

    def __call__(self, genomes: Sequence[Genome]) -> npt.NDArray[np.float32]:
        """Return `(n, width)`."""
        genes = np.asarray(genomes, dtype=np.int64)
        rows = np.zeros((len(genes), self.width), dtype=np.float32)
        np.put_along_axis(rows, genes[:, self._own] + self._starts[:-1], 1.0, axis=1)
        if self._shared:
            picked = np.zeros((len(genes), self._set_size), dtype=np.float32)
            np.put_along_axis(picked, genes[:, self._shared], 1.0, axis=1)
            start, end = self._starts[-1], self._starts[-1] + self._set_size - 1
            rows[:, start:end] = picked[:, 1:]
            if self._features is not None:
                rows[:, start:end] *= math.sqrt(_OWN_SHARE)
                with one_thread():
                    rows[:, end:] = picked[:, 1:] @ self._features
        return rows
