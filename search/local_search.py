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
        brings: what it has that the genome before had not: a slot and its option, of all
            slots that together pick a set the first.
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
    first = min(space.exchangeable, default=0)
    shared = set(space.exchangeable)
    found: list[Neighbour] = []
    ends = np.cumsum(space.cardinalities)
    numbers = np.arange(ends[-1]) if most is None else rng.permutation(ends[-1])
    positions = np.searchsorted(ends, numbers, side="right")
    options = numbers - (ends - space.cardinalities)[positions]
    for position, option in zip(positions.tolist(), options.tolist(), strict=True):
        if len(found) == most:
            break
        changed = (*genome[:position], option, *genome[position + 1 :])
        canonical = space.canonicalize(changed)  # in range as it is
        if canonical not in seen and not known(canonical):
            seen.add(canonical)
            slot = first if position in shared else position
            found.append(Neighbour(changed, canonical, (slot, option)))
    return found
