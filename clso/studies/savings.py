r"""What a way to search saves: evaluations and joules until it has what the reference ends with.

The target is the median over seeds of the reference's loss at its budget. A search's time T is
the number of its evaluations at which its best loss is at the target; one that ends before is
censored there. The share of searches still without it is Kaplan and Meier's estimate

.. math:: S(t) = \prod_{t_i \le t} (1 - d_i / n_i)

over the times t_i at which d_i of n_i searches arrive; the median time is the first t with
S(t) <= 1/2, and the restricted mean is the area under S up to the budget. The ratio of two median
times has a percentile interval from resampled seeds, which keep a seed's searches together and
set the target anew: the target is a median too. No such target is below the lowest loss of the
reference, its floor, so a search that is there has nothing left to tell.

Joules to the target are those of the searches that reach it, and infinite for the others: they end
at one number of evaluations, but at as many joules as they happen to have cost.

Sources: Kaplan and Meier 1958; Hoos and Stuetzle 2004, Stochastic Local Search, chapter 4 (run-time
distributions); Efron and Tibshirani 1993 (percentile intervals).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from scipy import stats

from clso.statistics.paired import CONFIDENCE, Difference, FloatArray, holm

__all__ = [
    "Saving",
    "Share",
    "Times",
    "arm_joules",
    "arm_times",
    "floor_of",
    "medians",
    "savings_of",
    "survival",
    "target_of",
]

_RESAMPLES: Final = 2000
_EPSILON: Final = 1e-9  # products of shares such as 9/10 x 8/9 miss 1/2 by rounding

Row = dict[str, Any]


@dataclass(frozen=True)
class Times:
    """What it took to the target, a search each.

    Attributes:
        spent: evaluations, or joules, when it was reached or the search ended.
        reached: whether it was.
    """

    spent: npt.NDArray[np.int64] | FloatArray
    reached: npt.NDArray[np.bool_]

    def censored(self) -> stats.CensoredData:
        """Return them for `scipy.stats`."""
        return stats.CensoredData(
            uncensored=self.spent[self.reached], right=self.spent[~self.reached]
        )


@dataclass(frozen=True)
class Share:
    """A ratio of two medians, with its interval; infinite where too few searches arrive to tell."""

    ratio: float
    low: float
    high: float


@dataclass(frozen=True)
class Saving:
    """One arm against the reference.

    Attributes:
        arm: its name.
        n_seeds: searches.
        n_reached: those that reached the target.
        median: evaluations to it; infinite if more than half did not reach it.
        restricted_mean: evaluations up to the budget that a search is without it, on average.
        share: of the reference's median evaluations.
        energy_share: of its median joules; `None`: not measured, or by other meters.
        p_value: of the log-rank test against the reference, corrected; `None` for itself.
        loss: arm minus reference at the end of their budgets, on what both searched; `None` for
            itself, and where searches end once they arrive.
        evaluation_j: joules of an evaluation; `None`: not measured.
        prediction_j: joules of a prediction, fits of the surrogate included.
    """

    arm: str
    n_seeds: int
    n_reached: int
    median: float
    restricted_mean: float
    share: Share
    energy_share: Share | None
    p_value: float | None
    loss: Difference | None
    evaluation_j: float | None
    prediction_j: float | None

    @property
    def predictions_per_evaluation(self) -> float | None:
        """Predictions that the joules of an evaluation pay for."""
        if self.evaluation_j is None or not self.prediction_j:
            return None
        return self.evaluation_j / self.prediction_j


def target_of(reference: Sequence[Row]) -> float:
    """Return the median over seeds of the loss at the end of the budget."""
    return float(np.median([row["loss"] for row in reference]))


def floor_of(reference: Sequence[Row]) -> float:
    """Return the lowest loss at the end of the budget: no resample's target is below."""
    return float(min(row["loss"] for row in reference))


def arm_times(rows: Sequence[Row], target: float) -> Times:
    """Return after how many evaluations each search reached a loss, or ended without it."""
    ends = [row["evaluations"] for row in rows]
    return _times(rows, target, "steps", ends)


def arm_joules(rows: Sequence[Row], target: float) -> Times:
    """Return after how many joules each search reached a loss, infinite: it never did."""
    return _times(rows, target, "step_energy_j", [math.inf] * len(rows))


def _times(rows: Sequence[Row], target: float, steps: str, ends: Sequence[float]) -> Times:
    first = [
        next(
            (at for at, loss in zip(row[steps], row["step_losses"], strict=True) if loss <= target),
            None,  # never
        )
        for row in rows
    ]
    return Times(
        np.array([end if at is None else at for at, end in zip(first, ends, strict=True)]),
        np.array([at is not None for at in first]),
    )


def survival(times: Times) -> tuple[FloatArray, FloatArray]:
    """Return the times at which S may fall, ascending, and S from each on; it is 1 before."""
    estimate = stats.ecdf(times.censored()).sf
    return estimate.quantiles, estimate.probabilities


def medians(times: Times, counts: npt.NDArray[np.int64]) -> FloatArray:
    """Return Kaplan and Meier's median time of many samples at once, infinite where unknown.

    As `survival` has them, which `scipy.stats` estimates for one sample at a time.

    Args:
        times: of n searches.
        counts: how often each is in each sample, `(n_samples, n)`.
    """
    events = np.unique(times.spent[times.reached])
    if not len(events):
        return np.full(len(counts), math.inf)
    at_risk = counts @ (times.spent[:, None] >= events)  # (n_samples, n_events)
    arrived = counts @ ((times.spent[:, None] == events) & times.reached[:, None])
    without = np.cumprod(1 - arrived / np.maximum(at_risk, 1), axis=1)
    halved = without <= 0.5 + _EPSILON
    return np.where(halved.any(axis=1), events[halved.argmax(axis=1)], math.inf)


def savings_of(
    savings: pa.Table, family: str, reference: str, budget: int, *, beyond_target: bool
) -> list[Saving]:
    """Return every arm of a family against the reference, which comes first.

    Args:
        savings: the searches.
        family: the one searched.
        reference: the arm that sets the target.
        budget: evaluations up to which means are taken.
        beyond_target: whether the searches went on to it once they had arrived.
    """
    rows = savings.filter(pc.field("family") == family)
    by_arm: dict[str, list[Row]] = {}
    for row in rows.sort_by("seed").to_pylist():
        by_arm.setdefault(row["arm"], []).append(row)
    base = by_arm.get(reference, [])
    if not base:
        return []
    seeds = [row["seed"] for row in base]
    others = [arm for arm in dict.fromkeys(rows["arm"].to_pylist()) if arm != reference]
    # seeds are resampled together, so only what has all of them can be compared
    order = [reference, *(arm for arm in others if [r["seed"] for r in by_arm[arm]] == seeds)]
    target = target_of(base)
    times = {arm: arm_times(by_arm[arm], target) for arm in order}
    p_values = holm([None, *(_log_rank(times[arm], times[reference]) for arm in order[1:])])
    once = np.ones((1, len(seeds)), dtype=np.int64)
    found = []
    for arm, p_value in zip(order, p_values, strict=True):
        # a meter too coarse to see the first evaluations has no ratio to tell
        measured = _same_meter([*by_arm[arm], *base]) and all(
            row["step_energy_j"] and row["step_energy_j"][0] > 0 for row in base
        )
        compared = beyond_target and arm != reference
        gaps = np.array([row["loss"] for row in by_arm[arm]]) - [row["loss"] for row in base]
        evaluation_j, prediction_j = _joules(by_arm[arm])
        found.append(
            Saving(
                arm=arm,
                n_seeds=len(seeds),
                n_reached=int(times[arm].reached.sum()),
                median=float(medians(times[arm], once)[0]),
                restricted_mean=_restricted_mean(times[arm], budget),
                share=_share(by_arm[arm], base, arm_times),
                energy_share=_share(by_arm[arm], base, arm_joules) if measured else None,
                p_value=p_value,
                loss=Difference.of(gaps) if compared else None,
                evaluation_j=evaluation_j,
                prediction_j=prediction_j,
            )
        )
    return found


def _log_rank(one: Times, other: Times) -> float | None:
    if not one.reached.any() and not other.reached.any():
        return None
    return float(stats.logrank(one.censored(), other.censored()).pvalue)


def _restricted_mean(times: Times, budget: int) -> float:
    at, without = survival(times)
    edges = np.minimum([0, *at, budget], budget)
    return float((np.diff(edges) * [1.0, *without]).sum())


def _share(
    arm: Sequence[Row],
    reference: Sequence[Row],
    times: Callable[[Sequence[Row], float], Times],
) -> Share:
    n = len(reference)
    once = np.ones((1, n), dtype=np.int64)
    target = target_of(reference)
    ratio = medians(times(arm, target), once) / medians(times(reference, target), once)
    drawn = np.random.default_rng(0).integers(n, size=(_RESAMPLES, n))
    counts = np.stack([np.bincount(sample, minlength=n) for sample in drawn])
    losses = np.array([row["loss"] for row in reference])
    targets = np.median(losses[drawn], axis=1)
    ratios = np.empty(_RESAMPLES)
    for target in np.unique(targets):
        own = targets == target
        ratios[own] = medians(times(arm, target), counts[own]) / medians(
            times(reference, target), counts[own]
        )
    tail = (1 - CONFIDENCE) / 2
    # one of the ratios themselves: between a number and infinity there is none
    low, high = np.quantile(ratios, [tail, 1 - tail], method="inverted_cdf")
    return Share(float(ratio[0]), float(low), float(high))


def _same_meter(rows: Sequence[Row]) -> bool:
    sources = {row["energy_source"] for row in rows}
    return len(sources) == 1 and None not in sources


def _joules(rows: Sequence[Row]) -> tuple[float | None, float | None]:
    """Return the joules of an evaluation and of a prediction, where all were measured."""
    if not _same_meter(rows):
        return None, None
    surrogate_j = sum(row["surrogate_energy_j"] or 0.0 for row in rows)
    evaluating_j = sum(row["energy_j"] for row in rows) - surrogate_j
    predictions = sum(row["predictions"] for row in rows)
    evaluations = sum(row["evaluations"] for row in rows)
    return evaluating_j / evaluations, surrogate_j / predictions if predictions else None
