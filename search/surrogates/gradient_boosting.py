r"""Gradient boosting over genomes, as a committee whose members are checked on what they left out.

Notation: n genomes with losses y_i; fold f(i) of M; y_m(g) the guess of the member that learned
from all folds but the m-th.

.. math::
    y(g) = \frac{1}{M} \sum_m y_m(g), \qquad
    s^2(g) = \frac{1}{M} \sum_m (y_m(g) - y(g))^2 + \frac{1}{n} \sum_i (y_i - y_{f(i)}(g_i))^2

The members' disagreement alone is too small a spread, as they share most of their genomes; the
error on the genomes that they left out is of the right size, but the same everywhere.

Source: Friedman 2002 (stochastic gradient boosting); Parmanto, Munro and Doyle 1996
(cross-validation committees).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from clso.genome import Genome, GenomeSpace
from search.encoding import MultiHot
from search.surrogates.interface import FloatArray

__all__ = ["GradientBoostingSurrogate"]

_FEWEST = 2  # genomes that a member can learn from


class GradientBoostingSurrogate:
    """Boosted regression trees on one-hot genes, in a committee.

    Args:
        space: the genomes to learn from.
        seed: of the folds, and of the genomes and genes that a tree sees.
        members: each leaves one fold out; at least 2.
        trees: per member.
        depth: of a tree: as many options can matter jointly.
        learning_rate: share of a tree's correction that is taken.
    """

    kind = "gradient_boosting"

    def __init__(
        self,
        space: GenomeSpace,
        seed: int,
        *,
        members: int = 4,
        trees: int = 25,
        depth: int = 5,
        learning_rate: float = 0.2,
    ) -> None:
        # scikit-learn takes about a second to import, and searches without trees need none
        from sklearn.ensemble import GradientBoostingRegressor

        self._encode = MultiHot(space)
        self._rng = np.random.default_rng(seed)
        self._members: list[Any] = [
            GradientBoostingRegressor(
                n_estimators=trees,
                max_depth=depth,
                learning_rate=learning_rate,
                subsample=0.7,
                max_features=0.1,
                random_state=int(member_seed),
            )
            for member_seed in self._rng.integers(2**31, size=members)
        ]
        self._error = 0.0

    def fit(self, genomes: Sequence[Genome], losses: Sequence[float]) -> None:
        """Learn from evaluated genomes; see `Surrogate.fit`."""
        rows, observed = self._encode(genomes), np.asarray(losses, dtype=np.float64)
        fold = self._rng.permutation(len(observed)) % len(self._members)
        if len(observed) == _FEWEST:
            fold[:] = len(self._members)  # nobody leaves any out
        squares = np.zeros(len(observed))
        for number, member in enumerate(self._members):
            left_out = fold == number
            member.fit(rows[~left_out], observed[~left_out])
            if left_out.any():  # not so with fewer genomes than members
                guessed = member.predict(rows[left_out])
                squares[left_out] = np.square(observed[left_out] - guessed)
        self._error = float(squares.mean())

    def predict(self, genomes: Sequence[Genome]) -> tuple[FloatArray, FloatArray]:
        """Guess losses; see `Surrogate.predict`."""
        if not genomes:
            return np.empty(0), np.empty(0)
        rows = self._encode(genomes)
        losses = np.stack([member.predict(rows) for member in self._members])  # (M, n)
        return losses.mean(axis=0), np.sqrt(losses.var(axis=0) + self._error)
