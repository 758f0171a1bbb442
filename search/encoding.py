"""Genomes as rows of zeros and ones, for surrogates that regress on them.

Notation: n genomes; a slot with c options is a block of c columns with a single one in it. Slots
that together pick a set (`GenomeSpace.exchangeable`) share one block, which has a one for every
option picked, so that genomes which differ only in their order are encoded alike; option 0, none,
has no column there.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from clso.genome import Genome

__all__ = ["MultiHot"]


class MultiHot:
    """Turns genomes into rows.

    Args:
        cardinalities: options per slot, `(L,)`.
        exchangeable: the slots that share a block.
    """

    def __init__(self, cardinalities: Sequence[int], exchangeable: Sequence[int] = ()) -> None:
        self._shared = list(exchangeable)
        self._own = [slot for slot in range(len(cardinalities)) if slot not in set(exchangeable)]
        widths = [cardinalities[slot] for slot in self._own]
        self._starts = np.cumsum([0, *widths])
        self._set_size = cardinalities[self._shared[0]] if self._shared else 1

    @property
    def width(self) -> int:
        """Columns in all."""
        return int(self._starts[-1]) + self._set_size - 1

    def __call__(self, genomes: Sequence[Genome]) -> npt.NDArray[np.float32]:
        """Return `(n, width)`."""
        genes = np.asarray(genomes, dtype=np.int64)
        rows = np.zeros((len(genes), self.width), dtype=np.float32)
        np.put_along_axis(rows, genes[:, self._own] + self._starts[:-1], 1.0, axis=1)
        if self._shared:
            picked = np.zeros((len(genes), self._set_size), dtype=np.float32)
            np.put_along_axis(picked, genes[:, self._shared], 1.0, axis=1)
            rows[:, self._starts[-1] :] = picked[:, 1:]
        return rows
