"""Ridge regression over genomes: the effect of each option alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.linear_model import BayesianRidge

from clso.genome import Genome, GenomeSpace
from clso.threads import one_thread
from search.surrogates.encoding import MultiHot
from search.surrogates.interface import FloatArray

__all__ = ["RidgeSurrogate"]

_SHIFT = 1e-9


class RidgeSurrogate:
    """Linear regression on one-hot genes; the penalty has the highest evidence.

    The spread is the posterior's. Where options hardly interact, ridge regression learns from far
    fewer genomes than the other kinds. Nothing is random: the seed is not used.

    Source: MacKay 1992 (Bayesian interpolation).
    """

    kind = "ridge"

    def __init__(self, space: GenomeSpace, seed: int) -> None:
        self._encode = MultiHot(space)
        self._ridge: Any = BayesianRidge(max_iter=100)
        self._scale = 1.0

    def fit(self, genomes: Sequence[Genome], losses: Sequence[float]) -> None:
        """Learn from evaluated genomes; see `Surrogate.fit`."""
        observed = np.asarray(losses, dtype=np.float64)
        # the priors on the two variances assume losses of order 1
        self._scale = float(observed.std()) or 1.0
        rows = self._encode(genomes).astype(np.float64)
        with one_thread():
            try:
                self._ridge.fit(rows, observed / self._scale)
            except np.linalg.LinAlgError:
                # LAPACK's fast decomposition gives up on some rows whose singular values are zero
                # many times, as those of one-hot genes are; a shift of no account separates them
                shift = np.random.default_rng(0).normal(scale=_SHIFT, size=rows.shape)
                self._ridge.fit(rows + shift, observed / self._scale)

    def predict(self, genomes: Sequence[Genome]) -> tuple[FloatArray, FloatArray]:
        """Predict losses; see `Surrogate.predict`."""
        if not genomes:
            return np.empty(0), np.empty(0)
        encoded = self._encode(genomes).astype(np.float64)
        with one_thread():
            mean, std = self._ridge.predict(encoded, return_std=True)
        return mean * self._scale, std * self._scale
