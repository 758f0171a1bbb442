r"""Genomes as rows of numbers, for surrogates that regress on them.

Notation: n genomes; a slot with c options is a block of c columns with a single one in it. Slots
that together pick a set (`GenomeSpace.exchangeable`) share one block, which has a one for every
option picked, so that genomes which differ only in their order are encoded alike; option 0, none,
has no column there.

Where something is known of those options (`GenomeSpace.describe`), so that a pick with features f
need not be learned about from nothing, it is worth :math:`[\sqrt{a}\, e;\ \sqrt{1 - a}\, f]`
with e its own column and a share a of 1/5. With centred features of mean square norm 1, the squared
distance of two options is on average about 2, as without, and 2 a if their features are the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from clso.genome import Genome, GenomeSpace
from clso.threads import one_thread

__all__ = ["MultiHot"]

_OWN_SHARE = 0.2  # changing it changes searches: raise `SEARCH_VERSION`


class MultiHot:
    """Turns genomes into rows.

    Args:
        space: of the genomes.
    """

    def __init__(self, space: GenomeSpace) -> None:
        cardinalities, exchangeable = space.cardinalities, space.exchangeable
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
    def width(self) -> int:
        """Columns in all."""
        known = 0 if self._features is None else self._features.shape[1]
        return int(self._starts[-1]) + self._set_size - 1 + known

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
