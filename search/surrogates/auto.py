"""The surrogate that picks the kind which ranks held-back genomes best, or steps aside.

Notation: n evaluated genomes in the order of their evaluation.

Each candidate kind learns from one half of the genomes (every second one) and predicts the other
half, and the reverse. Its score is Spearman's correlation of predictions and losses over the newer
n / 2 genomes, which were bred by the search like the candidates to come. The Gaussian process,
the best kind overall, learns from all n unless another kind is clearly ahead: over tens of
genomes, small leads are chance.

Holding back the last generation instead would mislead. The genomes that a surrogate chose for
evaluation have similar predictions, so its correlation over them is low, however well it ranks
all candidates.

Source: Jin 2011 (choosing and managing surrogates in evolutionary computation).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from clso.genome import Genome, GenomeSpace
from search.screening import rank_correlation
from search.surrogates.gaussian_process import GaussianProcessSurrogate
from search.surrogates.gradient_boosting import GradientBoostingSurrogate
from search.surrogates.interface import FloatArray, Surrogate, SurrogateFactory, neighbour_means
from search.surrogates.ridge import RidgeSurrogate

__all__ = ["AutoSurrogate"]

# Random forest and MLP ranked lower than boosting, at about the same cost.
_CANDIDATES: tuple[SurrogateFactory, ...] = (
    GaussianProcessSurrogate,
    RidgeSurrogate,
    GradientBoostingSurrogate,
)
_CLEAR_LEAD = 0.1
_FEWEST_SCORED = 8  # a correlation over fewer genomes is mostly chance


class AutoSurrogate:
    """Predicts with the kind that ranks held-back genomes best.

    If the best score is below `min_correlation`, it steps aside: it predicts the mean and the
    standard deviation of all losses.
    """

    def __init__(self, space: GenomeSpace, seed: int, *, min_correlation: float = 0.2) -> None:
        self._space = space
        self._seed = seed
        self._min_correlation = min_correlation
        self._chosen: Surrogate | None = None
        self._all_losses = (0.0, 0.0)

    @property
    def kind(self) -> str | None:
        """The chosen kind; `None`: no score is high enough."""
        return None if self._chosen is None else self._chosen.kind

    def fit(self, genomes: Sequence[Genome], losses: Sequence[float]) -> None:
        """Learn from evaluated genomes; see `Surrogate.fit`."""
        self._all_losses = (float(np.mean(losses)), float(np.std(losses)))
        self._chosen = None
        scores = [self._score(factory, genomes, losses) for factory in _CANDIDATES]
        best = int(np.argmax(scores))
        if scores[best] < self._min_correlation:
            return
        if scores[0] >= max(self._min_correlation, scores[best] - _CLEAR_LEAD):
            best = 0
        self._chosen = _CANDIDATES[best](self._space, self._seed)
        self._chosen.fit(genomes, losses)

    def predict(self, genomes: Sequence[Genome]) -> tuple[FloatArray, FloatArray]:
        """Predict losses; see `Surrogate.predict`."""
        if self._chosen is not None:
            return self._chosen.predict(genomes)
        mean, std = self._all_losses
        return np.full(len(genomes), mean), np.full(len(genomes), std)

    def neighbour_means(self, genome: Genome) -> list[FloatArray] | None:
        """Predict one-gene changes; see `neighbour_means`."""
        return None if self._chosen is None else neighbour_means(self._chosen, genome)

    def _score(
        self, factory: SurrogateFactory, genomes: Sequence[Genome], losses: Sequence[float]
    ) -> float:
        """Return a kind's correlation over the newer genomes; minus infinity: it has none."""
        older = len(genomes) // 2
        if len(genomes) - older < _FEWEST_SCORED:
            return -math.inf
        predicted = np.empty(len(genomes))
        for held_back in (0, 1):
            surrogate = factory(self._space, self._seed)
            surrogate.fit(genomes[1 - held_back :: 2], losses[1 - held_back :: 2])
            predicted[held_back::2] = surrogate.predict(genomes[held_back::2])[0]
        correlation = rank_correlation(predicted[older:].tolist(), losses[older:])
        return -math.inf if correlation is None else correlation
