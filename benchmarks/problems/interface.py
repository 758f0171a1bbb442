"""What a discrete problem is, and the same problem with its options numbered otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

__all__ = ["DiscreteProblem", "Relabelled"]


class DiscreteProblem(Protocol):
    """A loss of genomes; equal genomes have equal losses, whatever was asked before."""

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """The number of options of each gene."""

    def __call__(self, genome: Sequence[int]) -> float:
        """Return the loss; lower is better."""


class Relabelled:
    """A problem whose options have other numbers, gene by gene.

    Numbers of options mean nothing in these problems, so a search should not depend on them.
    `labels[i][option]` is the new number of an option of gene i.
    """

    def __init__(self, problem: DiscreteProblem, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self._problem = problem
        self.labels = [rng.permutation(count) for count in problem.cardinalities]
        self._options = [np.argsort(labels) for labels in self.labels]

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """The number of options of each gene."""
        return self._problem.cardinalities

    def relabel(self, genome: Sequence[int]) -> tuple[int, ...]:
        """Return the genome here that means a genome of the problem itself."""
        return tuple(
            int(labels[option]) for labels, option in zip(self.labels, genome, strict=True)
        )

    def __call__(self, genome: Sequence[int]) -> float:
        """Return the loss of the genome that this one means."""
        return self._problem(
            [int(options[gene]) for options, gene in zip(self._options, genome, strict=True)]
        )
