r"""Weights of a mixture by expectation maximisation, shared and per bucket.

Notation: n contexts, K functions, function 0 the uniform one; p_k the target's probability under
function k; w the shared weights, w(b) those of bucket b with n(b) contexts. An EM step is

.. math::
    n_k(b) = \sum_{i \in b} \frac{w_k(b) p_{ik}}{\sum_j w_j(b) p_{ij}}, \qquad
    w_k(b) \leftarrow \frac{n_k(b) + \alpha w_k}{n(b) + \alpha}

so a bucket without contexts has the shared weights. In a tree of bucketings, the weights of a
bucket take the place of w for its buckets of the next level, whose alpha is 3, 8, 8, ... times as
large: these buckets are smaller, and what they start from is closer. The uniform function is
credited with another :math:`\epsilon (n(b) + \alpha)` contexts, which keeps its weight at
:math:`\epsilon / (1 + \epsilon)` or more. Each step raises the (penalised) likelihood. There is no
learning rate.

Source: Jelinek and Mercer 1980 (deleted interpolation); Dempster, Laird and Rubin 1977; Bahl,
Brown, de Souza and Mercer 1989 (trees of contexts).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

import numpy as np
import numpy.typing as npt

from clso.counting import FloatArray
from clso.mixture.arrays import Float32Array
from clso.mixture.buckets import Bucketing
from clso.mixture.history import History
from clso.scoring import Int64Array

__all__ = ["BucketOrder", "MixtureWeights"]


_LEVEL_SMOOTHING = (1.0, 3.0, 8.0)  # alpha of a level, relative; deeper levels have the last
_UNIFORM_WEIGHT = 1.01e-4  # epsilon; the weight of the uniform function stays above 1e-4


@dataclass(frozen=True)
class BucketOrder:
    """The contexts of some blocks, sorted by bucket.

    Attributes:
        contexts: indices of the contexts, `(n,)` int64; inside a bucket they ascend.
        segments: bucket, start and stop in `contexts`, for each bucket that has contexts.
        branching: see `Bucketing.branching`.
    """

    contexts: Int64Array
    segments: tuple[tuple[int, int, int], ...]
    branching: tuple[int, ...]

    @classmethod
    def of(cls, buckets: Int64Array, *branching: int) -> Self:
        """Sort contexts by their buckets, `(n,)`, of the last level."""
        contexts = np.argsort(buckets, kind="stable")
        filled, starts = np.unique(buckets[contexts], return_index=True)
        bounds = [*starts.tolist(), len(buckets)]
        segments = tuple(
            (int(bucket), start, stop)
            for bucket, (start, stop) in zip(filled, pairwise(bounds), strict=True)
        )
        return cls(contexts, segments, branching)

    @classmethod
    def by(cls, bucketing: str, history: History) -> Self:
        """Sort the contexts of some blocks by a bucketing of `clso.mixture.buckets`."""
        division = Bucketing(bucketing)
        return cls.of(division.assign(history).ravel(), *division.branching)

    @property
    def n_buckets(self) -> int:
        """All buckets of the last level, empty ones included."""
        return math.prod(self.branching)

    def levels(self) -> Iterator[tuple[int, list[tuple[int, int, int]]]]:
        """Yield the branching and the segments of every level, the first level first."""
        below = self.n_buckets
        for branching in self.branching:
            below //= branching
            segments: list[tuple[int, int, int]] = []
            for bucket, start, stop in self.segments:
                if segments and segments[-1][0] == bucket // below:
                    start = segments.pop()[1]
                segments.append((bucket // below, start, stop))
            yield branching, segments

    def part(self, chosen: npt.NDArray[np.bool_]) -> BucketOrder:
        """Return the order of the chosen contexts alone; `chosen` is `(n,)`, by context index."""
        kept = chosen[self.contexts]
        ends = np.cumsum(kept)
        segments, start = [], 0
        for bucket, _, stop in self.segments:
            end = int(ends[stop - 1])
            if end > start:
                segments.append((bucket, start, end))
            start = end
        return BucketOrder(self.contexts[kept], tuple(segments), self.branching)


@dataclass(frozen=True)
class MixtureWeights:
    """Weights of K functions; each row sums to 1.

    Attributes:
        shared: over all contexts, `(K,)` float64.
        table: per bucket, `(n_buckets, K)` float64.
    """

    shared: FloatArray
    table: FloatArray

    def with_share(self, share: float) -> MixtureWeights:
        """Return the weights of K + 1 functions, the last with a fixed share, 0 to 1."""

        def joined(own: FloatArray) -> FloatArray:
            last = np.full((*own.shape[:-1], 1), share)
            return np.concatenate([own * (1.0 - share), last], axis=-1)

        return MixtureWeights(joined(self.shared), joined(self.table))

    @classmethod
    def fit(
        cls, columns: Float32Array, order: BucketOrder, *, smoothing: float, steps: int
    ) -> Self:
        """Fit the shared weights, then the weights of each bucket, level after level.

        Args:
            columns: the targets' probabilities, `(K, n)` float32. Row 0 is the uniform function,
                so that no target has probability 0.
            smoothing: alpha, in contexts.
            steps: EM steps for the shared weights, and again for each bucket of a level.
        """
        columns = columns.take(order.contexts, axis=1)
        n_functions, n = columns.shape
        shared = np.full(n_functions, 1.0 / n_functions, dtype=np.float32)
        if n:
            shared = _maximized(shared, columns, np.zeros_like(shared), n, steps)
        table = shared[None]
        for level, (branching, segments) in enumerate(order.levels()):
            alpha = smoothing * _LEVEL_SMOOTHING[min(level, len(_LEVEL_SMOOTHING) - 1)]
            table = np.repeat(table, branching, axis=0)
            for bucket, start, stop in segments:
                contexts, before = columns[:, start:stop], table[bucket]
                prior = np.float32(alpha) * before
                table[bucket] = _maximized(before, contexts, prior, stop - start + alpha, steps)
        return cls(_normalized(shared), _normalized(table))

    def nll(self, columns: Float32Array, order: BucketOrder) -> FloatArray:
        """Return -log p of the targets in nats, `(n,)`, in the sequence of `order.contexts`."""
        logs = list(self._log_p(columns, order))
        return -np.concatenate(logs, dtype=np.float64) if logs else np.zeros(0)

    def mean_nll(self, columns: Float32Array, order: BucketOrder) -> float:
        """Return the mean of -log p over the targets, in nats, summed in float64."""
        total = 0.0
        for logs in self._log_p(columns, order):
            total += float(logs.sum(dtype=np.float64))
        return -total / max(len(order.contexts), 1)

    def _log_p(self, columns: Float32Array, order: BucketOrder) -> Iterator[Float32Array]:
        """Give the targets' log-probabilities, bucket after bucket."""
        columns = columns.take(order.contexts, axis=1)
        for bucket, start, stop in order.segments:
            row = self.table[bucket].astype(np.float32)
            yield np.log(row @ columns[:, start:stop])


def _maximized(
    weights: Float32Array, columns: Float32Array, prior: Float32Array, total: float, steps: int
) -> Float32Array:
    """Take EM steps from `weights`; `prior`, `(K,)`, are contexts credited to each function."""
    scale = np.float32(1.0 / (total * (1.0 + _UNIFORM_WEIGHT)))
    fixed = prior * scale
    fixed[0] += np.float32(_UNIFORM_WEIGHT * total) * scale
    for _ in range(steps):
        # the number of contexts that each function accounts for; torch would take three times as
        # long for these small products
        accounted: Float32Array = columns @ np.reciprocal(weights @ columns)
        accounted *= weights
        accounted *= scale
        accounted += fixed
        weights = accounted
    return weights


def _normalized(weights: Float32Array) -> FloatArray:
    exact = weights.astype(np.float64)
    return np.asarray(exact / exact.sum(axis=-1, keepdims=True))
