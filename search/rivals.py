"""Simpler searches, to compare with the genetic algorithm at equal numbers of evaluations.

Each search evaluates no canonical form twice, depends on its seed alone, and yields its standing
after every evaluation.

Sources: Duh and Kirchhoff 2004 (the protocol, for searches of backoff graphs); Wen et al. 2020
(Neural predictor for neural architecture search: `predicted_best`).
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice

import numpy as np

from clso.errors import ConfigError, GenomeError
from clso.genome import Genome, GenomeSpace
from clso.problem import Problem
from search.archive import Archive
from search.breeding import draw
from search.own_work import OwnWork
from search.settings import SurrogateSettings
from search.surrogates import SurrogateFactory, surrogate_factory
from search.surrogates.interface import MIN_TRAINING
from search.toolbox import Operators
from search.watched import Standing, WatchedProblem

__all__ = [
    "N_DRAWN",
    "coordinate_descent",
    "greedy_forward",
    "predicted_best",
    "predictor",
    "random_search",
]

N_DRAWN = 20_000
"""Genomes drawn by `predicted_best`."""

_TRIES = 20  # draws of a genome that was not evaluated
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


def predicted_best(
    problem: Problem,
    surrogate: SurrogateSettings,
    *,
    seed: int,
    limit: int,
    start: Sequence[Genome] = (),
    work: OwnWork | None = None,
) -> Generator[Standing, None, None]:
    """Evaluate genomes drawn at random, then those that a surrogate predicts to be best.

    Of 20,000 genomes drawn uniformly, the first that are distinct get half of the evaluations. The
    surrogate learns from them once. The other half are the lowest predicted means of the remaining
    genomes, the lowest first. Where nothing can be predicted, they come as they were drawn.

    Args:
        surrogate: its kind, and what it sees; the rest is the genetic algorithm's.
        seed: of the draws, and of the surrogate.
        limit: evaluations at most; fewer where the draws have fewer distinct genomes.
        start: genomes to evaluate first, as a part of the first half.
        work: notes the costs of drawing, fitting and predicting, and counts predictions.

    Raises:
        ConfigError: see `predictor`.
    """
    factory = predictor(surrogate)
    work = OwnWork() if work is None else work
    watched, space = WatchedProblem(problem), problem.space
    with work.after(0):
        drawn = _uniform(space, seed, start)
    first, others = drawn[: limit // 2], drawn[limit // 2 :]
    yield from _evaluated(watched, first, limit)
    if not surrogate.features:
        space = replace(space, describe=None)
    with work.after(len(watched.archive)):
        others = _by_prediction(factory, space, seed, watched.archive, others, work)
    yield from _evaluated(watched, others, limit)


def predictor(surrogate: SurrogateSettings) -> SurrogateFactory:
    """Return what makes the surrogate of `predicted_best`.

    Raises:
        ConfigError: there is no surrogate, or its kind is unknown.
    """
    factory = surrogate_factory(surrogate)
    if factory is None:
        raise ConfigError(
            "the method predicted_best needs a surrogate, and surrogate.kind is none",
            remedy="set surrogate.kind, for example to gaussian_process",
        )
    return factory


def _uniform(space: GenomeSpace, seed: int, start: Sequence[Genome]) -> list[Genome]:
    """Return the canonical forms of `start` and of genomes drawn uniformly, each once."""
    rng = np.random.default_rng(seed)
    rows = rng.integers(space.cardinalities, size=(N_DRAWN, len(space))).tolist()
    first = (space.canonical(genome) for genome in start)
    # every drawn gene is within its range
    return list(dict.fromkeys(chain(first, (space.canonicalize(tuple(row)) for row in rows))))


def _by_prediction(
    factory: SurrogateFactory,
    space: GenomeSpace,
    seed: int,
    archive: Archive,
    genomes: list[Genome],
    work: OwnWork,
) -> list[Genome]:
    """Return genomes by ascending predicted mean; unchanged where nothing can be predicted."""
    known, losses = archive.training_set()
    if len(known) < MIN_TRAINING or not genomes:
        return genomes
    surrogate = factory(space, seed)
    surrogate.fit(known, losses)
    if surrogate.kind is None:
        return genomes
    mean, _ = surrogate.predict(genomes)
    work.n_predictions += len(genomes)
    if not np.isfinite(mean).all():
        return genomes
    return [genomes[place] for place in np.argsort(mean, kind="stable").tolist()]


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
            candidates = [
                (*base[:slot], option, *base[slot + 1 :])
                for option in rng.permutation(space.slots[slot].cardinality).tolist()
            ]
            yield from _new(watched, candidates, limit)
        if watched.archive.incumbent_loss == before:
            return


def coordinate_descent(
    problem: Problem,
    *,
    seed: int,
    start: Sequence[Sequence[int]] = (),
    limit: int | None = None,
    passes: int | None = None,
) -> Iterator[Standing]:
    """Change one slot at a time to the option that lowers the loss most.

    A pass goes through all slots in random order. In each it tries every option and keeps the best.
    After a pass without a lower loss the search begins again, at a genome drawn at random.

    Args:
        seed: gives the orders and the drawn genomes.
        start: genomes to evaluate first; the first descent begins at the best of them.
        limit: evaluations at most; `None`: until 20 draws give no genome that was not evaluated.
        passes: of one descent alone, without another beginning; `None`: as many as it takes.
    """
    watched = WatchedProblem(problem)
    rng = np.random.default_rng(seed)
    begun = [tuple(genome) for genome in start]
    while True:
        begun = begun or _drawn(watched, rng)
        if not begun:
            return
        yield from _new(watched, begun, limit)
        known = [scored for genome in begun if (scored := _loss(watched, genome)) is not None]
        if known:
            yield from _descent(watched, min(known), rng, limit, passes)
        if passes is not None or (limit is not None and len(watched.archive) >= limit):
            return
        begun = []


def _descent(
    watched: WatchedProblem,
    start: tuple[float, Genome],
    rng: np.random.Generator,
    limit: int | None,
    passes: int | None,
) -> Iterator[Standing]:
    loss, genome = start
    done = 0
    while passes is None or done < passes:
        before, done = loss, done + 1
        for slot in rng.permutation(len(genome)).tolist():
            tried = [
                (*genome[:slot], option, *genome[slot + 1 :])
                for option in range(watched.space.slots[slot].cardinality)
            ]
            yield from _new(watched, tried, limit)
            seen = [scored for other in tried if (scored := _loss(watched, other)) is not None]
            loss, genome = min([*seen, (loss, genome)])
        if loss == before:
            return


def _drawn(watched: WatchedProblem, rng: np.random.Generator) -> list[Genome]:
    """Draw a genome that was not evaluated; none if some draws do not find one."""
    for _ in range(_TRIES):
        genome = tuple(int(rng.integers(slot.cardinality)) for slot in watched.space.slots)
        if watched.space.canonical(genome) not in watched.archive:
            return [genome]
    return []


def _loss(watched: WatchedProblem, genome: Genome) -> tuple[float, Genome] | None:
    scored = watched.archive.get(watched.space.canonical(genome))
    return None if scored is None or scored.loss is None else (scored.loss, genome)


def _new(
    watched: WatchedProblem, genomes: Iterable[Genome], limit: int | None
) -> Iterator[Standing]:
    """Evaluate those of the genomes that were not, each canonical form once."""
    forms = {watched.space.canonical(genome): genome for genome in genomes}
    new = [genome for form, genome in forms.items() if form not in watched.archive]
    return _evaluated(watched, new, limit)


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
