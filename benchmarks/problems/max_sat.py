"""Weighted maximum satisfiability: values of 60 variables that satisfy clauses of great weight.

Instances are drawn, as no published file of one is shipped: each of 600 clauses has three different
variables, each negated with probability 1/2, and a weight drawn from 1 to 10. The published
instances (the MaxSAT competition of 2018) also have 28 to 60 variables and weights, but more
structure. The loss is the share of the weight that is not satisfied; a random genome misses 1/8.

Source: Oh et al. 2019 (COMBO), section 4.3, for the task; Mitchell, Selman and Levesque 1992 for
the random clauses.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["MaxSat"]

_LITERALS = 3
_HEAVIEST = 10


class MaxSat:
    """The share of the clauses' weight that values 0 or 1 of the variables do not satisfy."""

    def __init__(self, instance: int = 0, *, variables: int = 60, clauses: int = 600) -> None:
        rng = np.random.default_rng(instance)
        self.cardinalities = (2,) * variables
        places = rng.random((clauses, variables)).argsort(axis=1)
        self._variables = places[:, :_LITERALS]
        self._wanted = rng.integers(2, size=(clauses, _LITERALS))
        self._weights = rng.integers(1, _HEAVIEST + 1, size=clauses)

    def __call__(self, genome: Sequence[int]) -> float:
        """Return the unsatisfied share of the weight, in [0, 1]."""
        values = np.asarray(genome)[self._variables]
        unsatisfied = (values != self._wanted).all(axis=1)
        return float(self._weights[unsatisfied].sum() / self._weights.sum())
