r"""The surrogate that picks the kind which ranks best what it was not shown, or steps aside.

Notation: n evaluated genomes in the order of their evaluation.

Each candidate kind learns twice from every other genome and guesses the ones between, so that
every genome is once held back. Its figure is Spearman's correlation of guesses and losses over
the newer half of the genomes: bred by the search, and better than most, as those are that it will
be asked about. The first candidate, the best on the whole, learns anew from all n, unless another
is clearly ahead: over some tens of genomes, small leads are chance.

The last generation held back instead would look like the next one too, but it misleads: whom a
surrogate chose for evaluation lies within a narrow range of its own guesses, so its figure there
is low however well it ranks all candidates, and lower than that of kinds that had no say.

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
from search.surrogates.interface import FloatArray, Surrogate, SurrogateFactory
from search.surrogates.ridge import RidgeSurrogate

__all__ = ["AutoSurrogate"]

# Forest and perceptron ranked lower than boosting, at about its cost.
_CANDIDATES: tuple[SurrogateFactory, ...] = (
    GaussianProcessSurrogate,
    RidgeSurrogate,
    GradientBoostingSurrogate,
)
_CLEAR_LEAD = 0.1
_FEWEST_JUDGED = 8  # a correlation over fewer is as good as drawn


class AutoSurrogate:
    """Guesses as the kind that ranked held-back evaluations best, if that one ranked well enough.

    Aside it guesses of every genome the mean of all losses, with their standard deviation.

    Args:
        space: the genomes to learn from.
        seed: of whichever kind is taken.
        min_correlation: figure below which it steps aside.
    """

    def __init__(self, space: GenomeSpace, seed: int, *, min_correlation: float = 0.2) -> None:
        self._space = space
        self._seed = seed
        self._min_correlation = min_correlation
        self._chosen: Surrogate | None = None
        self._known = (0.0, 0.0)

    @property
    def kind(self) -> str | None:
        """The kind that was taken; `None`: none ranks well enough."""
        return None if self._chosen is None else self._chosen.kind

    def fit(self, genomes: Sequence[Genome], losses: Sequence[float]) -> None:
        """Learn from evaluated genomes; see `Surrogate.fit`."""
        self._known = (float(np.mean(losses)), float(np.std(losses)))
        self._chosen = None
        figures = [self._figure(make, genomes, losses) for make in _CANDIDATES]
        best = int(np.argmax(figures))
        if figures[best] < self._min_correlation:
            return
        if figures[0] >= max(self._min_correlation, figures[best] - _CLEAR_LEAD):
            best = 0
        self._chosen = _CANDIDATES[best](self._space, self._seed)
        self._chosen.fit(genomes, losses)

    def predict(self, genomes: Sequence[Genome]) -> tuple[FloatArray, FloatArray]:
        """Guess losses; see `Surrogate.predict`."""
        if self._chosen is not None:
            return self._chosen.predict(genomes)
        mean, std = self._known
        return np.full(len(genomes), mean), np.full(len(genomes), std)

    def _figure(
        self, make: SurrogateFactory, genomes: Sequence[Genome], losses: Sequence[float]
    ) -> float:
        """Return a kind's correlation over the newer half; minus infinity: it has none."""
        older = len(genomes) // 2
        if len(genomes) - older < _FEWEST_JUDGED:
            return -math.inf
        guesses = np.empty(len(genomes))
        for held_back in (0, 1):
            surrogate = make(self._space, self._seed)
            surrogate.fit(genomes[1 - held_back :: 2], losses[1 - held_back :: 2])
            guesses[held_back::2] = surrogate.predict(genomes[held_back::2])[0]
        correlation = rank_correlation(guesses[older:].tolist(), losses[older:])
        return -math.inf if correlation is None else correlation
