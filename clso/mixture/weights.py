r"""Weights of a mixture by expectation maximisation, shared and per bucket.

Notation: n contexts, K functions, function 0 the uniform one; p_k the target's probability under
function k; w the shared weights, w(b) those of bucket b with n(b) contexts. An EM step is

.. math::
    n_k(b) = \sum_{i \in b} \frac{w_k(b) p_{ik}}{\sum_j w_j(b) p_{ij}}, \qquad
    w_k(b) \leftarrow \frac{n_k(b) + \alpha w_k}{n(b) + \alpha}

so a bucket without contexts has the shared weights. The uniform function is counted as if it had
accounted for another :math:`\epsilon (n(b) + \alpha)` contexts, which keeps its weight at
:math:`\epsilon / (1 + \epsilon)` or more. Each step raises the (penalised) likelihood: there is no
rate to tune.

Source: Jelinek and Mercer 1980 (deleted interpolation); Dempster, Laird and Rubin 1977.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from clso.scoring import Int64Array

__all__ = ["UNIFORM_WEIGHT", "Bucketed", "MixtureWeights", "fit_weights", "group"]

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]

UNIFORM_WEIGHT = 1.01e-4
"""Epsilon; the uniform function's weight never falls below 1e-4."""


@dataclass(frozen=True)
class MixtureWeights:
    """Weights of K functions; each row sums to 1.

    Attributes:
        shared: over all contexts, `(K,)` float64.
        table: per bucket, `(n_buckets, K)` float64.
    """

    shared: FloatArray
    table: FloatArray


@dataclass(frozen=True)
class Bucketed:
    """Which contexts fall into which bucket.

    Attributes:
        order: contexts sorted by bucket, `(n,)` int64, else as they came.
        segments: bucket number, start and stop in that order, for buckets with contexts.
    """

    order: Int64Array
    segments: tuple[tuple[int, int, int], ...]

    @classmethod
    def of(cls, buckets: Int64Array) -> Bucketed:
        """Sort contexts by their buckets, `(n,)`."""
        order = np.argsort(buckets, kind="stable")
        found, starts = np.unique(buckets[order], return_index=True)
        bounds = [*starts.tolist(), len(buckets)]
        segments = tuple(
            (int(bucket), start, stop)
            for bucket, (start, stop) in zip(found, pairwise(bounds), strict=True)
        )
        return cls(order, segments)

    def part(self, chosen: npt.NDArray[np.bool_]) -> Bucketed:
        """Return the division of some contexts alone; `chosen` is `(n,)`, as they came."""
        kept = chosen[self.order]
        ends = np.cumsum(kept)
        segments, start = [], 0
        for bucket, _, stop in self.segments:
            end = int(ends[stop - 1])
            if end > start:
                segments.append((bucket, start, end))
            start = end
        return Bucketed(self.order[kept], tuple(segments))


@dataclass(frozen=True)
class _Grouped:
    """Target probabilities with the contexts of each bucket side by side.

    Attributes:
        columns: `(K, n)` float32, contexts in the order of their buckets.
        segments: as in `Bucketed`.
    """

    columns: Float32Array
    segments: tuple[tuple[int, int, int], ...]

    def nll(self, weights: MixtureWeights) -> FloatArray:
        """Return -log p of the contexts, in nats, `(n,)`, in the order of their buckets."""
        nats = np.empty(self.columns.shape[1])
        for bucket, start, stop in self.segments:
            row = weights.table[bucket].astype(np.float32)
            nats[start:stop] = -np.log(row @ self.columns[:, start:stop])
        return nats

    def mean_nll(self, weights: MixtureWeights) -> float:
        """Return the mean of -log p over the contexts, in nats, summed in float64."""
        total = 0.0
        for bucket, start, stop in self.segments:
            row = weights.table[bucket].astype(np.float32)
            total += float(np.log(row @ self.columns[:, start:stop]).sum(dtype=np.float64))
        return -total / max(len(self.columns[0]), 1)


def group(columns: Float32Array, rows: Sequence[int], order: Bucketed) -> _Grouped:
    """Take some functions' columns and bring the contexts into the order of their buckets.

    Args:
        columns: the whole library's, `(N, n)` float32.
        rows: which K of them.
        order: from `Bucketed.of`.
    """
    return _Grouped(columns[list(rows)].take(order.order, axis=1), order.segments)


def fit_weights(
    grouped: _Grouped,
    n_buckets: int,
    *,
    smoothing: float,
    steps: int,
) -> MixtureWeights:
    """Fit shared weights, then those of each bucket, by so many EM steps each.

    Args:
        grouped: function 0 must be the uniform one, so that no context has probability 0.
        n_buckets: rows of the table.
        smoothing: alpha, in contexts.
        steps: EM steps for the shared weights, and again for each bucket's.
    """
    columns = grouped.columns
    n_functions, n = columns.shape
    shared = np.full(n_functions, 1.0 / n_functions, dtype=np.float32)
    if n:
        shared = _maximized(shared, columns, np.zeros_like(shared), n, steps)
    table = np.tile(shared, (n_buckets, 1))
    prior = np.float32(smoothing) * shared
    for bucket, start, stop in grouped.segments:
        contexts = columns[:, start:stop]
        table[bucket] = _maximized(shared, contexts, prior, stop - start + smoothing, steps)
    return MixtureWeights(_normalized(shared), _normalized(table))


def _maximized(
    weights: Float32Array, columns: Float32Array, prior: Float32Array, total: float, steps: int
) -> Float32Array:
    """Take EM steps from `weights`; `prior` contexts are accounted for beforehand, `(K,)`."""
    scale = np.float32(1.0 / (total * (1.0 + UNIFORM_WEIGHT)))
    fixed = prior * scale
    fixed[0] += np.float32(UNIFORM_WEIGHT * total) * scale
    for _ in range(steps):
        # how many contexts each function accounts for; numpy, because the calls of torch take
        # three times as long as these small products
        accounted: Float32Array = columns @ np.reciprocal(weights @ columns)
        accounted *= weights
        accounted *= scale
        accounted += fixed
        weights = accounted
    return weights


def _normalized(weights: Float32Array) -> FloatArray:
    exact = weights.astype(np.float64)
    return np.asarray(exact / exact.sum(axis=-1, keepdims=True))
