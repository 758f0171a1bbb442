"""What every surrogate can do.

Notation: n genomes of L genes. A surrogate's mean and spread are guesses: they order candidates
and are never results.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from clso.genome import Genome, GenomeSpace

__all__ = ["FloatArray", "Surrogate", "SurrogateFactory"]

FloatArray = npt.NDArray[np.float64]


class Surrogate(Protocol):
    """Guesses losses; equal seeds and equal training sets give equal guesses, bit for bit."""

    @property
    def kind(self) -> str | None:
        """What kind its guesses are of; `None`: it steps aside, and nobody should go by them.

        A surrogate that never steps aside has the same kind all its life; one that does decides
        so in `fit`.
        """

    def fit(self, genomes: Sequence[Genome], losses: Sequence[float]) -> None:
        """Learn from evaluated genomes `(n, L)` and their finite losses `(n,)`, n >= 2.

        They come in the order of their evaluation.
        """

    def predict(self, genomes: Sequence[Genome]) -> tuple[FloatArray, FloatArray]:
        """Return the mean and the spread (standard deviation, >= 0) of each loss, `(n,)` each."""


SurrogateFactory = Callable[[GenomeSpace, int], Surrogate]
"""Makes an untrained surrogate for a space from a seed."""
