"""When the searches of one arm reach a loss, in evaluations and in joules.

The time of a search is the number of evaluations after which its best loss is at or below the
target. A search that ends above the target is censored at its end. Joules to the target are
infinite for such a search: it ends after a fixed number of evaluations, and its joules at that end
mean nothing.

The ratio of two median times has a percentile interval. Seeds are resampled for it, all searches of
a seed together. Each resample has a target of its own, because the target is a median over seeds.

Source: Efron and Tibshirani 1993 (percentile intervals).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from clso.report.formats import SHARE, span
from clso.statistics.paired import CONFIDENCE, FloatArray
from clso.statistics.survival import Times

__all__ = ["Arrivals", "Share"]

_RESAMPLES: Final = 2000

Row = dict[str, Any]


@dataclass(frozen=True)
class Arrivals:
    """The searches of one arm: rows of the table `savings`, by ascending seed."""

    rows: Sequence[Row]

    @property
    def seeds(self) -> list[int]:
        """The seeds of the searches."""
        return [row["seed"] for row in self.rows]

    @property
    def losses(self) -> FloatArray:
        """The losses at the end of the searches, `(n_seeds,)`."""
        return np.array([row["loss"] for row in self.rows], dtype=np.float64)

    def best_losses(self, grid: np.ndarray) -> FloatArray:
        """Return the best losses after these numbers of evaluations, `(n_seeds, n_numbers)`."""

        def losses(row: Row) -> FloatArray:
            places = np.searchsorted(row["steps"], grid, side="right") - 1
            best: FloatArray = np.asarray(row["step_losses"])[places.clip(min=0)]
            return best

        return np.array([losses(row) for row in self.rows])

    def evaluations(self, target: float) -> Times:
        """Return after how many evaluations each search reached a loss, or ended above it."""
        return self._times(target, "steps", [row["evaluations"] for row in self.rows])

    def joules(self, target: float) -> Times:
        """Return after how many joules each search reached a loss; infinite: it never did."""
        return self._times(target, "step_energy_j", [math.inf] * len(self.rows))

    def _times(self, target: float, steps: str, ends: Sequence[float]) -> Times:
        first = [
            next(
                (
                    at
                    for at, loss in zip(row[steps], row["step_losses"], strict=True)
                    if loss <= target
                ),
                math.inf,
            )
            for row in self.rows
        ]
        reached = np.isfinite(first)
        return Times(np.where(reached, first, ends), reached)

    def has_meter_of(self, other: Arrivals) -> bool:
        """Return whether one meter measured the joules of these searches and of others."""
        sources = {row["energy_source"] for row in (*self.rows, *other.rows)}
        return len(sources) == 1 and None not in sources

    def joules_each(self) -> tuple[float | None, float | None]:
        """Return the joules of an evaluation and of a prediction; `None`: not measured."""
        if not self.has_meter_of(self):
            return None, None
        total_j, evaluations, predictions = (
            sum(row[name] for row in self.rows)
            for name in ("energy_j", "evaluations", "predictions")
        )
        surrogate_j = sum(row["surrogate_energy_j"] or 0.0 for row in self.rows)
        prediction_j = surrogate_j / predictions if predictions else None
        return (total_j - surrogate_j) / evaluations, prediction_j


@dataclass(frozen=True)
class Share:
    """A ratio of two median times with its interval.

    A number is infinite where too few searches reach the target.
    """

    ratio: float
    low: float
    high: float

    @classmethod
    def of(
        cls, arm: Arrivals, reference: Arrivals, times: Callable[[Arrivals, float], Times]
    ) -> Share:
        """Return the median time of an arm as a share of the reference's, which has its seeds.

        The target is the median of the reference's losses; `times` is a method of `Arrivals`.
        """

        def ratios(target: float, counts: np.ndarray) -> FloatArray:
            return times(arm, target).medians(counts) / times(reference, target).medians(counts)

        losses = reference.losses
        n = len(losses)
        ratio = ratios(float(np.median(losses)), np.ones((1, n), dtype=np.int64))
        drawn = np.random.default_rng(0).integers(n, size=(_RESAMPLES, n))
        counts = np.stack([np.bincount(sample, minlength=n) for sample in drawn])
        targets = np.median(losses[drawn], axis=1)
        resampled = np.empty(_RESAMPLES)
        for target in np.unique(targets):
            own = targets == target
            resampled[own] = ratios(target, counts[own])
        tail = (1 - CONFIDENCE) / 2
        # an end is one of the ratios: between a number and infinity nothing can be interpolated
        low, high = np.quantile(resampled, [tail, 1 - tail], method="inverted_cdf")
        return cls(float(ratio[0]), float(low), float(high))

    def cell(self) -> tuple[str, str]:
        """Return the ratio and its interval as text."""
        ratio, low, high = (
            SHARE.text(value) if math.isfinite(value) else "never"
            for value in (self.ratio, self.low, self.high)
        )
        return ratio, span(low, high)
