"""Means over seeds, with Student's t intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

__all__ = ["CONFIDENCE", "Difference"]

FloatArray = npt.NDArray[np.float64]

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Difference:
    """A mean over seeds with its interval, whose ends are `None` for fewer than two seeds."""

    mean: float
    low: float | None
    high: float | None

    @classmethod
    def of(cls, values: FloatArray) -> Difference:
        """Sum up one value, or paired difference, per seed, `(n_seeds,)`."""
        mean = float(values.mean())
        if len(values) < 2:
            return cls(mean, None, None)
        margin = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1) * stats.sem(values))
        return cls(mean, mean - margin, mean + margin)
