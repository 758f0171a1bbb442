"""Small steps from the incumbent: genomes that differ from it in one gene."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from clso.genome import Genome, GenomeSpace

__all__ = ["Neighbour", "neighbours"]


class Neighbour(NamedTuple):
    """A step to another genome.

    Attributes:
        genome: as stepped to.
        canonical: the representative of what it means.
        brings: the slot that was changed and the option put in. Of slots that together pick a set
            the first stands for all, and option 0 there means that a pick was dropped.
    """

    genome: Genome
    canonical: Genome
    brings: tuple[int, int]


def neighbours(
    space: GenomeSpace,
    genome: Genome,
    known: Callable[[Genome], bool],
    *,
    most: int | None,
    rng: np.random.Generator,
) -> list[Neighbour]:
    """Return one-gene changes of a genome that are not known, one per canonical form.

    Args:
        space: of the genome.
        genome: the one that is changed.
        known: asked with canonical forms.
        most: changes at most; `None`: all, in the order of slot and option.
        rng: draws which, and their order, where not all are wanted.
    """
    seen = {space.canonical(genome)}
    repeated = _repeating(space, genome)
    picked = {genome[slot] for slot in space.exchangeable} - {0}
    found: list[Neighbour] = []
    ends = np.cumsum(space.cardinalities)
    numbers = np.arange(ends[-1]) if most is None else rng.permutation(ends[-1])
    positions = np.searchsorted(ends, numbers, side="right")
    options = numbers - (ends - space.cardinalities)[positions]
    shared = set(space.exchangeable)
    for position, option in zip(positions.tolist(), options.tolist(), strict=True):
        if len(found) == most:
            break
        in_set = position in shared
        # a set's other ways to the same genome would make it likelier to be drawn
        if in_set and (position in repeated or option in picked):
            continue
        changed = (*genome[:position], option, *genome[position + 1 :])
        canonical = space.canonicalize(changed)  # in range as it is
        if canonical not in seen and not known(canonical):
            seen.add(canonical)
            slot = space.exchangeable[0] if in_set else position
            found.append(Neighbour(changed, canonical, (slot, option)))
    return found


def _repeating(space: GenomeSpace, genome: Genome) -> set[int]:
    """Return a set's slots that have what an earlier one has, none included."""
    earlier: set[int] = set()
    found = set()
    for slot in space.exchangeable:
        if genome[slot] in earlier:
            found.add(slot)
        earlier.add(genome[slot])
    return found
