r"""Times until a target is reached; some are censored, that is, known only to be longer.

Notation: n searches. A search that ends without reaching the target is censored at its end. The
share of searches that have not reached the target is Kaplan and Meier's estimate

.. math:: S(t) = \prod_{t_i \le t} (1 - d_i / n_i)

over the times t_i at which d_i of n_i searches reach it; the median time is the first t with
S(t) <= 1/2, and the restricted mean is the area under S up to a budget.

Sources: Kaplan and Meier 1958; Hoos and Stuetzle 2004, Stochastic Local Search, chapter 4 (run-time
distributions).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from clso.statistics.paired import FloatArray

if TYPE_CHECKING:
    from scipy import stats

__all__ = ["Times"]

_EPSILON: Final = 1e-9  # products of shares such as 9/10 x 8/9 miss 1/2 by rounding


@dataclass(frozen=True)
class Times:
    """Evaluations or joules, `(n,)`, until each search `reached` the target or ended."""

    spent: npt.NDArray[np.int64] | FloatArray
    reached: npt.NDArray[np.bool_]

    def censored(self) -> stats.CensoredData:
        """Return the times for `scipy.stats`."""
        from scipy import stats  # takes half a second, which `clso ls` need not

        return stats.CensoredData(
            uncensored=self.spent[self.reached], right=self.spent[~self.reached]
        )

    def survival(self) -> tuple[FloatArray, FloatArray]:
        """Return ascending times and S from each time on; before the first time S is 1."""
        from scipy import stats  # takes half a second, which `clso ls` need not

        estimate = stats.ecdf(self.censored()).sf
        return estimate.quantiles, estimate.probabilities

    def medians(self, counts: npt.NDArray[np.int64]) -> FloatArray:
        """Return the median times of many samples, infinite where fewer than half arrive.

        `counts` says how often each search is in each sample, `(n_samples, n)`.
        """
        events = np.unique(self.spent[self.reached])
        if not len(events):
            return np.full(len(counts), math.inf)
        at_risk = counts @ (self.spent[:, None] >= events)  # (n_samples, n_events)
        arrived = counts @ ((self.spent[:, None] == events) & self.reached[:, None])
        without = np.cumprod(1 - arrived / np.maximum(at_risk, 1), axis=1)
        halved = without <= 0.5 + _EPSILON
        return np.where(halved.any(axis=1), events[halved.argmax(axis=1)], math.inf)

    def restricted_mean(self, budget: int) -> float:
        """Return the area under S up to a budget."""
        times, without = self.survival()
        edges = np.minimum([0, *times, budget], budget)
        return float((np.diff(edges) * [1.0, *without]).sum())

    def log_rank(self, other: Times) -> float | None:
        """Return the p of the log-rank test; `None` if no search of either reaches the target."""
        if not self.reached.any() and not other.reached.any():
            return None
        from scipy import stats  # takes half a second, which `clso ls` need not

        return float(stats.logrank(self.censored(), other.censored()).pvalue)
