"""New individuals before evaluation: drawn, bred, or neighbours of the incumbent."""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Sequence
from itertools import chain, islice

import numpy as np
import numpy.typing as npt

from clso.genome import Genome, GenomeSpace
from search.archive import Archive
from search.generation import Individual
from search.toolbox import Child, Operators, Parent

__all__ = ["breed", "draw", "neighbours"]

_TRIES_PER_PLACE = 20


def draw(
    operators: Operators,
    count: int,
    *,
    start: Sequence[Genome] = (),
    present: Container[Genome] = (),
) -> list[Individual]:
    """Return `start`, then genomes drawn uniformly, up to `count` different canonical forms.

    Forms in `present` are left out. There are fewer if 20 draws for each do not find them.
    """
    drawn: dict[Genome, Individual] = {}
    random_genomes = (operators.random_genome() for _ in range(_TRIES_PER_PLACE * count))
    for genome in chain(start, random_genomes):
        canonical = operators.space.canonical(genome)
        if canonical not in present:
            drawn.setdefault(canonical, Individual(genome, canonical, "init"))
        if len(drawn) == count:
            break
    return list(drawn.values())


def breed(
    operators: Operators,
    parents: Sequence[Parent],
    archive: Archive,
    *,
    places: int,
    factor: float,
    present: Container[Genome],
) -> list[Individual]:
    """Return children in the order of their birth, no two with one canonical form.

    A child that was evaluated before takes one of the `places` as `cached`. For every place left
    there are `factor` >= 1 unknown children (status `None`), from which the surrogate chooses. A
    child is dropped and another one bred if it is among the children already, if its canonical form
    is `present` in the generation, or if it failed or was screened out before. After 20 tries per
    child, or without parents, children are drawn uniformly. After as many tries again, the missing
    children stay missing.
    """
    children: dict[Genome, Individual] = {}
    n_cached = 0
    tries = _TRIES_PER_PLACE * math.ceil(factor * places)
    bred = islice(operators.offspring(parents), tries) if parents else ()
    drawn = (Child(operators.random_genome(), "random") for _ in range(tries))
    for genome, origin in chain(bred, drawn):
        canonical = operators.space.canonicalize(genome)  # every gene is within its range
        if canonical not in present and canonical not in children:
            scored = archive.get(canonical)
            if not archive.knows(canonical):
                children[canonical] = Individual(genome, canonical, origin)
            elif scored is not None and scored.loss is not None and len(children) < places:
                children[canonical] = Individual.cached(scored, origin)
                n_cached += 1
        if len(children) - n_cached >= math.ceil(factor * (places - n_cached)):
            break
    return list(children.values())


def neighbours(
    space: GenomeSpace,
    genome: Genome,
    known: Callable[[Genome], bool],
    *,
    most: int | None = None,
    order: npt.NDArray[np.int64] | None = None,
) -> list[Individual]:
    """Return one-gene changes of a genome whose canonical forms are not `known`, one for each form.

    The changes of all slots have one numbering, by slot and option. `order` has the numbers in the
    order of the result; `None`: ascending. At most `most` are returned; `None`: all.
    """
    seen = {space.canonical(genome)}
    repeated = _repeating(space, genome)
    picked = {genome[slot] for slot in space.exchangeable} - {0}
    steps: list[Individual] = []
    # slot i has the numbers from ends[i - 1] to ends[i] - 1
    ends = np.cumsum(space.cardinalities)
    changes = np.arange(ends[-1]) if order is None else order
    slots = np.searchsorted(ends, changes, side="right")
    options = changes - (ends - space.cardinalities)[slots]
    shared = set(space.exchangeable)
    for slot, option in zip(slots.tolist(), options.tolist(), strict=True):
        if len(steps) == most:
            break
        in_set = slot in shared
        # several ways to write the same set would make that set more likely to be drawn
        if in_set and (slot in repeated or option in picked):
            continue
        changed = (*genome[:slot], option, *genome[slot + 1 :])
        canonical = space.canonicalize(changed)  # every gene is within its range
        if canonical not in seen and not known(canonical):
            seen.add(canonical)
            step = (space.exchangeable[0] if in_set else slot, option)
            steps.append(Individual(changed, canonical, "local_search", step=step))
    return steps


def _repeating(space: GenomeSpace, genome: Genome) -> set[int]:
    """Return the exchangeable slots with an option that an earlier one has, "none" included."""
    earlier: set[int] = set()
    repeating = set()
    for slot in space.exchangeable:
        if genome[slot] in earlier:
            repeating.add(slot)
        earlier.add(genome[slot])
    return repeating
