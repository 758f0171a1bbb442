"""The genomes of mixtures: K slots that each pick a basis function or none, and a bucketing.

Notation: N functions besides the uniform one, which is always in. A slot's gene is 0 for none, i
for function i; neither order nor repetition of functions changes the model, so the canonical
form has the distinct functions in ascending order, then zeros.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt

from clso.genome import Genome, GenomeSpace, Slot

__all__ = ["BUCKETING_SLOT", "mixture_space", "picks"]

BUCKETING_SLOT = "bucketing"


def mixture_space(
    slots: int,
    n_functions: int,
    n_bucketings: int,
    describe: Callable[[], npt.NDArray[np.float64]] | None = None,
) -> GenomeSpace:
    """Return the space of mixtures of up to `slots` functions.

    Args:
        slots: K.
        n_functions: N.
        n_bucketings: options of the last gene.
        describe: returns what is known of the functions, `(N, d)`; `None`: nothing.
    """
    genes = [Slot(f"function{number}", n_functions + 1) for number in range(slots)]
    return GenomeSpace(
        (*genes, Slot(BUCKETING_SLOT, n_bucketings)),
        canonicalize=_canonical,
        exchangeable=tuple(range(slots)),
        describe=None if describe is None else partial(_with_none, describe),
    )


def _with_none(describe: Callable[[], npt.NDArray[np.float64]]) -> npt.NDArray[np.float64]:
    return np.pad(describe(), ((1, 0), (0, 0)))


def picks(genome: Genome) -> tuple[int, ...]:
    """Return the functions that a genome picks, distinct and ascending, from 1."""
    return tuple(sorted(set(genome[:-1]) - {0}))


def _canonical(genome: Genome) -> Genome:
    chosen = picks(genome)
    # with no function but the uniform one, all weights are 1 whatever the buckets
    bucketing = genome[-1] if chosen else 0
    return (*chosen, *([0] * (len(genome) - 1 - len(chosen))), bucketing)
