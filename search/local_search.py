"""Small steps from the incumbent: genomes that differ from it in one gene."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

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
    space: GenomeSpace, genome: Genome, known: Callable[[Genome], bool]
) -> list[Neighbour]:
    """Return every one-gene change of a genome that is not known, one per canonical form.

    They come in the order of slot and option; `known` is asked with canonical forms.
    """
    seen = {space.canonical(genome)}
    first = min(space.exchangeable, default=0)
    shared = set(space.exchangeable)
    found = []
    for position, cardinality in enumerate(space.cardinalities):
        for option in range(cardinality):
            changed = (*genome[:position], option, *genome[position + 1 :])
            canonical = space.canonicalize(changed)  # in range as it is
            if canonical not in seen and not known(canonical):
                seen.add(canonical)
                slot = first if position in shared else position
                found.append(Neighbour(changed, canonical, (slot, option)))
    return found
