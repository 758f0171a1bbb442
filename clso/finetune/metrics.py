r"""Scores of predicted labels: accuracy and Matthews correlation, from counts.

Notation: C is the K x K matrix of counts, C_{ij} examples of label i that were given label j; c is
its trace, s its sum, t_i its row sums and p_j its column sums.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from clso.finetune.settings import Metric
from clso.finetune.task import Examples
from clso.scoring import Int64Array

__all__ = ["Predictions", "document_counts", "score"]

FloatArray = npt.NDArray[np.float64]


def score(metric: Metric, counts: FloatArray) -> FloatArray:
    r"""Return the score of matrices of counts, `(..., K, K)` to `(...)`.

    The accuracy is c / s. The Matthews correlation, 0 where labels or predictions are constant, is

    .. math:: \frac{c s - \sum_k t_k p_k}{\sqrt{s^2 - \sum_k p_k^2} \sqrt{s^2 - \sum_k t_k^2}}

    Source: Gorodkin 2004, Comparing two K-category assignments by a K-category correlation
    coefficient.
    """
    correct, total = np.trace(counts, axis1=-2, axis2=-1), counts.sum((-2, -1))
    if metric == "accuracy":
        return np.asarray(correct / total)
    expected, predicted = counts.sum(-1), counts.sum(-2)
    covariance = correct * total - (expected * predicted).sum(-1)
    spreads = (total**2 - (each**2).sum(-1) for each in (expected, predicted))
    scale = np.sqrt(np.prod(np.stack([*spreads]), axis=0))
    found: FloatArray = np.zeros_like(covariance)
    np.divide(covariance, scale, out=found, where=scale > 0)
    return found


def document_counts(
    expected: Int64Array, predicted: Int64Array, documents: Int64Array, n_labels: int
) -> FloatArray:
    """Return the matrix of counts of each document, ascending, `(n_documents, K, K)`."""
    _, place = np.unique(documents, return_inverse=True)
    n_documents = int(place.max(initial=-1)) + 1
    cell = (place * n_labels + expected) * n_labels + predicted
    counts = np.bincount(cell, minlength=n_documents * n_labels**2).astype(np.float64)
    return counts.reshape(n_documents, n_labels, n_labels)


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a classifier says about examples.

    Attributes:
        expected, predicted: numbers of the labels, `(n,)`.
        documents: `(n,)`.
        loss: mean negative log-probability of the expected labels, nats; `None`: not finite.
    """

    expected: Int64Array
    predicted: Int64Array
    documents: Int64Array
    loss: float | None

    @classmethod
    def of(cls, log_probabilities: FloatArray, examples: Examples) -> Self:
        """Return the most probable labels by log-probabilities `(n, K)`, the first of equals."""
        chosen = log_probabilities[np.arange(len(examples)), examples.labels]
        loss = float(-chosen.mean())
        return cls(
            examples.labels,
            log_probabilities.argmax(1).astype(np.int64),
            examples.documents,
            loss if np.isfinite(loss) else None,
        )

    def score(self, metric: Metric, n_labels: int) -> float:
        """Return a score over all examples."""
        one = np.zeros_like(self.documents)
        counts = document_counts(self.expected, self.predicted, one, n_labels)
        return float(score(metric, counts)[0])
