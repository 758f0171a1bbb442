r"""Co-occurrence of tokens in d coordinates: pair counts and their truncated decomposition.

Notation: V tokens; c_k(x, y) how often y stands k places after x; r(x), c(y) how often a token is
a context and a target. There are three matrices, zero for every pair that does not occur:

    near    log(1 + h(x, y) / (gamma(x) p_1(y))) of the interpolated Kneser-Ney bigram
            h(x, y) + gamma(x) p_1(y): added to log p_1(y), it is that bigram, up to a constant
    recent  max(PMI, 0) C / (C + 1) of C = c_2 + ... + c_R
    topic   the same with a larger R

Each is decomposed as diag(r)^(1/2) M diag(c)^(1/2) = A S B^T, which gives frequent pairs
more weight, and becomes M ~ E U^T with E = diag(r)^(-1/2) A S^(1/2), U = diag(c)^(-1/2) B S^(1/2).
No gradient is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
import numpy.typing as npt
from scipy import sparse
from threadpoolctl import threadpool_limits

from clso.counting import TokenStream, count_pairs
from clso.errors import DataError
from clso.floors import Bigram
from clso.library.entry import FloatMatrix
from clso.library.residual_layout import ResidualLayout
from clso.scoring import Int64Array

__all__ = ["SpectralFactors", "neighbours", "truncated_svd"]

FloatArray = npt.NDArray[np.float64]
HalfMatrix = npt.NDArray[np.float16]

_OVERSAMPLING = 8
_POWER_ITERATIONS = 2
# The longest rows of near, recent and topic as shares of sqrt(d): short enough that LayerNorm stays
# linear. Attention returns recent at about this length, topic at ten times this length.
_LARGEST_ROWS = (0.06, 0.03, 0.005)
# Separates this random stream from all others of the same seed.
_STREAM = int.from_bytes(b"svd")


@dataclass(frozen=True)
class SpectralFactors:
    """The co-occurrence of the training tokens, in the coordinates of a layout.

    Attributes:
        layout: the meaning of the coordinates.
        embedding: E, `(V, rank)` float32: near, recent, topic side by side.
        readout: U, the same shape.
        counts: r, `(V,)`.
        log_prior: log p_1, `(V,)`.
        source: the name of the tokens that were counted.
        unseen: a token whose row of U all tokens have that do not occur; `None`: zeros.
    """

    layout: ResidualLayout
    embedding: FloatMatrix
    readout: FloatMatrix
    counts: Int64Array
    log_prior: FloatArray
    source: str
    unseen: int | None = None

    @classmethod
    def fit(
        cls,
        splits: Sequence[TokenStream],
        vocab_size: int,
        layout: ResidualLayout,
        *,
        recent_reach: int,
        topic_reach: int,
        seed: int,
        source: str,
    ) -> Self:
        """Count pairs of tokens and decompose the three matrices, on one thread.

        No pair spans two splits. Both reaches are at least 2.

        Raises:
            DataError: no pair occurs.
        """
        keys, counts = neighbours(splits, vocab_size)
        bigram = Bigram(keys, counts, vocab_size)
        contexts, targets = np.divmod(keys, vocab_size)
        totals = (
            np.bincount(contexts, weights=counts, minlength=vocab_size).astype(np.float64),
            np.bincount(targets, weights=counts, minlength=vocab_size).astype(np.float64),
        )
        near = np.log1p(bigram.higher / (bigram.gamma[contexts] * bigram.lower[targets]))
        with threadpool_limits(1):
            parts = [_split(keys, near, totals, layout.near, seed)]
            for width, reach in ((layout.recent, recent_reach), (layout.topic, topic_reach)):
                pairs, values = _shrunk_pmi(splits, totals, reach)
                parts.append(_split(pairs, values, totals, width, seed))
        counted = totals[0].astype(np.int64)
        return cls.scaled(
            parts, layout, counts=counted, log_prior=np.log(bigram.lower), source=source
        )

    @classmethod
    def scaled(
        cls,
        parts: Sequence[tuple[FloatMatrix, FloatMatrix]],
        layout: ResidualLayout,
        *,
        counts: Int64Array,
        log_prior: FloatArray,
        source: str,
        unseen: int | None = None,
    ) -> Self:
        """Return the factors that E and U of near, recent and topic make, `(V, rank)` each.

        E is scaled to the sizes that LayerNorm leaves linear, and U by the inverse.
        """
        scaled = []
        for (left, right), share in zip(parts, _LARGEST_ROWS, strict=True):
            longest = float(np.sqrt(np.square(left).sum(1).max())) or 1.0
            factor = np.float32(share * np.sqrt(layout.n_embd) / longest)
            scaled.append((left * factor, right / factor))
        return cls(
            layout=layout,
            embedding=np.concatenate([left for left, _ in scaled], axis=1).astype(np.float32),
            readout=np.concatenate([right for _, right in scaled], axis=1).astype(np.float32),
            counts=counts,
            log_prior=log_prior,
            source=source,
            unseen=unseen,
        )

    @property
    def vocab_size(self) -> int:
        """V."""
        return len(self.counts)

    @cached_property
    def seen(self) -> npt.NDArray[np.int32]:
        """The tokens that occur, ascending; all other rows of both factors are zero."""
        rows = self.embedding.any(1) | self.readout.any(1)
        return np.flatnonzero(rows).astype(np.int32)

    @cached_property
    def stored(self) -> tuple[HalfMatrix, HalfMatrix]:
        """The rows of `seen` in E and in U, as entries store them, `(m, rank)` float16 each."""
        seen = self.seen
        return self.embedding[seen].astype(np.float16), self.readout[seen].astype(np.float16)


def neighbours(splits: Sequence[TokenStream], vocab_size: int) -> tuple[Int64Array, Int64Array]:
    """Return the distinct pairs of neighbours and their counts, as `count_pairs`.

    Raises:
        DataError: no pair occurs.
    """
    keys, counts = count_pairs(splits, vocab_size)
    if not len(keys):
        raise DataError(
            "the training text has no two tokens in a row",
            remedy="give more text, or turn gpt.spectral.enabled off",
        )
    return keys, counts


def _shrunk_pmi(
    splits: Sequence[TokenStream], totals: tuple[FloatArray, FloatArray], reach: int
) -> tuple[Int64Array, FloatArray]:
    """Return the pairs of positive PMI at distances 2 to `reach`, and PMI C / (C + 1) of each."""
    offsets, vocab_size = range(2, reach + 1), len(totals[0])
    keys, counts = count_pairs(splits, vocab_size, offsets=offsets)
    contexts, targets = np.divmod(keys, vocab_size)
    expected = totals[0][contexts] * totals[1][targets] * len(offsets) / totals[1].sum()
    # the first or last token may never be a target or a context
    pmi = np.log(counts / np.maximum(expected, 1e-12))
    positive = np.flatnonzero((pmi > 0.0) & (expected > 0.0))
    return keys[positive], pmi[positive] * counts[positive] / (counts[positive] + 1.0)


def _split(
    keys: Int64Array,
    values: FloatArray,
    totals: tuple[FloatArray, FloatArray],
    rank: int,
    seed: int,
) -> tuple[FloatMatrix, FloatMatrix]:
    """Return E and U, each `(V, rank)` float32, of the sparse matrix with these values."""
    vocab_size = len(totals[0])
    (rows, row), (columns, column) = (
        np.unique(tokens, return_inverse=True) for tokens in np.divmod(keys, vocab_size)
    )
    left, right = np.sqrt(totals[0][rows]), np.sqrt(totals[1][columns])
    weighted = values * left[row] * right[column]
    matrix = sparse.csr_array(
        (weighted.astype(np.float32), (row, column)), shape=(len(rows), len(columns))
    )
    u, s, v = truncated_svd(matrix, rank, np.random.default_rng([seed, _STREAM]))
    root, n_values = np.sqrt(s), len(s)
    embedding = np.zeros((vocab_size, rank), dtype=np.float32)
    readout = np.zeros((vocab_size, rank), dtype=np.float32)
    embedding[rows, :n_values] = u * root / left[:, None]
    readout[columns, :n_values] = v * root / right[:, None]
    return embedding, readout


def truncated_svd(
    matrix: sparse.csr_array, rank: int, rng: np.random.Generator
) -> tuple[FloatMatrix, FloatMatrix, FloatMatrix]:
    """Return u `(m, k)`, s `(k,)`, v `(n, k)` of the largest k = min(rank, m, n) values.

    Source: Halko, Martinsson and Tropp 2011, algorithms 4.4 and 5.1.
    """
    k = min(rank, *matrix.shape)
    width = min(k + _OVERSAMPLING, *matrix.shape)
    transposed = matrix.T.tocsr()
    basis = np.linalg.qr(matrix @ rng.standard_normal((matrix.shape[1], width), np.float32))[0]
    for _ in range(_POWER_ITERATIONS):
        basis = np.linalg.qr(transposed @ basis)[0]
        basis = np.linalg.qr(matrix @ basis)[0]
    v, s, ut = np.linalg.svd(transposed @ basis, full_matrices=False)
    u = basis @ ut.T
    # the sign of a pair of vectors is arbitrary; the largest element of u becomes positive
    sign = np.sign(u[np.abs(u).argmax(0), np.arange(u.shape[1])])
    return (u * sign)[:, :k], s[:k], (v * sign)[:, :k]
