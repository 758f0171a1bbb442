"""Documents as byte ranges of a spool, and their division among splits.

Documents are divided whole, seeded, by shares of the bytes. They are put in a seeded order, and
this order is cut where the shares' bytes end. The splits keep the order, so the start of a split,
which a smaller budget of tokens takes, is a random sample of the split.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from clso.data.duplicates import Hashes, equal_together
from clso.scoring import Int64Array

__all__ = ["Extents"]


@dataclass(frozen=True)
class Extents:
    """Byte ranges of a spool, `(n,)` each: their documents, offsets and sizes."""

    document: Int64Array
    offset: Int64Array
    n_bytes: Int64Array

    def __len__(self) -> int:
        return len(self.document)

    def divide(
        self,
        shares: Mapping[str, float],
        rng: np.random.Generator,
        snap: Callable[[int, int], int],
        keys: Hashes | None = None,
    ) -> dict[str, Extents]:
        """Give each split its share of the bytes of whole documents, contiguous in the spool.

        With fewer documents than splits, the text is cut contiguously instead, in the order of
        the splits. A document that is cut has an extent in each split that has a part of it.

        Args:
            shares: per split in order; they are taken relative to their sum.
            rng: draws the order of the documents.
            snap: moves a position in a document, which ends at the second argument, to a place
                where text may be cut.
            keys: `(n,)`, equal for equal documents, which stay together; `None`: they may part.
        """
        ends = np.cumsum(list(shares.values()))
        targets = ends[:-1] / ends[-1] * float(self.n_bytes.sum())
        if len(self) < len(shares):
            pieces = self._cut(targets, snap)
        else:
            order = rng.permutation(len(self))
            order, places = equal_together(
                order, np.arange(len(self), dtype=np.uint64) if keys is None else keys
            )
            cuts = _nearest_cuts(np.cumsum(self.n_bytes[order])[places - 1], targets)
            pieces = [self.take(index) for index in np.split(order, places[np.array(cuts) - 1])]
        return dict(zip(shares, pieces, strict=True))

    def take(self, index: Int64Array) -> Extents:
        """Return some of the extents, in the order of the index."""
        return Extents(self.document[index], self.offset[index], self.n_bytes[index])

    def _cut(self, targets: np.ndarray, snap: Callable[[int, int], int]) -> list[Extents]:
        start = int(self.offset[0])
        document_ends = self.offset + self.n_bytes
        cuts = [start]
        for target in targets:
            position = start + int(target)
            index = int(np.searchsorted(document_ends, position, side="right"))
            # a place far behind one target may lie behind the next one's place
            cuts.append(max(snap(position, int(document_ends[index])), cuts[-1]))
        cuts.append(int(document_ends[-1]))
        pieces = []
        for low, high in pairwise(cuts):
            lows = np.maximum(self.offset, low)
            n_bytes = np.minimum(document_ends, high) - lows
            kept = np.flatnonzero(n_bytes > 0)
            pieces.append(Extents(self.document[kept], lows[kept], n_bytes[kept]))
        return pieces


def _nearest_cuts(ends: Int64Array, targets: np.ndarray) -> list[int]:
    """Return after how many ends to cut: nearest to the targets, no split empty."""
    cuts: list[int] = []
    for number, target in enumerate(targets):
        after = int(np.searchsorted(ends, target))
        before_is_nearer = after > 0 and target - ends[after - 1] <= ends[after] - target
        cut = after if before_is_nearer else after + 1
        lowest = cuts[-1] + 1 if cuts else 1
        highest = len(ends) - (len(targets) - number)
        cuts.append(min(max(cut, lowest), highest))
    return cuts
