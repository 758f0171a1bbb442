"""The study `clso savings`: evaluations and joules until a search is as good as the reference.

The target is the median over seeds of the reference's loss at its budget. A search's time is the
number of its evaluations at which its best loss is at the target; one that ends before is censored
there (`clso.statistics.survival`). The ratio of two median times has a percentile interval from
resampled seeds, which keep a seed's searches together and set the target anew, since the target is
a median too. No such target is below the lowest loss of the reference, its floor, so the rest of a
search that has reached the floor changes nothing.

Joules to the target are those of the searches that reach it, and infinite for the others: they end
at one number of evaluations, but at as many joules as they happen to have cost.

Source: Efron and Tibshirani 1993 (percentile intervals).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clso.artifacts import Run
from clso.report.formats import ENERGY, FINE_LOSS, NOT_MEASURED, P_VALUE, RATIO, SHARE
from clso.report.html import Picture, ReportSection
from clso.report.models import Models
from clso.report.style import MUTED, PALETTE, new_figure, styled
from clso.report.table import Cell, Column, Table
from clso.statistics.paired import CONFIDENCE, Difference, FloatArray, holm
from clso.statistics.survival import Times

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Saving", "Savings", "Share", "floor_of", "savings_sections", "target_of"]

_RESAMPLES: Final = 2000
_WRITE_UP_SHARE: Final = 0.19
_WRITE_UP_PREDICTIONS: Final = 635
_STYLES: Final = ("-", "--", "-.", ":")
_LEGEND_LINE: Final = 0.22  # inches
_LEGEND_CHARACTERS: Final = 78  # that fit side by side, a line's sample counted as six

Row = dict[str, Any]


@dataclass(frozen=True)
class Share:
    """A ratio of two medians, with its interval; infinite where too few searches arrive to tell."""

    ratio: float
    low: float
    high: float

    def cell(self) -> tuple[str, str]:
        """Return the ratio and its interval as text."""
        ratio, low, high = (
            SHARE.text(value) if math.isfinite(value) else "never"
            for value in (self.ratio, self.low, self.high)
        )
        return ratio, f"{low} to {high}"


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

    @property
    def title(self) -> str:
        """The arm's name as text."""
        return self.arm.replace("_", " ")

    @property
    def reached(self) -> str:
        """How many searches arrive."""
        return f"{self.n_reached} of {self.n_seeds}"

    def cells(self, *, is_reference: bool) -> list[Cell]:
        """Return the row of the table; the reference has no share of itself."""
        energy_share, per_evaluation = self.energy_share, self.predictions_per_evaluation
        unmeasured = (NOT_MEASURED, "")
        return [
            self.title,
            self.reached,
            _count(self.median),
            unmeasured if is_reference else self.share.cell(),
            unmeasured if is_reference or energy_share is None else energy_share.cell(),
            _count(self.restricted_mean),
            P_VALUE.text(self.p_value),
            FINE_LOSS.difference(self.loss),
            (
                RATIO.text(per_evaluation),
                f"{ENERGY.text(self.evaluation_j)} / {ENERGY.text(self.prediction_j)}",
            ),
        ]


def target_of(reference: Sequence[Row]) -> float:
    """Return the median over seeds of the loss at the end of the budget."""
    return float(np.median([row["loss"] for row in reference]))


def floor_of(reference: Sequence[Row]) -> float:
    """Return the lowest loss at the end of the budget: no resample's target is below."""
    return float(min(row["loss"] for row in reference))


class Savings:
    """The searches of one family's arms against the reference.

    Args:
        table: the table `savings`.
        family: the model family searched.
        reference: the arm that sets the target.
        budget: evaluations up to which means are taken.
        beyond_target: whether the searches went on to the budget after they had arrived.
    """

    def __init__(
        self, table: pa.Table, family: str, reference: str, budget: int, *, beyond_target: bool
    ) -> None:
        arms: dict[str, list[Row]] = {}
        for row in table.filter(pc.field("family") == family).to_pylist():
            arms.setdefault(row["arm"], []).append(row)
        self._arms = arms
        self._reference = reference
        self._budget = budget
        self._beyond_target = beyond_target
        self.arms = self._savings()
        """Every arm that has the reference's seeds; the reference comes first."""

    def _savings(self) -> list[Saving]:
        arms = {arm: sorted(rows, key=lambda row: row["seed"]) for arm, rows in self._arms.items()}
        base = arms.pop(self._reference, [])
        if not base:
            return []
        seeds = [row["seed"] for row in base]
        # seeds are resampled together, so only what has all of them can be compared
        arms = {arm: rows for arm, rows in arms.items() if [row["seed"] for row in rows] == seeds}
        target = target_of(base)
        reference = _evaluations(base, target)
        p_values = [_evaluations(rows, target).log_rank(reference) for rows in arms.values()]
        others = zip(arms.items(), holm(p_values), strict=True)
        return [
            self._saving(self._reference, base, base, None),
            *(self._saving(arm, rows, base, p_value) for (arm, rows), p_value in others),
        ]

    def _saving(
        self, arm: str, rows: Sequence[Row], base: Sequence[Row], p_value: float | None
    ) -> Saving:
        times = _evaluations(rows, target_of(base))
        # a meter too coarse to see the first evaluations has no ratio to tell
        measured = _same_meter([*rows, *base]) and all(
            row["step_energy_j"] and row["step_energy_j"][0] > 0 for row in base
        )
        compared = self._beyond_target and arm != self._reference
        gaps = np.array([row["loss"] for row in rows]) - [row["loss"] for row in base]
        evaluation_j, prediction_j = _joules_each(rows)
        return Saving(
            arm=arm,
            n_seeds=len(base),
            n_reached=int(times.reached.sum()),
            median=float(times.medians(np.ones((1, len(base)), dtype=np.int64))[0]),
            restricted_mean=times.restricted_mean(self._budget),
            share=_share(rows, base, _evaluations),
            energy_share=_share(rows, base, _joules) if measured else None,
            p_value=p_value,
            loss=Difference.of(gaps) if compared else None,
            evaluation_j=evaluation_j,
            prediction_j=prediction_j,
        )

    def sentence(self) -> str:
        """Say what the arm that arrives first needs, beside the write-up's claims."""
        if len(self.arms) < 2:
            return "There is no arm to compare with the reference."
        best = min(self.arms[1:], key=lambda arm: (arm.share.ratio, arm.restricted_mean))
        if not math.isfinite(best.share.ratio):
            return (
                f"No arm reaches in most seeds what {self._reference} ends with, within as many "
                "evaluations."
            )
        share, interval = best.share.cell()
        sentence = (
            f"To reach what {self._reference} ends with, {best.title} takes {share} of the "
            f"evaluations ({SHARE.text(CONFIDENCE)} interval {interval}; {best.reached} seeds "
            f"arrive); the write-up says {SHARE.text(_WRITE_UP_SHARE)}."
        )
        if len(self.arms) > 2:
            sentence += (
                f" It was picked as the lowest of {len(self.arms) - 1} arms, which flatters it: "
                "run it again with another seed."
            )
        if best.energy_share is not None:
            share, interval = best.energy_share.cell()
            sentence += (
                f" It takes {share} of the joules ({interval}), those of its surrogate included."
            )
        if best.predictions_per_evaluation is None:
            return sentence
        return (
            f"{sentence} An evaluation takes the joules of "
            f"{RATIO.text(best.predictions_per_evaluation)} predictions, fits of the surrogate "
            f"included; the write-up says {_WRITE_UP_PREDICTIONS}."
        )

    def table(self, title: str, target: float) -> Table:
        """Return a row per arm; the reference comes first."""
        table = Table(
            f"Evaluations of the {title}'s search until its loss is {FINE_LOSS.text(target)}",
            [
                Column("arm", text=True),
                *map(Column, ("reached", "median", "share", "joules")),
                Column("mean", optional=1),
                Column("p"),
                Column("loss"),
                Column("predictions", optional=2),
            ],
            [
                f"The target is the median loss that {self._reference} ends with. Median: "
                "evaluations to it (Kaplan-Meier). Share: of the reference's. Joules: their share; "
                f"{SHARE.text(CONFIDENCE)} bootstrap intervals over seeds.",
                "Mean: evaluations restricted to the budget. p: log-rank with Holm's correction. "
                "Loss: arm minus reference at the end, where all went on to it. Predictions: how "
                "many the joules of one evaluation pay for; below, the joules of each.",
            ],
        )
        for place, arm in enumerate(self.arms):
            table.add(*arm.cells(is_reference=place == 0))
        return table

    @styled
    def arrivals_figure(self) -> Figure | None:
        """Draw the share of seeds that have reached the target by evaluations, a step per arm."""
        from matplotlib.ticker import PercentFormatter

        if self._reference not in self._arms:
            return None
        target = target_of(self._arms[self._reference])
        columns, height = _legend_size(self._arms)
        figure, axes = new_figure(2.6 + height)
        for (arm, rows), look in zip(self._arms.items(), self._looks(), strict=True):
            times, without = _evaluations(rows, target).survival()
            axes.step(
                [0, *times, self._budget],
                1 - np.array([1.0, *without, without[-1]]),
                where="post",
                label=arm.replace("_", " "),
                **look,
            )
        axes.axhline(0.5, color=MUTED, linewidth=0.8, linestyle=":")
        axes.set_xlim(0, self._budget)
        axes.set_ylim(-0.02, 1.02)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.set_xlabel("evaluations")
        axes.set_ylabel(f"seeds at {target:.4f} or below")
        figure.legend(loc="outside upper center", ncols=columns)
        return figure

    @styled
    def losses_figure(self) -> Figure | None:
        """Draw the best loss by evaluations, median and quartiles over seeds, a line per arm."""
        if self._reference not in self._arms:
            return None
        columns, height = _legend_size(self._arms)
        figure, axes = new_figure(2.8 + height)
        grid = np.arange(1, self._budget + 1)
        shown = []
        for (arm, rows), look in zip(self._arms.items(), self._looks(), strict=True):
            losses = np.array([_loss_at(row, grid) for row in rows])
            low, median, high = np.quantile(losses, [0.25, 0.5, 0.75], axis=0)
            axes.fill_between(
                grid, low, high, step="post", color=look["color"], alpha=0.13, linewidth=0
            )
            axes.step(grid, median, where="post", label=arm.replace("_", " "), **look)
            # the first draws lie far above all that differs between the arms
            shown += [float(low.min()), float(median[len(grid) // 10])]
        target = target_of(self._arms[self._reference])
        axes.axhline(target, color=MUTED, linewidth=0.8, linestyle=":")
        margin = 0.05 * (max(shown) - min(shown)) + 1e-4
        axes.set_ylim(min(shown) - margin, max(shown) + margin)
        axes.set_xlim(0, self._budget)
        axes.set_xlabel("evaluations")
        axes.set_ylabel("best loss, nats per token")
        figure.legend(loc="outside upper center", ncols=columns)
        return figure

    def _looks(self) -> list[dict[str, Any]]:
        """Return color and style of each arm's line."""
        looks = [
            {
                "color": PALETTE[(place - 1) % len(PALETTE)],
                "linewidth": 1.6,
                "linestyle": _STYLES[(place - 1) // len(PALETTE) % len(_STYLES)],
            }
            for place in range(len(self._arms))
        ]
        looks[list(self._arms).index(self._reference)] = {
            "color": MUTED,
            "linewidth": 2.0,
            "linestyle": "-",
        }
        return looks


def savings_sections(run: Run) -> list[ReportSection]:
    """Return a section per family that `clso savings` has searched."""
    notes = run.manifest.get("savings", {})
    if not notes or not run.has("savings"):
        return []
    families = dict.fromkeys(run.savings["family"].to_pylist())
    return [_section(run, family, notes[family]) for family in families if family in notes]


def _section(run: Run, family: str, note: Mapping[str, Any]) -> ReportSection:
    reference, budget = note["reference"], note["evaluations"]
    beyond_target = note["beyond_target"]
    savings = Savings(run.savings, family, reference, budget, beyond_target=beyond_target)
    title = Models(run.manifest).title(family)
    ended = (
        ""
        if beyond_target
        else " Searches of the other arms end once they are at the lowest loss that any search of "
        f"{reference} ends with."
    )
    return ReportSection(
        f"What the {title}'s search can save",
        [
            savings.sentence(),
            f"{note['seeds']} seeds, up to {budget} evaluations each; operators and "
            "de-duplication are the same on all sides, and a genome is evaluated whole at most "
            f"once. The target is the median loss that {reference} ends with at its budget; a "
            f"search that does not reach it is censored there.{ended}",
            Picture(
                f"arrivals-{family}",
                savings.arrivals_figure,
                "Share of seeds that have reached the target by evaluations (Kaplan-Meier).",
            ),
            Picture(
                f"savings-{family}",
                savings.losses_figure,
                "Best loss by evaluations, median and quartiles over seeds; dotted: the target. "
                "A search that has ended keeps its loss.",
            ),
            savings.table(title, note["target"]),
        ],
        f"savings-{family}",
    )


def _evaluations(rows: Sequence[Row], target: float) -> Times:
    """Return after how many evaluations each search reached a loss, or ended without it."""
    return _times(rows, target, "steps", [row["evaluations"] for row in rows])


def _joules(rows: Sequence[Row], target: float) -> Times:
    """Return after how many joules each search reached a loss; infinite: it never did."""
    return _times(rows, target, "step_energy_j", [math.inf] * len(rows))


def _count(evaluations: float) -> str:
    return f"{evaluations:,.0f}" if math.isfinite(evaluations) else "never"


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


def _share(
    arm: Sequence[Row],
    reference: Sequence[Row],
    times: Callable[[Sequence[Row], float], Times],
) -> Share:
    n = len(reference)
    once = np.ones((1, n), dtype=np.int64)
    target = target_of(reference)
    ratio = times(arm, target).medians(once) / times(reference, target).medians(once)
    drawn = np.random.default_rng(0).integers(n, size=(_RESAMPLES, n))
    counts = np.stack([np.bincount(sample, minlength=n) for sample in drawn])
    losses = np.array([row["loss"] for row in reference])
    targets = np.median(losses[drawn], axis=1)
    ratios = np.empty(_RESAMPLES)
    for target in np.unique(targets):
        own = targets == target
        arm_medians = times(arm, target).medians(counts[own])
        ratios[own] = arm_medians / times(reference, target).medians(counts[own])
    tail = (1 - CONFIDENCE) / 2
    # one of the ratios themselves: between a number and infinity there is none
    low, high = np.quantile(ratios, [tail, 1 - tail], method="inverted_cdf")
    return Share(float(ratio[0]), float(low), float(high))


def _same_meter(rows: Sequence[Row]) -> bool:
    sources = {row["energy_source"] for row in rows}
    return len(sources) == 1 and None not in sources


def _joules_each(rows: Sequence[Row]) -> tuple[float | None, float | None]:
    """Return the joules of an evaluation and of a prediction, where all were measured."""
    if not _same_meter(rows):
        return None, None
    surrogate_j = sum(row["surrogate_energy_j"] or 0.0 for row in rows)
    evaluating_j = sum(row["energy_j"] for row in rows) - surrogate_j
    predictions = sum(row["predictions"] for row in rows)
    evaluations = sum(row["evaluations"] for row in rows)
    return evaluating_j / evaluations, surrogate_j / predictions if predictions else None


def _legend_size(arms: Collection[str]) -> tuple[int, float]:
    """Return how many columns the names fit in, and the height in inches."""
    columns = max(1, min(3, _LEGEND_CHARACTERS // (max(map(len, arms)) + 6)))
    return columns, _LEGEND_LINE * math.ceil(len(arms) / columns)


def _loss_at(row: Row, grid: np.ndarray) -> FloatArray:
    """Return the best loss after each number of evaluations; before any, the first."""
    place = np.searchsorted(row["steps"], grid, side="right") - 1
    losses: FloatArray = np.asarray(row["step_losses"])[np.maximum(place, 0)]
    return losses
