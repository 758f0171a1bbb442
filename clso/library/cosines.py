"""The similarity of matrices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from clso.library.entry import LibraryEntry

__all__ = ["similarity"]

_CHUNK = 2**16  # elements of each matrix that are widened to float64 at once


def similarity(entries: Sequence[LibraryEntry]) -> npt.NDArray[np.float64]:
    r"""Return the cosines between matrices as vectors of their elements.

    .. math:: S_{ij} = \langle W_i, W_j \rangle_F / (\|W_i\|_F \|W_j\|_F)

    A cosine of 1 means the same map up to a positive factor, -1 the opposite map, and 0 outputs
    that do not correlate for inputs of independent coordinates. Cosines of independent draws have
    mean 0, and as standard deviation the number of independent elements to the power -1/2:
    :math:`(in \cdot out)^{-1/2}` in general, :math:`max(in, out)^{-1/2}` for circulants. Larger
    cosines mean common structure. The row and column of a zero matrix are NaN.

    Subspaces are not compared, because most families have full rank.

    Args:
        entries: N matrices of one shape, such as the entries of a slot.

    Returns:
        `(N, N)` float64, symmetric; the diagonal is exactly 1.

    Raises:
        ValueError: the matrices have several shapes.
    """
    shapes = sorted({entry.shape for entry in entries})
    if len(shapes) > 1:
        raise ValueError(f"the entries have the shapes {shapes}, expected one shape")
    n = len(entries)
    gram = np.zeros((n, n))
    if n:
        vectors = np.stack([entry.dense().ravel() for entry in entries])
        for start in range(0, vectors.shape[1], _CHUNK):
            part = vectors[:, start : start + _CHUNK].astype(np.float64)
            gram += part @ part.T
    lengths = np.sqrt(np.diagonal(gram))
    lengths[lengths == 0.0] = np.nan
    cosines = np.clip(gram / np.outer(lengths, lengths), -1.0, 1.0)
    np.fill_diagonal(cosines, np.where(np.isnan(lengths), np.nan, 1.0))
    return np.asarray((cosines + cosines.T) / 2)
