"""The interface of all surrogates.

Notation: n genomes of L genes. A surrogate predicts a mean and a spread for each loss; predictions
order candidates and are never results.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from clso.genome import Genome, GenomeSpace

__all__ = ["MIN_TRAINING", "FloatArray", "Surrogate", "SurrogateFactory", "neighbour_means"]

FloatArray = npt.NDArray[np.float64]

MIN_TRAINING: Final = 2
"""The fewest genomes that a surrogate learns from."""


class Surrogate(Protocol):
    """Predicts losses; equal seeds and training sets give equal predictions, bit for bit."""

    @property
    def kind(self) -> str | None:
        """The kind that predicts; `None`: the surrogate steps aside, its predictions are not used.

        Only `fit` may change it.
        """

    def fit(self, genomes: Sequence[Genome], losses: Sequence[float]) -> None:
        """Learn from genomes `(n, L)` and their finite losses `(n,)`, n >= `MIN_TRAINING`.

        The genomes are in the order of their evaluation.
        """

    def predict(self, genomes: Sequence[Genome]) -> tuple[FloatArray, FloatArray]:
        """Return the mean and the spread (standard deviation, >= 0) of each loss, `(n,)` each."""


def neighbour_means(surrogate: Surrogate, genome: Genome) -> list[FloatArray] | None:
    """Return the mean of each one-gene change of a genome, an array `(c_i,)` for each slot.

    Entry o of slot i's array is that of the genome with option o there. Where that repeats a pick
    of a set, the entry means nothing. `None`: the surrogate cannot rank all changes at once, as it
    has no method `neighbour_means`.
    """
    ranks = getattr(surrogate, "neighbour_means", None)
    return None if ranks is None else ranks(genome)


SurrogateFactory = Callable[[GenomeSpace, int], Surrogate]
"""Makes an untrained surrogate from a space and a seed."""
