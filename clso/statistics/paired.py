"""Paired comparisons over seeds: mean differences, tests, and the correction for many tests.

Notation: d_1, ..., d_n are differences of two losses with the same seed. Intervals are Student's t
over the differences: they say what other seeds would change, not other text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

__all__ = ["CONFIDENCE", "Difference", "FloatArray", "holm", "signed_rank"]

FloatArray = npt.NDArray[np.float64]

CONFIDENCE: Final = 0.95
# with fewer differences p cannot be below 0.05, even if all have the same sign
_MIN_SIGNED_RANK = 6


@dataclass(frozen=True)
class Difference:
    """A mean difference over seeds, with its interval and the p of the paired t test.

    For fewer than two seeds, all but the mean are `None`.
    """

    mean: float
    low: float | None
    high: float | None
    p_value: float | None = None

    @classmethod
    def of(cls, values: FloatArray) -> Difference:
        """Return the mean of paired differences, `(n_seeds,)`, with its interval."""
        mean = float(values.mean())
        if len(values) < 2:
            return cls(mean, None, None)
        from scipy import stats  # takes half a second, which `clso ls` need not

        error = float(stats.sem(values))
        margin = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)) * error
        if error > 0:
            p_value = float(2 * stats.t.sf(abs(mean) / error, len(values) - 1))
        else:
            p_value = 1.0 if mean == 0 else 0.0
        return cls(mean, mean - margin, mean + margin, p_value)

    @property
    def ends(self) -> tuple[float, float]:
        """The ends of the interval as they are drawn: the mean where there is none."""
        return (
            self.mean if self.low is None else self.low,
            self.mean if self.high is None else self.high,
        )

    @property
    def sign(self) -> int:
        """-1 if the interval lies below zero, 1 if it lies above, 0 if neither is sure."""
        if self.low is None or self.high is None:
            return 0
        return int(self.low > 0) - int(self.high < 0)

    @staticmethod
    def tally(differences: Sequence[Difference]) -> tuple[int, int, int]:
        """Return how many intervals lie below zero, how many above it, and how many neither."""
        signs = [difference.sign for difference in differences]
        return signs.count(-1), signs.count(1), signs.count(0)


def signed_rank(values: FloatArray) -> float | None:
    """Return the p of Wilcoxon's signed-rank test; `None` for fewer than six differences.

    Source: Wilcoxon 1945; exact for as few as these, ties included.
    """
    if len(values) < _MIN_SIGNED_RANK:
        return None
    from scipy import stats  # takes half a second, which `clso ls` need not

    return float(stats.wilcoxon(values).pvalue) if values.any() else 1.0


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    r"""Adjust the p of m tests so that the chance of any false positive keeps its level.

    .. math:: \tilde p_{(i)} = \max_{j \le i} \min(1, (m - j + 1)\, p_{(j)})

    `None` stays `None` and does not count as a test.

    Source: Holm 1979, A simple sequentially rejective multiple test procedure.
    """
    order = sorted(
        (place for place, p in enumerate(p_values) if p is not None),
        key=lambda place: p_values[place] or 0.0,
    )
    adjusted: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * (p_values[place] or 0.0)))
        adjusted[place] = highest
    return adjusted
