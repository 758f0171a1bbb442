"""Small steps from the incumbent: genomes that differ from it in one gene."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from clso.genome import Genome, GenomeSpace

__all__ = ["Neighbour", "neighbours"]


class Neighbour(NamedTuple):
    """A genome as stepped to, and the representative of what it means."""

    genome: Genome
    canonical: Genome


def neighbours(
    space: GenomeSpace, genome: Genome, known: Callable[[Genome], bool]
) -> list[Neighbour]:
    """Return every one-gene change of a genome that is not known, one per canonical form.

    They come in the order of slot and option; `known` is asked with canonical forms.
    """
    seen = {space.canonical(genome)}
    found = []
    for position, cardinality in enumerate(space.cardinalities):
        for option in range(cardinality):
            changed = (*genome[:position], option, *genome[position + 1 :])
            canonical = space.canonicalize(changed)  # in range as it is
            if canonical not in seen and not known(canonical):
                seen.add(canonical)
                found.append(Neighbour(changed, canonical))
    return found
