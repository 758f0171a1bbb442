r"""Vectors of tokens by their neighbours, and clusters of vectors.

Notation: n tokens are seen in the text, the F most frequent of them count as neighbours; d
dimensions, C clusters. All chance comes from the generators passed in, and products of matrices
run on one thread, so that the result does not depend on how many there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import sparse

from clso.counting import TokenStream, count_pairs
from clso.scoring import Int64Array
from clso.threads import one_thread

__all__ = ["NeighbourCounts", "cluster", "count_neighbours", "neighbour_vectors"]

Float32Array = npt.NDArray[np.float32]
# scipy's stubs type a sparse product by its layout, which says nothing here
SparseMatrix = Any

_NEIGHBOURS: Final = 2000
_DIMENSIONS: Final = 64
_OVERSAMPLING: Final = 8
_CENTRE_TOKENS: Final = 2000
_ITERATIONS: Final = 10
_ROWS: Final = 4096


class NeighbourCounts(NamedTuple):
    """How often seen tokens stand at some offset from each other, `(n_pairs,)` each.

    Both are numbers of seen tokens, from 0; pairs are distinct and sorted by `first`.
    """

    first: Int64Array
    second: Int64Array
    counts: Int64Array

    def turned(self) -> NeighbourCounts:
        """Return the pairs the other way round, sorted again."""
        order = np.argsort(self.second, kind="stable")
        return NeighbourCounts(self.second[order], self.first[order], self.counts[order])


class _EverySecond:
    """Every second token of a stream, so that those two apart are neighbours."""

    def __init__(self, stream: TokenStream, start: int) -> None:
        self._stream = stream
        self._start = start
        self.n_tokens = max((stream.n_tokens - start) // 2, 0)

    def tokens(self, start: int, stop: int) -> npt.NDArray[np.integer]:
        """Return tokens `start` to `stop` of those that are left."""
        if start >= stop:
            return self._stream.tokens(0, 0)
        return self._stream.tokens(self._start + 2 * start, self._start + 2 * stop - 1)[::2]


def count_neighbours(
    streams: Sequence[TokenStream], seen: Int64Array, vocab_size: int, offset: int
) -> NeighbourCounts:
    """Count the pairs of tokens at an offset of 1 or 2; none spans two streams.

    Args:
        streams: the text.
        seen: the tokens that occur in it, sorted, `(n,)`.
        vocab_size: V.
        offset: 1 or 2.
    """
    apart = list(streams)
    if offset == 2:
        apart = [_EverySecond(stream, start) for stream in streams for start in (0, 1)]
    keys, counts = count_pairs(apart, vocab_size)
    number = np.zeros(vocab_size, dtype=np.int64)
    number[seen] = np.arange(len(seen))
    first, second = np.divmod(keys, vocab_size)
    return NeighbourCounts(number[first], number[second], counts)


def neighbour_vectors(
    neighbours: Sequence[NeighbourCounts], counts: Int64Array, rng: np.random.Generator
) -> Float32Array:
    r"""Return a unit vector per seen token, `(n, d)`: like neighbours, like vectors.

    The rows of the rank-d singular value decomposition :math:`U \Sigma` of, side by side,

    .. math:: \max(\mathrm{PMI}(x, y), 0) \, \frac{n(x, y)}{n(x, y) + 2}

    with n(x, y) how often the frequent token y is x's neighbour of a kind.

    Args:
        neighbours: pairs (x, y), one collection per kind.
        counts: how often each seen token occurs, `(n,)`, above 0.
        rng: starts the decomposition.

    Source: Levy and Goldberg 2014 (PMI); Halko, Martinsson and Tropp 2011, algorithm 4.4.
    """
    frequent = np.argsort(-counts, kind="stable")[:_NEIGHBOURS]
    column = np.full(len(counts), -1)
    column[frequent] = np.arange(len(frequent))
    share = counts / counts.sum()
    parts = []
    for pairs in neighbours:
        known = column[pairs.second] >= 0
        x, y, together = (array[known] for array in pairs)
        pmi = np.log(np.maximum(together / (counts[x] * share[y]), 1.0))
        weighted = (pmi * together / (together + 2)).astype(np.float32)
        shape = (len(counts), len(frequent))
        parts.append(sparse.csr_matrix((weighted, (x, column[y])), shape=shape))
    with one_thread():
        vectors = _left_factors(sparse.hstack(parts, format="csr"), rng)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0))


def cluster(
    vectors: Float32Array, weights: Int64Array, n_clusters: int, rng: np.random.Generator
) -> Int64Array:
    """Sort vectors into clusters by k-means, `(n,)` from 0; a cluster may be left empty.

    The centres are those of the vectors with the greatest weights; the others join the nearest.

    Args:
        vectors: `(n, d)`.
        weights: how much each counts towards its centre, `(n,)`, above 0.
        n_clusters: C; no more than n are used.
        rng: draws the vectors that the centres start from.

    Source: Lloyd 1982.
    """
    n_clusters = min(n_clusters, len(vectors))
    heavy = np.argsort(-weights, kind="stable")[: max(_CENTRE_TOKENS, 2 * n_clusters)]
    points, mass = vectors[heavy], weights[heavy].astype(np.float32)
    drawn = rng.choice(
        len(heavy), n_clusters, replace=False, p=weights[heavy] / weights[heavy].sum()
    )
    centres = points[np.sort(drawn)]
    with one_thread():
        for _ in range(_ITERATIONS):
            labels = _nearest(points, centres)
            members: SparseMatrix = sparse.csr_matrix(
                (mass, (labels, np.arange(len(heavy)))), shape=(n_clusters, len(heavy))
            )
            total = np.bincount(labels, mass, n_clusters).astype(np.float32)[:, None]
            centres = np.where(total > 0, (members @ points) / np.maximum(total, 1.0), centres)
        return _nearest(vectors, centres)


def _left_factors(matrix: SparseMatrix, rng: np.random.Generator) -> Float32Array:
    if not matrix.count_nonzero():
        return np.zeros((matrix.shape[0], 1), dtype=np.float32)
    width = min(_DIMENSIONS + _OVERSAMPLING, *matrix.shape)
    across = matrix.T.tocsr()
    start = rng.standard_normal((matrix.shape[1], width), dtype=np.float32)
    basis = _orthonormal(matrix @ start)
    basis = _orthonormal(matrix @ (across @ basis))
    image = across @ basis  # (n_kinds * F, width)
    values, rotation = np.linalg.eigh((image.T @ image).astype(np.float64))
    strongest = np.argsort(-values, kind="stable")[:_DIMENSIONS]
    scales = np.sqrt(np.maximum(values[strongest], 0.0))
    factors: Float32Array = basis @ (rotation[:, strongest] * scales).astype(np.float32)
    return factors


def _orthonormal(columns: Float32Array) -> Float32Array:
    # from the small Gram matrix, in a fraction of the time that Householder's QR takes
    wide = columns.astype(np.float64)
    values, rotation = np.linalg.eigh(wide.T @ wide)
    kept = values > 1e-10 * values[-1]
    basis = wide @ (rotation[:, kept] / np.sqrt(values[kept]))
    return np.asarray(basis, dtype=np.float32)


def _nearest(points: Float32Array, centres: Float32Array) -> Int64Array:
    half_squares = (centres * centres).sum(axis=1) / 2
    labels = np.empty(len(points), dtype=np.int64)
    for start in range(0, len(points), _ROWS):
        near = points[start : start + _ROWS] @ centres.T - half_squares
        labels[start : start + _ROWS] = near.argmax(axis=1)
    return labels
