"""Small steps from the incumbent: genomes that differ from it in one gene."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from clso.genome import Genome, GenomeSpace

__all__ = ["Neighbour", "neighbours", "propose"]


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


def propose(
    count: int,
    candidates: int,
    predicted: npt.NDArray[np.float64] | None,
    rng: np.random.Generator,
) -> list[int]:
    """Return up to `count` indices of neighbours to evaluate, ascending.

    Args:
        count: how many to try.
        candidates: how many neighbours there are.
        predicted: their predicted losses, `(n,)`; the lowest are taken. `None`: drawn uniformly.
        rng: draws when there is no prediction.
    """
    count = min(count, candidates)
    if predicted is None:
        chosen = rng.choice(candidates, size=count, replace=False)
    else:
        chosen = np.argsort(predicted, kind="stable")[:count]
    return sorted(int(index) for index in chosen)
