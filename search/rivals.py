"""Simpler searches to hold the genetic algorithm against, at equal numbers of evaluations.

Each asks a problem for no canonical form twice, depends on its seed alone, and yields its
standing after every evaluation.

Source: Duh and Kirchhoff 2004 (the protocol; there, the searches are for backoff graphs).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import numpy as np

from clso.errors import GenomeError
from clso.genome import Genome
from clso.problem import Problem
from search.toolbox import Operators
from search.watched import Standing, WatchedProblem

__all__ = ["greedy_forward", "random_search"]

_BATCH = 32  # genomes handed to a problem at once, for its workers
_DRAWS_PER_GENOME = 20


def random_search(problem: Problem, *, seed: int, limit: int | None = None) -> Iterator[Standing]:
    """Evaluate distinct genomes, drawn as the genetic algorithm draws its first population.

    Args:
        problem: what a genome costs.
        seed: of the draws.
        limit: evaluations at most; `None`: until 20 draws in a row per genome bring nothing new.
    """
    watched = WatchedProblem(problem)
    space = problem.space
    operators = Operators(
        space.cardinalities,
        crossover="uniform",
        crossover_rate=0.0,
        mutation_rate=0.0,
        tournament_size=1,
        seed=seed,
        exchangeable=space.exchangeable,
    )
    while limit is None or len(watched.archive) < limit:
        drawn: dict[Genome, Genome] = {}
        for _ in range(_DRAWS_PER_GENOME * _BATCH):
            genome = operators.random_genome()
            canonical = space.canonical(genome)
            if canonical not in watched.archive:
                drawn.setdefault(canonical, genome)
            if len(drawn) == _BATCH:
                break
        if not drawn:
            return
        yield from _evaluated(watched, drawn.values(), limit)


def greedy_forward(problem: Problem, *, seed: int, limit: int | None = None) -> Iterator[Standing]:
    """Pick, one slot after the other, what lowers the loss most, until nothing does.

    It begins with no pick and option 0 of every other slot. A round tries every option in the
    next slot of the set, keeps the best, then every option of each other slot in turn, and keeps
    the best of those too. Each genome tried is an evaluation. Nothing is ever taken back.

    Args:
        problem: what a genome costs; some of its slots must pick a set.
        seed: of the order in which a round's candidates are tried, which decides between equals
            and what is best in the middle of a round.
        limit: evaluations at most; `None`: until it ends by itself.

    Raises:
        GenomeError: no slots of the problem pick a set.
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
            new = [raw for known, raw in candidates.items() if known not in watched.archive]
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
