"""Simpler searches, to compare with the genetic algorithm at equal numbers of evaluations.

Each search evaluates no canonical form twice, depends on its seed alone, and yields its standing
after every evaluation.

Source: Duh and Kirchhoff 2004 (the protocol, for searches of backoff graphs).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import numpy as np

from clso.errors import GenomeError
from clso.problem import Problem
from search.breeding import draw
from search.toolbox import Operators
from search.watched import Standing, WatchedProblem

__all__ = ["greedy_forward", "random_search"]

_BATCH = 32  # genomes evaluated at once, by all workers of a problem


def random_search(problem: Problem, *, seed: int, limit: int | None = None) -> Iterator[Standing]:
    """Evaluate distinct genomes, drawn like the first population of the genetic algorithm.

    `limit` is the maximum number of them; `None`: until 20 draws per genome give nothing new.
    """
    watched = WatchedProblem(problem)
    space = problem.space
    operators = Operators(
        space,
        crossover="uniform",
        crossover_rate=0.0,
        mutation_rate=0.0,
        tournament_size=1,
        seed=seed,
    )
    while limit is None or len(watched.archive) < limit:
        drawn = draw(operators, _BATCH, present=watched.archive)
        if not drawn:
            return
        yield from _evaluated(watched, [individual.genome for individual in drawn], limit)


def greedy_forward(problem: Problem, *, seed: int, limit: int | None = None) -> Iterator[Standing]:
    """Fill one slot after the other with the option that lowers the loss most.

    The search begins with an empty set and option 0 of every other slot. A round tries every
    option in the next slot of the set and keeps the best. Then it does the same with each other
    slot in turn. Each genome tried is an evaluation. The search ends after a round without a lower
    loss. No pick is ever taken back.

    The seed gives the order of a round's candidates, which decides between equal losses. It also
    decides which candidates a `limit` of evaluations leaves out; `None`: no limit.

    Raises:
        GenomeError: the problem has no exchangeable slots.
    """
    space = problem.space
    if not space.exchangeable:
        raise GenomeError(
            "greedy forward selection needs slots that pick a set, and the space has none"
        )
    watched = WatchedProblem(problem)
    rng = np.random.default_rng(seed)
    others = [slot for slot in range(len(space)) if slot not in space.exchangeable]
    yield from _evaluated(watched, [(0,) * len(space)], limit)
    for place in space.exchangeable:
        before = watched.archive.incumbent_loss
        for slot in (place, *others):
            incumbent = watched.archive.incumbent
            base = (0,) * len(space) if incumbent is None else incumbent.genome
            candidates = {
                space.canonical(changed): changed
                for option in rng.permutation(space.slots[slot].cardinality).tolist()
                if (changed := (*base[:slot], option, *base[slot + 1 :]))
            }
            new = [
                genome
                for canonical, genome in candidates.items()
                if canonical not in watched.archive
            ]
            yield from _evaluated(watched, new, limit)
        if watched.archive.incumbent_loss == before:
            return


def _evaluated(
    watched: WatchedProblem, genomes: Iterable[Sequence[int]], limit: int | None
) -> Iterator[Standing]:
    remaining = iter([tuple(genome) for genome in genomes])
    while True:
        left = _BATCH if limit is None else min(_BATCH, limit - len(watched.archive))
        batch = list(islice(remaining, left))
        if not batch:
            return
        begun = len(watched.standings)
        watched.evaluate(batch)
        yield from watched.standings[begun:]
