"""Clusters of tokens: k-means of their vectors, then an exchange of tokens between clusters.

Notation: n seen tokens, d dimensions, C clusters. All randomness comes from the generator passed
in, and products of matrices run on one thread, so that the result does not depend on the number of
threads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from scipy import sparse

from clso.mixture.arrays import Float32Array
from clso.mixture.neighbours import NeighbourCounts, SparseMatrix
from clso.mixture.shapes import LogPrior
from clso.scoring import Int64Array
from clso.threads import one_thread

__all__ = ["cluster", "exchange"]

_CENTRE_TOKENS: Final = 2000
_ITERATIONS: Final = 10
_SWEEPS: Final = 3
_SHAPE_WEIGHT: Final = 2.0
_ROWS: Final = 4096


def cluster(
    vectors: Float32Array, weights: Int64Array, n_clusters: int, rng: np.random.Generator
) -> Int64Array:
    """Return the cluster of each vector by k-means, `(n,)` from 0; a cluster may stay empty.

    The centres are fitted to the vectors with the largest weights. Then every vector joins the
    nearest centre. The vectors are `(n, d)`, their weights `(n,)` and above 0. At most n clusters
    are used.

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


def _nearest(points: Float32Array, centres: Float32Array) -> Int64Array:
    half_squares = (centres * centres).sum(axis=1) / 2
    labels = np.empty(len(points), dtype=np.int64)
    for start in range(0, len(points), _ROWS):
        closeness = points[start : start + _ROWS] @ centres.T - half_squares
        labels[start : start + _ROWS] = closeness.argmax(axis=1)
    return labels


def exchange(
    labels: Int64Array,
    n_classes: int,
    neighbours: Sequence[NeighbourCounts],
    log_prior: Callable[[Int64Array], LogPrior] | None,
) -> Int64Array:
    r"""Return better classes, `(n,)`: in each of three sweeps, all tokens move at once.

    .. math:: c(x) \leftarrow \arg\max_c \sum_{\mathrm{sides}} \sum_{c'} n(x, c') \log p(c' \mid c)
        + 2 \log p(c \mid \mathrm{shape}(x))

    with p(c' | c) from the classes before the sweep; notation in `clso.mixture.neighbours`.
    `labels` are the classes at the start, `(n,)`. `log_prior` returns log p(c | shape) for given
    labels; `None`: shapes are not used.

    Source: Dhillon, Mallela and Kumar 2003 (clustering by information); Clark 2003 (with the
    shapes of words).
    """
    with one_thread():
        for _ in range(_SWEEPS):
            by_side = [side.log_class_probabilities(labels, n_classes) for side in neighbours]
            prior = None if log_prior is None else log_prior(labels)
            moved = np.empty_like(labels)
            for start in range(0, len(labels), _ROWS):
                tokens = slice(start, min(start + _ROWS, len(labels)))
                score = np.zeros((tokens.stop - tokens.start, n_classes), dtype=np.float32)
                for side, log_probabilities in zip(neighbours, by_side, strict=True):
                    score += side.class_counts(labels, n_classes, tokens) @ log_probabilities.T
                if prior is not None:
                    score += _SHAPE_WEIGHT * prior.rows(tokens)
                moved[tokens] = score.argmax(axis=1)
            labels = moved
    return labels
