r"""How often tokens stand next to each other, and vectors of tokens made of these counts.

Notation: n seen tokens, which occur in the text and are numbered from 0; the F most frequent seen
tokens serve as neighbours; d dimensions; C classes. n(x, y) is how often token y stands at a fixed
offset from token x, and n(x, c') the same for the tokens y of class c'.

All randomness comes from the generator passed in, and products of matrices run on one thread, so
that the result does not depend on the number of threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from scipy import sparse

from clso.counting import TokenStream, count_pairs
from clso.mixture.arrays import Float32Array
from clso.scoring import Int64Array
from clso.threads import one_thread

__all__ = ["NeighbourCounts", "SparseMatrix", "neighbour_vectors", "unit_left_factors"]

# scipy's stubs type a sparse product by its layout, which does not matter here
SparseMatrix = Any

_NEIGHBOURS: Final = 2000
_DIMENSIONS: Final = 64
_OVERSAMPLING: Final = 8
_PSEUDO_COUNT: Final = 5.0


class NeighbourCounts(NamedTuple):
    """n(x, y) of some offsets; the arrays are `(n_pairs,)` each.

    Attributes:
        first: x, a seen token.
        second: y, its neighbour; pairs are distinct and sorted by `first`.
        counts: n(x, y).
    """

    first: Int64Array
    second: Int64Array
    counts: Int64Array

    @classmethod
    def from_text(
        cls,
        streams: Sequence[TokenStream],
        seen: Int64Array,
        vocab_size: int,
        offsets: Sequence[int],
    ) -> NeighbourCounts:
        """Count the pairs of a text; no pair spans two streams.

        `seen` are its distinct tokens, sorted, `(n,)`; `offsets`, 1 or more each, are the distances
        from x to y that are counted together.
        """
        keys, counts = count_pairs(streams, vocab_size, offsets=offsets)
        number = np.zeros(vocab_size, dtype=np.int64)
        number[seen] = np.arange(len(seen))
        first, second = np.divmod(keys, vocab_size)
        return cls(number[first], number[second], counts)

    def reversed(self) -> NeighbourCounts:
        """Return the counts of the opposite offset, n(y, x)."""
        order = np.argsort(self.second, kind="stable")
        return NeighbourCounts(self.second[order], self.first[order], self.counts[order])

    def log_class_probabilities(self, labels: Int64Array, n_classes: int) -> Float32Array:
        r"""Return the log probability of a neighbour's class, `(C, C)`, smoothed with p(c').

        .. math:: \log p(c' \mid c) = \log \frac{n(c, c') + 5 \, p(c')}{n(c) + 5}

        `labels` has the class of each seen token, `(n,)`.
        """
        keys = labels[self.first] * n_classes + labels[self.second]
        counts = np.bincount(keys, self.counts, n_classes * n_classes)
        counts = counts.reshape(n_classes, n_classes)
        share = (counts.sum(axis=0) + 1e-3) / (counts.sum() + 1e-3 * n_classes)
        total = counts.sum(axis=1, keepdims=True) + _PSEUDO_COUNT
        log_probabilities = np.log((counts + _PSEUDO_COUNT * share) / total)
        return np.asarray(log_probabilities, dtype=np.float32)

    def class_counts(self, labels: Int64Array, n_classes: int, tokens: slice) -> Float32Array:
        """Return n(x, c') of a range of seen tokens x, `(n_tokens, C)`."""
        start, stop = np.searchsorted(self.first, [tokens.start, tokens.stop])
        rows = self.first[start:stop] - tokens.start
        keys = rows * n_classes + labels[self.second[start:stop]]
        size = (tokens.stop - tokens.start) * n_classes
        counts = np.bincount(keys, self.counts[start:stop], size).astype(np.float32)
        return np.asarray(counts.reshape(-1, n_classes))


def neighbour_vectors(
    neighbours: Sequence[NeighbourCounts], counts: Int64Array, rng: np.random.Generator
) -> Float32Array:
    r"""Return a unit vector for each seen token, `(n, d)`; similar neighbours, similar vectors.

    The vectors are the rows of :math:`U \Sigma` of a singular value decomposition of rank d. The
    decomposed matrix has a row per token x and a column per offset and frequent token y:

    .. math:: \max(\mathrm{PMI}(x, y), 0) \, \frac{n(x, y)}{n(x, y) + 2}, \qquad
        \mathrm{PMI}(x, y) = \log \frac{n(x, y)}{n(x) \, p(y)}

    `counts` has n(x) of each seen token, `(n,)`, above 0.

    Source: Levy and Goldberg 2014 (PMI); Halko, Martinsson and Tropp 2011, algorithm 4.4.
    """
    frequent = np.argsort(-counts, kind="stable")[:_NEIGHBOURS]
    column = np.full(len(counts), -1)
    column[frequent] = np.arange(len(frequent))
    share = counts / counts.sum()
    parts = []
    for pairs in neighbours:
        is_frequent = column[pairs.second] >= 0
        x, y, together = (array[is_frequent] for array in pairs)
        pmi = np.log(np.maximum(together / (counts[x] * share[y]), 1.0))
        weighted = (pmi * together / (together + 2)).astype(np.float32)
        shape = (len(counts), len(frequent))
        parts.append(sparse.csr_matrix((weighted, (x, column[y])), shape=shape))
    return unit_left_factors(sparse.hstack(parts, format="csr"), rng)


def unit_left_factors(
    matrix: SparseMatrix, rng: np.random.Generator, *, power: float = 1.0
) -> Float32Array:
    r"""Return the rows of :math:`U \Sigma^{power}` with length 1, `(n, d)`; a zero row stays zero.

    U and Sigma are those of a randomised singular value decomposition of rank d.
    """
    with one_thread():
        vectors = _left_factors(matrix, rng, power)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0))


def _left_factors(matrix: SparseMatrix, rng: np.random.Generator, power: float) -> Float32Array:
    if not matrix.count_nonzero():
        return np.zeros((matrix.shape[0], 1), dtype=np.float32)
    width = min(_DIMENSIONS + _OVERSAMPLING, *matrix.shape)
    transposed = matrix.T.tocsr()
    start = rng.standard_normal((matrix.shape[1], width), dtype=np.float32)
    basis = _orthonormal(matrix @ start)
    basis = _orthonormal(matrix @ (transposed @ basis))
    image = transposed @ basis  # (n_offsets * F, width)
    values, rotation = np.linalg.eigh((image.T @ image).astype(np.float64))
    largest = np.argsort(-values, kind="stable")[:_DIMENSIONS]
    scales = np.maximum(values[largest], 0.0) ** (power / 2)
    factors: Float32Array = basis @ (rotation[:, largest] * scales).astype(np.float32)
    return factors


def _orthonormal(columns: Float32Array) -> Float32Array:
    # from the small Gram matrix, which is much faster than a QR decomposition by Householder
    wide = columns.astype(np.float64)
    values, rotation = np.linalg.eigh(wide.T @ wide)
    kept = values > 1e-10 * values[-1]
    basis = wide @ (rotation[:, kept] / np.sqrt(values[kept]))
    return np.asarray(basis, dtype=np.float32)
