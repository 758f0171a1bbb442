"""A random forest over genomes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.ensemble import RandomForestRegressor

from clso.genome import Genome, GenomeSpace
from search.surrogates.encoding import MultiHot
from search.surrogates.interface import FloatArray

__all__ = ["RandomForestSurrogate"]


class RandomForestSurrogate:
    """Regression trees on one-hot genes; the spread is the standard deviation over the trees.

    The seed decides the bootstrap and the features that a tree sees.
    """

    kind = "random_forest"

    def __init__(self, space: GenomeSpace, seed: int) -> None:
        self._encode = MultiHot(space)
        self._forest: Any = RandomForestRegressor(
            n_estimators=32, max_features=1 / 3, random_state=seed, n_jobs=1
        )

    def fit(self, genomes: Sequence[Genome], losses: Sequence[float]) -> None:
        """Learn from evaluated genomes; see `Surrogate.fit`."""
        self._forest.fit(self._encode(genomes), np.asarray(losses, dtype=np.float64))

    def predict(self, genomes: Sequence[Genome]) -> tuple[FloatArray, FloatArray]:
        """Predict losses; see `Surrogate.predict`."""
        if not genomes:
            return np.empty(0), np.empty(0)
        encoded = self._encode(genomes)
        losses = np.stack([tree.predict(encoded) for tree in self._forest.estimators_])
        return losses.mean(axis=0), losses.std(axis=0)
