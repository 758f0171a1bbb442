"""Divides documents among splits: whole, seeded, to shares of the bytes.

Documents are put in a seeded order and the row of them is cut where the shares' bytes end. The
splits keep that order, so that the front of a split, which is what a smaller budget of tokens
takes, is a random sample of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise

import numpy as np

from clso.data.spool import Extents
from clso.scoring import Int64Array

__all__ = ["divide"]


def divide(
    documents: Extents,
    shares: Mapping[str, float],
    rng: np.random.Generator,
    snap: Callable[[int, int], int],
) -> dict[str, Extents]:
    """Give each split its share of the bytes.

    With fewer documents than splits, the text is cut contiguously instead, in the order of the
    splits, and a document that is cut has an extent in each of the splits that got some of it.

    Args:
        documents: whole documents, one behind the other in the spool.
        shares: per split in order; they are taken relative to their sum.
        rng: draws the order of the documents.
        snap: moves a position in a document, which ends at the second argument, to where text
            may be cut.
    """
    ends = np.cumsum(list(shares.values()))
    targets = ends[:-1] / ends[-1] * float(documents.n_bytes.sum())
    if len(documents) < len(shares):
        pieces = _cut_text(documents, targets, snap)
    else:
        order = rng.permutation(len(documents))
        cuts = _nearest_cuts(np.cumsum(documents.n_bytes[order]), targets)
        pieces = [documents.take(index) for index in np.split(order, cuts)]
    return dict(zip(shares, pieces, strict=True))


def _nearest_cuts(ends: Int64Array, targets: np.ndarray) -> list[int]:
    """Return after how many documents to cut, next to the targets, every split getting one."""
    cuts: list[int] = []
    for number, target in enumerate(targets):
        after = int(np.searchsorted(ends, target))
        before_is_nearer = after > 0 and target - ends[after - 1] <= ends[after] - target
        cut = after if before_is_nearer else after + 1
        lowest = cuts[-1] + 1 if cuts else 1
        highest = len(ends) - (len(targets) - number)
        cuts.append(min(max(cut, lowest), highest))
    return cuts


def _cut_text(
    documents: Extents, targets: np.ndarray, snap: Callable[[int, int], int]
) -> list[Extents]:
    start = int(documents.offset[0])
    document_ends = documents.offset + documents.n_bytes
    cuts = [start]
    for target in targets:
        position = start + int(target)
        index = int(np.searchsorted(document_ends, position, side="right"))
        cuts.append(snap(position, int(document_ends[index])))
    cuts.append(int(document_ends[-1]))
    pieces = []
    for low, high in pairwise(cuts):
        lows = np.maximum(documents.offset, low)
        n_bytes = np.minimum(document_ends, high) - lows
        kept = np.flatnonzero(n_bytes > 0)
        pieces.append(Extents(documents.document[kept], lows[kept], n_bytes[kept]))
    return pieces
