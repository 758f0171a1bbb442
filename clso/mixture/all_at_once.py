"""What a search of picks is held against: all functions at once, and the heaviest of them.

The heaviest K are those with the largest shared weights in the mixture of all, to be fitted again
by themselves. They cost little to find, but of functions that say the same it takes several.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from clso.genome import Genome
from clso.mixture.evaluator import MixtureProblem, Scored
from clso.mixture.history import History

__all__ = ["all_functions", "cost_of_all", "halves", "heaviest"]


def halves(split: Scored) -> tuple[Scored, Scored]:
    """Divide a split into its first and its second half of whole blocks."""
    n_blocks = len(split.history.match)
    return _part(split, 0, n_blocks // 2), _part(split, n_blocks // 2, n_blocks)


def all_functions(problem: MixtureProblem) -> tuple[Genome, ...]:
    """Return the genomes that pick every function, one per bucketing.

    Args:
        problem: with a slot for each function.
    """
    every = range(1, len(problem.names) + 1)
    return tuple((*every, number) for number in range(len(problem.bucketings)))


def cost_of_all(n_functions: int, slots: int) -> float:
    """Return what EM on all functions costs, in evaluations of genomes with all slots filled.

    Both take time in proportion to their columns, that of the uniform function included.
    """
    return (n_functions + 1) / (slots + 1)


def heaviest(problem: MixtureProblem, count: int, *, steps: int | None = None) -> tuple[int, ...]:
    """Return the functions with the largest weights among all, ascending, from 1.

    Args:
        problem: with a slot for each function.
        count: how many.
        steps: EM steps; `None`: as many as an evaluation takes.
    """
    shared = problem.weights(all_functions(problem)[0], steps=steps).shared[1:]
    chosen = np.argsort(-shared, kind="stable")[:count] + 1
    return tuple(sorted(chosen.tolist()))


def _part(split: Scored, start: int, stop: int) -> Scored:
    history, length = split.history, split.history.match.shape[1]
    values = split.columns.values[:, start * length : stop * length]
    seen = tuple(counts[start:stop] for counts in history.seen)
    return Scored(replace(split.columns, values=values), History(seen, history.match[start:stop]))
