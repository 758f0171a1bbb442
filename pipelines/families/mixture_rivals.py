"""The mixture's own methods in `clso rivals`: EM on all functions at once.

Their cost is that of their columns and steps, in evaluations of genomes with all slots filled. The
method of the heaviest functions tries growing numbers of steps, since few steps leave the weights
near their start. The reference, all functions at once, has the steps of a final model.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from clso.mixture.evaluator import MixtureProblem
from search.watched import Standing, WatchedProblem

__all__ = ["AllAtOnce"]

_LONGER = tuple(2**power for power in range(7))  # EM on all functions, in steps of an evaluation


@dataclass(frozen=True)
class AllAtOnce:
    """Methods that fit weights of all functions at once.

    Attributes:
        searched: mixtures of K functions on the first half of validation.
        unlimited: mixtures of all functions on the first half, with the steps of a final model.
        steps: EM steps of an evaluation.
        final_steps: EM steps of a final model.
    """

    searched: MixtureProblem
    unlimited: MixtureProblem
    steps: int
    final_steps: int

    def take_all(self, watched: WatchedProblem, limit: int | None) -> Iterator[Standing]:
        """Fit the weights of all functions, in every bucketing, whatever the limit."""
        del watched, limit
        weighed = WatchedProblem(self.unlimited)
        weighed.evaluate(self.unlimited.all_functions())
        for standing in weighed.standings:
            cost = standing.evaluations * self.cost * self.final_steps / self.steps
            yield replace(standing, evaluations=math.ceil(cost))

    def take_heaviest(self, watched: WatchedProblem, limit: int | None) -> Iterator[Standing]:
        """Fit mixtures of the functions with the largest weights."""
        slots = len(watched.space.exchangeable)
        for longer in _LONGER:
            # shared weights only, which take half of the steps of an evaluation
            spent = math.ceil(self.cost * longer / 2)
            if limit is not None and spent >= limit:
                return
            picked = self.unlimited.heaviest(slots, steps=longer * self.steps)
            filled = (*picked, *([0] * (slots - len(picked))))
            genomes = [(*filled, bucketing) for bucketing in range(len(self.searched.bucketings))]
            begun = len(watched.standings)
            if watched.space.canonical(genomes[-1]) not in watched.archive:
                watched.evaluate(genomes)
            for standing in watched.standings[begun:]:
                yield replace(standing, evaluations=spent + standing.evaluations)

    @property
    def cost(self) -> float:
        """EM on all functions in evaluations of full genomes, at equal steps.

        Both take time in proportion to their columns, that of the uniform function included.
        """
        return (len(self.searched.names) + 1) / (len(self.searched.space.exchangeable) + 1)
