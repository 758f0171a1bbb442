r"""Gradient boosting over genomes: a committee whose members are checked on held-back folds.

Notation: n genomes with losses y_i, each in one of M folds f(i); y_m(g) the prediction of the
member that learned from all folds but the m-th.

.. math::
    y(g) = \frac{1}{M} \sum_m y_m(g), \qquad
    s^2(g) = \frac{1}{M} \sum_m (y_m(g) - y(g))^2 + \frac{1}{n} \sum_i (y_i - y_{f(i)}(g_i))^2

The spread of the members alone is too small, because they share most of their genomes. The error
on the held-back folds has the right size, but is the same for all genomes.

Source: Friedman 2002 (stochastic gradient boosting); Parmanto, Munro and Doyle 1996
(cross-validation committees).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.ensemble import GradientBoostingRegressor

from clso.genome import Genome, GenomeSpace
from search.surrogates.encoding import MultiHot
from search.surrogates.interface import FloatArray

__all__ = ["GradientBoostingSurrogate"]

_FEWEST = 2  # genomes that a member can learn from
_MEMBERS = 4
_DEPTH = 5  # so many options can interact


class GradientBoostingSurrogate:
    """Boosted regression trees on one-hot genes, in a committee; each member has `trees` of them.

    The seed decides the folds, and the genomes and genes that a tree sees.
    """

    kind = "gradient_boosting"

    def __init__(self, space: GenomeSpace, seed: int, *, trees: int = 25) -> None:
        self._encode = MultiHot(space)
        self._rng = np.random.default_rng(seed)
        self._members: list[Any] = [
            GradientBoostingRegressor(
                n_estimators=trees,
                max_depth=_DEPTH,
                learning_rate=0.2,
                subsample=0.7,
                max_features=0.1,
                random_state=int(member_seed),
            )
            for member_seed in self._rng.integers(2**31, size=_MEMBERS)
        ]
        self._error = 0.0

    def fit(self, genomes: Sequence[Genome], losses: Sequence[float]) -> None:
        """Learn from evaluated genomes; see `Surrogate.fit`."""
        rows, observed = self._encode(genomes), np.asarray(losses, dtype=np.float64)
        fold = self._rng.permutation(len(observed)) % len(self._members)
        if len(observed) == _FEWEST:
            fold[:] = len(self._members)  # no member holds any back
        squares = np.zeros(len(observed))
        for number, member in enumerate(self._members):
            held_back = fold == number
            member.fit(rows[~held_back], observed[~held_back])
            if held_back.any():  # with fewer genomes than members, some folds are empty
                predicted = member.predict(rows[held_back])
                squares[held_back] = np.square(observed[held_back] - predicted)
        self._error = float(squares.mean())

    def predict(self, genomes: Sequence[Genome]) -> tuple[FloatArray, FloatArray]:
        """Predict losses; see `Surrogate.predict`."""
        if not genomes:
            return np.empty(0), np.empty(0)
        rows = self._encode(genomes)
        losses = np.stack([member.predict(rows) for member in self._members])  # (M, n)
        return losses.mean(axis=0), np.sqrt(losses.var(axis=0) + self._error)
