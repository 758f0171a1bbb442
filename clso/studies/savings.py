"""The study `clso savings`: evaluations and joules until a search is as good as the reference.

The *reference* is the arm that searches without a surrogate. The *target* is the median over seeds
of its loss at the end of the budget. `clso.studies.arrivals` says when a search reaches it. The
*floor* is the lowest of these losses: no resample of the seeds has a target below it. So a search
may end when it reaches the floor.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clso.artifacts import Run
from clso.report.formats import ENERGY, FINE_LOSS, NOT_MEASURED, P_VALUE, RATIO, SHARE, counted
from clso.report.html import Picture, ReportSection
from clso.report.models import Models
from clso.report.style import MUTED, PALETTE, new_figure, styled
from clso.report.table import Column, Table
from clso.statistics.paired import CONFIDENCE, Difference, holm
from clso.studies.arrivals import Arrivals, Share

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Saving", "Savings"]

_WRITE_UP_SHARE: Final = 0.19
_WRITE_UP_PREDICTIONS: Final = 635
_STYLES: Final = ("-", "--", "-.", ":")
_LEGEND_LINE: Final = 0.22  # inches
_LEGEND_CHARACTERS: Final = 78  # that fit side by side, a line's sample counted as six

Row = dict[str, Any]


@dataclass(frozen=True)
class Saving:
    """One arm against the reference.

    Attributes:
        n_reached: number of the `n_seeds` searches that reached the target.
        median: evaluations to the target; infinite if fewer than half reached it.
        restricted_mean: mean number of evaluations above the target, at most the budget.
        share: median evaluations as a share of the reference's.
        energy_share: the same of joules; `None`: not measured, or by other meters.
        p_value: of the log-rank test against the reference, with Holm's correction; `None` for the
            reference.
        loss: arm minus reference at the end of the budget, on the blocks that the search read;
            `None` for the reference, and where searches end at the floor.
        evaluation_j: joules of an evaluation; `None`: not measured.
        prediction_j: joules of a prediction, with its part of the surrogate's fits.
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
    def title(self) -> str:
        """The arm's name as text."""
        return self.arm.replace("_", " ")

    @property
    def reached(self) -> str:
        """The number of searches that reached the target, as text."""
        return f"{self.n_reached} of {self.n_seeds}"

    @property
    def predictions_per_evaluation(self) -> float | None:
        """The number of predictions that take the joules of one evaluation."""
        if self.evaluation_j is None or not self.prediction_j:
            return None
        return self.evaluation_j / self.prediction_j


class Savings:
    """The searches of one family's arms against the reference.

    Args:
        reference: the arm that sets the target.
        budget: evaluations up to which means are taken.
        beyond_target: whether all searches went on to the budget after they had reached the target.
    """

    def __init__(
        self, table: pa.Table, family: str, reference: str, budget: int, *, beyond_target: bool
    ) -> None:
        rows: dict[str, list[Row]] = {}
        for row in table.filter(pc.field("family") == family).to_pylist():
            rows.setdefault(row["arm"], []).append(row)
        self._searches = {
            arm: Arrivals(sorted(own, key=lambda row: row["seed"])) for arm, own in rows.items()
        }
        self._reference = reference
        self._budget = budget
        self._beyond_target = beyond_target

    @property
    def target(self) -> float:
        """The median over seeds of the reference's loss at the end of its budget."""
        return float(np.median(self._searches[self._reference].losses))

    @property
    def floor(self) -> float:
        """The lowest loss of the reference at the end of its budget."""
        return float(self._searches[self._reference].losses.min())

    @cached_property
    def arms(self) -> list[Saving]:
        """Every arm that has the reference's seeds; the reference comes first."""
        base = self._searches.get(self._reference)
        if base is None:
            return []
        # all searches of a seed are resampled together, so an arm needs every seed
        others = {
            arm: searches
            for arm, searches in self._searches.items()
            if arm != self._reference and searches.seeds == base.seeds
        }
        times = base.evaluations(self.target)
        p_values = [
            searches.evaluations(self.target).log_rank(times) for searches in others.values()
        ]
        return [
            self._saving(self._reference, base, base, None),
            *(
                self._saving(arm, searches, base, p_value)
                for (arm, searches), p_value in zip(others.items(), holm(p_values), strict=True)
            ),
        ]

    def _saving(self, arm: str, own: Arrivals, base: Arrivals, p_value: float | None) -> Saving:
        times = own.evaluations(self.target)
        # a meter too coarse to see the first evaluations gives no ratio
        measured = own.has_meter_of(base) and all(
            row["step_energy_j"] and row["step_energy_j"][0] > 0 for row in base.rows
        )
        compared = self._beyond_target and arm != self._reference
        evaluation_j, prediction_j = own.joules_each()
        return Saving(
            arm=arm,
            n_seeds=len(base.rows),
            n_reached=int(times.reached.sum()),
            median=float(times.medians(np.ones((1, len(base.rows)), dtype=np.int64))[0]),
            restricted_mean=times.restricted_mean(self._budget),
            share=Share.of(own, base, Arrivals.evaluations),
            energy_share=Share.of(own, base, Arrivals.joules) if measured else None,
            p_value=p_value,
            loss=Difference.of(own.losses - base.losses) if compared else None,
            evaluation_j=evaluation_j,
            prediction_j=prediction_j,
        )

    def sentence(self) -> str:
        """Say what the arm with the fewest evaluations needs, beside the write-up's claims."""
        if len(self.arms) < 2:
            return "There is no arm to compare with the reference."
        best = min(self.arms[1:], key=_evaluations)
        if not math.isfinite(best.share.ratio):
            return (
                f"No arm reaches the target, the final loss of {self._reference}, in most seeds "
                "within as many evaluations."
            )
        tied = [arm for arm in self.arms[1:] if _evaluations(arm) == _evaluations(best)]
        sentences = [self._evaluations_sentence(best, tied)]
        if len(tied) > 1:
            return sentences[0]
        if len(self.arms) > 2:
            sentences.append(
                f"It was picked as the lowest of {len(self.arms) - 1} arms, which flatters it: "
                "run it again with another seed."
            )
        if best.energy_share is not None:
            share, interval = best.energy_share.cell()
            sentences.append(
                f"It takes {share} of the joules ({interval}), those of its surrogate included."
            )
        if best.predictions_per_evaluation is not None:
            sentences.append(
                "An evaluation takes as many joules as "
                f"{RATIO.text(best.predictions_per_evaluation)} predictions, fits of the surrogate "
                f"included; the write-up says {_WRITE_UP_PREDICTIONS}."
            )
        return " ".join(sentences)

    def _evaluations_sentence(self, best: Saving, tied: Sequence[Saving]) -> str:
        """Say how many evaluations the best arm needs, or the arms that need equally few."""
        share, interval = best.share.cell()
        interval = f"{SHARE.text(CONFIDENCE)} interval {interval}"
        start = f"To reach the target, the final loss of {self._reference}, "
        if len(tied) > 1:
            *others, last = (arm.title for arm in tied)
            told = (
                f"{', '.join(others)} and {last} take equally few evaluations, {share} of those of "
                f"{self._reference} each, so none of them is the best"
            )
        else:
            told = (
                f"{best.title} takes {share} of the evaluations ({interval}; {best.reached} seeds "
                "reach it)"
            )
        equal = f"; that is no fewer than {self._reference} takes" * (best.share.ratio >= 1)
        return f"{start}{told}{equal}; the write-up says {SHARE.text(_WRITE_UP_SHARE)}."

    def table(self, title: str, target: float) -> Table:
        """Return a row per arm; the reference comes first."""
        table = Table(
            f"Evaluations of the {title}'s search until its loss is {FINE_LOSS.text(target)}",
            [
                "arm",
                "reached",
                "median",
                "share",
                "joules",
                Column("mean", optional=1, note="Mean: evaluations restricted to the budget."),
                "p",
                "loss",
                Column(
                    "predictions",
                    optional=2,
                    note="Predictions: how many take the joules of one evaluation; below, the "
                    "joules of one evaluation and of one prediction.",
                ),
            ],
            [
                f"Target: the median final loss of {self._reference}. Reached: searches that reach "
                "it. Median: evaluations to the target (Kaplan-Meier). Share and joules: "
                f"evaluations and joules as shares of the reference's, with "
                f"{SHARE.text(CONFIDENCE)} bootstrap intervals over seeds.",
                "p: log-rank test with Holm's correction. Loss: arm minus reference at the end of "
                "the budget, where all searches went on to it.",
            ],
        )
        for arm in self.arms:
            # the reference has no share of itself
            shares = (arm.share, arm.energy_share) if arm is not self.arms[0] else (None, None)
            table.add(
                arm.title,
                arm.reached,
                _count(arm.median),
                *((NOT_MEASURED, "") if share is None else share.cell() for share in shares),
                _count(arm.restricted_mean),
                P_VALUE.text(arm.p_value),
                FINE_LOSS.difference(arm.loss),
                (
                    RATIO.text(arm.predictions_per_evaluation),
                    f"{ENERGY.text(arm.evaluation_j)} / {ENERGY.text(arm.prediction_j)}",
                ),
            )
        return table

    @styled
    def arrivals_figure(self) -> Figure | None:
        """Draw the share of seeds that have reached the target by evaluations, a step per arm."""
        from matplotlib.ticker import PercentFormatter

        if self._reference not in self._searches:
            return None
        figure, axes = self._figure(2.6)
        for searches, look in zip(self._searches.values(), self._looks(), strict=True):
            times, without = searches.evaluations(self.target).survival()
            shares = 1 - np.array([1.0, *without, without[-1]])
            axes.step([0, *times, self._budget], shares, where="post", **look)
        axes.axhline(0.5, color=MUTED, linewidth=0.8, linestyle=":")
        axes.set_ylim(-0.02, 1.02)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.set_ylabel(f"seeds at {self.target:.4f} or below")
        figure.legend(loc="outside upper center", ncols=self._legend_columns)
        return figure

    @styled
    def losses_figure(self) -> Figure | None:
        """Draw the best loss by evaluations, median and quartiles over seeds, a line per arm."""
        if self._reference not in self._searches:
            return None
        figure, axes = self._figure(2.8)
        grid = np.arange(1, self._budget + 1)
        shown = []
        for searches, look in zip(self._searches.values(), self._looks(), strict=True):
            losses = searches.best_losses(grid)
            low, median, high = np.quantile(losses, [0.25, 0.5, 0.75], axis=0)
            band = {"color": look["color"], "alpha": 0.13, "linewidth": 0}
            axes.fill_between(grid, low, high, step="post", **band)
            axes.step(grid, median, where="post", **look)
            # the losses of the first evaluations are far above the differences between arms
            shown += [float(low.min()), float(median[len(grid) // 10])]
        axes.axhline(self.target, color=MUTED, linewidth=0.8, linestyle=":")
        margin = 0.05 * (max(shown) - min(shown)) + 1e-4
        axes.set_ylim(min(shown) - margin, max(shown) + margin)
        axes.set_ylabel("best loss, nats per token")
        figure.legend(loc="outside upper center", ncols=self._legend_columns)
        return figure

    @property
    def _legend_columns(self) -> int:
        longest = max(map(len, self._searches))
        return max(1, min(3, _LEGEND_CHARACTERS // (longest + 6)))

    def _figure(self, height: float) -> tuple[Figure, Axes]:
        """Return a figure over evaluations, its height in inches without the legend."""
        lines = math.ceil(len(self._searches) / self._legend_columns)
        figure, axes = new_figure(height + _LEGEND_LINE * lines)
        axes.set_xlim(0, self._budget)
        axes.set_xlabel("evaluations")
        return figure, axes

    def _looks(self) -> list[dict[str, Any]]:
        """Return label, color and style of each arm's line."""
        looks: list[dict[str, Any]] = []
        for place, arm in enumerate(self._searches, start=-1):
            color, style = PALETTE[place % len(PALETTE)], place // len(PALETTE) % len(_STYLES)
            look = {"color": color, "linewidth": 1.6, "linestyle": _STYLES[style]}
            if arm == self._reference:
                look = {"color": MUTED, "linewidth": 2.0, "linestyle": "-"}
            looks.append({"label": arm.replace("_", " "), **look})
        return looks

    @classmethod
    def section(cls, run: Run, family: str, note: Mapping[str, Any]) -> ReportSection:
        """Return the section on a family that `clso savings` has searched."""
        reference, budget, beyond = (
            note[name] for name in ("reference", "evaluations", "beyond_target")
        )
        savings = cls(run.savings, family, reference, budget, beyond_target=beyond)
        title = Models(run.manifest).title(family)
        ended = f" Searches of other arms end at the lowest final loss of {reference}."
        return ReportSection(
            f"What the {title}'s search can save",
            [
                savings.sentence(),
                f"{counted(note['seeds'], 'seed')}, up to {counted(budget, 'evaluation')} each. "
                f"{_alike(note)} A genome is evaluated whole at most once. "
                f"The target is the median loss of {reference} at the end of its budget. A search "
                f"that does not reach the target is censored at its end.{ended * (not beyond)}",
                Picture(
                    f"arrivals-{family}",
                    savings.arrivals_figure,
                    "Share of seeds that have reached the target by evaluations (Kaplan-Meier).",
                ),
                Picture(
                    f"savings-{family}",
                    savings.losses_figure,
                    "Best loss by evaluations, median and quartiles over seeds; dotted: the "
                    "target. A search that has ended keeps its loss.",
                ),
                savings.table(title, note["target"]),
            ],
            f"savings-{family}",
        )


def _evaluations(arm: Saving) -> tuple[float, float]:
    """Return what arms are ranked by; arms with equal values tie."""
    return arm.share.ratio, arm.restricted_mean


def _alike(note: Mapping[str, Any]) -> str:
    """Say what the arms of a study have in common, from its note in the manifest."""
    arms = note.get("arms", {})
    methods = [name for name, arm in arms.items() if "method" in arm]
    rates = {arm.get("crossover_rate") for arm in arms.values() if "method" not in arm}
    same = "the same operators but for crossover" if len(rates) > 1 else "the same operators"
    if not methods:
        return f"All arms have {same} and the same de-duplication."
    others = ", ".join(name.replace("_", " ") for name in methods)
    return (
        f"All arms have the same de-duplication, and {same}, except those without a genetic "
        f"algorithm: {others}."
    )


def _count(evaluations: float) -> str:
    return f"{evaluations:,.0f}" if math.isfinite(evaluations) else "never"
