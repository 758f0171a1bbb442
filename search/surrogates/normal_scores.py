r"""Losses as normal scores, so that a surrogate learns their order.

Notation: n losses; the loss of rank r (from 1, equal losses share their mean rank) has the score

.. math:: z = \Phi^{-1}((r - 1/2) / n)

with :math:`\Phi` the standard normal distribution. After some generations most evaluated genomes
are close to the best one and a few are far worse. In losses these few decide what a surrogate
learns; in scores they do not. Any increasing function of the losses gives the same scores.

Source: Salinas, Shen and Perrone 2020 (A quantile-based approach for hyperparameter transfer
learning, section 3); Conover 1999 (normal scores).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import ndtri

from clso.genome import Genome, GenomeSpace
from search.surrogates.interface import FloatArray, Surrogate, SurrogateFactory, neighbour_means

__all__ = ["NormalScoresSurrogate"]

_END = 0.1  # share of the losses that give the slope beyond the lowest and the highest one


class NormalScoresSurrogate:
    """Another surrogate that learns from normal scores; its predictions are turned into losses.

    A score between two of the training set becomes the loss that is as far between theirs. Beyond
    the ends the line goes on as steeply as over the outer tenth of the losses. The spread is the
    difference to the loss one spread of the score lower, where the search looks.
    """

    def __init__(self, factory: SurrogateFactory, space: GenomeSpace, seed: int) -> None:
        self._surrogate: Surrogate = factory(space, seed)

    @property
    def kind(self) -> str | None:
        """The other surrogate's kind."""
        return self._surrogate.kind

    def fit(self, genomes: Sequence[Genome], losses: Sequence[float]) -> None:
        """Learn from evaluated genomes; see `Surrogate.fit`."""
        observed = np.asarray(losses, dtype=np.float64)
        self._losses, place, counts = np.unique(observed, return_inverse=True, return_counts=True)
        ranks = np.cumsum(counts) - (counts - 1) / 2
        self._scores = ndtri((ranks - 0.5) / len(observed))
        self._surrogate.fit(genomes, self._scores[place].tolist())

    def predict(self, genomes: Sequence[Genome]) -> tuple[FloatArray, FloatArray]:
        """Predict losses; see `Surrogate.predict`."""
        score, spread = self._surrogate.predict(genomes)
        mean = self._loss(score)
        return mean, mean - self._loss(score - spread)

    def neighbour_means(self, genome: Genome) -> list[FloatArray] | None:
        """Predict one-gene changes; see `neighbour_means`."""
        scores = neighbour_means(self._surrogate, genome)
        return None if scores is None else [self._loss(score) for score in scores]

    def _loss(self, score: FloatArray) -> FloatArray:
        losses, scores = self._losses, self._scores
        if len(losses) == 1:
            return np.full(len(score), losses[0])
        end = max(1, round(_END * (len(losses) - 1)))
        low = (losses[end] - losses[0]) / (scores[end] - scores[0])
        high = (losses[-1] - losses[-1 - end]) / (scores[-1] - scores[-1 - end])
        inside: FloatArray = np.interp(score, scores, losses)
        below, above = np.minimum(score - scores[0], 0.0), np.maximum(score - scores[-1], 0.0)
        return np.asarray(inside + low * below + high * above)
