"""Who stands in a generation before anything is evaluated: canonical, without repetitions."""

from __future__ import annotations

import math
from collections.abc import Container, Sequence
from itertools import islice

from clso.genome import Genome, GenomeSpace
from search.archive import Archive, Scored
from search.records import Individual, Origin
from search.toolbox import Operators, Parent

__all__ = ["breed", "cached", "draw"]

_TRIES_PER_PLACE = 20


def cached(scored: Scored, origin: Origin) -> Individual:
    """Return an individual that needs no evaluation, since its genome had one."""
    return Individual(
        scored.genome,
        scored.canonical,
        origin,
        status="cached",
        evaluated_loss=scored.loss,
        fidelity=1.0,
    )


def draw(
    space: GenomeSpace, operators: Operators, count: int, *, start: Sequence[Genome] = ()
) -> list[Individual]:
    """Return `start`, then genomes drawn uniformly, distinct, up to `count` of them.

    There are fewer where the space is small.
    """
    drawn: dict[Genome, Individual] = {}
    for genome in start:
        canonical = space.canonical(genome)
        drawn.setdefault(canonical, Individual(genome, canonical, "init"))
    if len(drawn) >= count:
        return list(drawn.values())
    for _ in range(_TRIES_PER_PLACE * count):
        genome = operators.random_genome()
        canonical = space.canonical(genome)
        drawn.setdefault(canonical, Individual(genome, canonical, "init"))
        if len(drawn) == count:
            break
    return list(drawn.values())


def breed(
    space: GenomeSpace,
    operators: Operators,
    parents: Sequence[Parent],
    archive: Archive,
    *,
    places: int,
    factor: float,
    present: Container[Genome],
) -> list[Individual]:
    """Return children in the order of their birth, no two with one canonical form.

    A child that was evaluated before takes a place as `cached`; every place left gets `factor`
    unknown children (status `None`), for the surrogate to choose from. A child that stands
    among them already, is in `present`, or failed or was screened out before is dropped and
    another bred; after 20 tries per child the rest are drawn uniformly, and after as many again
    stay missing.

    Args:
        space: canonicalises.
        operators: breed and draw.
        parents: who may breed; none: all are drawn.
        archive: what was evaluated before.
        places: free places of the generation.
        factor: unknown children per place, at least 1.
        present: canonical forms that have a place already.
    """
    children: dict[Genome, Individual] = {}
    n_cached = 0

    def missing() -> bool:
        return len(children) - n_cached < math.ceil(factor * (places - n_cached))

    def consider(genome: Genome, origin: Origin) -> None:
        nonlocal n_cached
        canonical = space.canonical(genome)
        if canonical in present or canonical in children:
            return
        scored = archive.get(canonical)
        if not archive.knows(canonical):
            children[canonical] = Individual(genome, canonical, origin)
        elif scored is not None and scored.loss is not None and len(children) < places:
            children[canonical] = cached(scored, origin)
            n_cached += 1

    tries = _TRIES_PER_PLACE * math.ceil(factor * places)
    if parents:
        for child in islice(operators.offspring(parents), tries):
            consider(child.genome, child.origin)
            if not missing():
                break
    for _ in range(tries):
        if not missing():
            break
        consider(operators.random_genome(), "random")
    return list(children.values())
