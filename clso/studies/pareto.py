"""The study `clso pareto`: the front of loss and costs, as the table `pareto` has it.

Losses are those that the selection of the search read. The losses of the front's models on more of
the validation split stand beside them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clso.artifacts import Run
from clso.report.formats import (
    BYTES,
    COUNT,
    ENERGY_PER_TOKEN,
    FINE_LOSS,
    SHARE,
    NumberFormat,
    counted,
    format_source,
)
from clso.report.html import Picture, ReportSection
from clso.report.models import Models
from clso.report.style import MUTED, new_figure, styled
from clso.report.table import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Front"]

Row = Mapping[str, Any]

_LINES: Final = 10
_NEAR: Final = 0.01  # nearly as good: within this share of the lowest loss
_WORTH_SAYING: Final = 0.95  # a model that takes a larger share of the cost saves too little
_OBJECTIVES: Final = {
    "loss": "loss",
    "stored_bytes": "stored bytes",
    "flops": "operations per token",
}
_COSTS: Final = {"stored_bytes": "stored_bytes", "flops": "flops_per_token"}  # and their columns
_SHOWN: Final = 0.9  # share of the front that lies within the axes
_HEADROOM: Final = 1.2  # height of the axes per height of that share
_LEAST_HEIGHT: Final = 0.01  # nats
_WIDE: Final = 3.0  # costs that differ by more than this factor have a logarithmic axis


@dataclass(frozen=True)
class _Axis:
    label: str
    caption: str
    numbers: NumberFormat


_AXES: Final = {
    "stored_bytes": _Axis("stored, bytes", "what a model stores", BYTES),
    "flops_per_token": _Axis("operations per token", "counted operations per token", COUNT),
    "energy_j_per_token": _Axis(
        "joules per token, measured",
        "joules per token, measured after the search and read by no decision of it",
        ENERGY_PER_TOKEN,
    ),
}


class Front:
    """One family's models in the table `pareto`, and the front: the models that no other beats."""

    def __init__(self, pareto: pa.Table, family: str, title: str = "") -> None:
        rows: list[Row] = pareto.filter(pc.field("family") == family).to_pylist()
        self._evaluated = rows
        self._family = family
        self._title = title or family
        self.rows = sorted(
            (row for row in rows if row["on_front"]),
            key=lambda row: (row["loss"], row["stored_bytes"], row["flops_per_token"]),
        )
        """The front, the lowest loss first."""

    def table(self, scored_on: str, limit: int = _LINES) -> Table:
        """Return at most `limit` models of the front: both ends by loss, others evenly between.

        `scored_on` says what the validation losses are over.
        """
        table = Table(
            f"Front of the {self._title}: {counted(len(self.rows), 'model')}",
            ["genome", "loss", "stored", "operations", "energy"],
            [
                "Models at even steps of the front by loss. All models are in pareto.parquet with "
                "their genomes; this run's configuration builds a model from its genome.",
                "Loss: the loss that the search selected by, nats per token; below it the loss on "
                f"{scored_on}. Operations are counted, joules measured, both per token.",
            ],
        )
        last, count = len(self.rows) - 1, min(limit, len(self.rows))
        for number in sorted({round(place * last / max(count - 1, 1)) for place in range(count)}):
            row = self.rows[number]
            loss, validation = (FINE_LOSS.text(row[name]) for name in ("loss", "validation_loss"))
            table.add(
                row["genome_hash"],
                (loss, validation),
                BYTES.text(row["stored_bytes"]),
                COUNT.text(row["flops_per_token"]),
                ENERGY_PER_TOKEN.text(row["energy_j_per_token"]),
            )
        return table

    def sentences(self, generations: pa.Table, objectives: Sequence[str]) -> list[str]:
        """Say how large the front is, how it grew, and where its joules come from."""
        grown = generations.filter(pc.field("family") == self._family).sort_by("generation")
        growth = _growth_sentence(grown["hypervolume"].to_pylist())
        return [*filter(None, (self._size_sentence(objectives), growth, self._energy_sentence()))]

    def pictures(self, color: str) -> list[Picture]:
        """Return a figure of loss by each cost; by joules only where they were measured."""
        pictures = []
        for cost, axis in _AXES.items():
            if not any(row[cost] is not None for row in self.rows):
                continue
            grey = "" if cost == "energy_j_per_token" else "; grey: models beaten by another"
            ceiling = _ceiling(self.rows)
            hidden = sum(row["loss"] > ceiling for row in self._evaluated if row[cost] is not None)
            above = f" Higher losses, not shown: {COUNT.text(hidden)}." * (hidden > 0)
            caption = (
                f"Front of the {self._title}: loss by {axis.caption}. The line has the lowest loss "
                f"at each cost; hollow points are on the front for another cost{grey}.{above}"
            )
            name = f"pareto-{self._family}-{cost.replace('_', '-')}"
            pictures.append(Picture(name, partial(self._figure, cost, color), caption))
        return pictures

    def _size_sentence(self, objectives: Sequence[str]) -> str:
        """Say how large the front is, and what a model nearly as good as the best may save."""
        rows, n_evaluated = self.rows, len(self._evaluated)
        *all_but_last, last = (_OBJECTIVES[name] for name in objectives)
        named = f"{', '.join(all_but_last)} and {last}"
        best = rows[0]
        near = [row for row in rows if row["loss"] <= best["loss"] * (1 + _NEAR)]
        shares = {
            name: min(row[column] for row in near) / best[column]
            for name, column in _COSTS.items()
            if name in objectives
        }
        savings = ", or with ".join(
            f"{SHARE.text(share)} of its {_OBJECTIVES[name]}"
            for name, share in shares.items()
            if share < _WORTH_SAYING
        )
        saved = f" Within {SHARE.text(_NEAR)} of that loss, there are models with {savings}."
        return (
            f"Of {counted(n_evaluated, 'evaluated model')}, {COUNT.text(len(rows))} "
            f"{'is' if len(rows) == 1 else 'are'} beaten by no other in {named} at once: the "
            f"front. The lowest loss, {FINE_LOSS.text(best['loss'])}, takes "
            f"{BYTES.text(best['stored_bytes'])} and {COUNT.text(best['flops_per_token'])} "
            f"operations per token.{saved if savings else ''}"
        )

    def _energy_sentence(self) -> str:
        """Say where the joules come from, and that nothing was chosen by them."""
        sources = {(row["energy_source"], row["estimated"]) for row in self.rows}
        if sources == {(None, None)}:
            return "Bytes and operations are counted; joules were not measured."
        named = "; ".join(sorted(format_source(*source) for source in sources))
        return (
            "Bytes and operations are counted. Joules are measured once for each model of the "
            f"front, after the end of the search ({named}), so no model was chosen by them."
        )

    @styled
    def _figure(self, cost: str, color: str) -> Figure | None:
        from matplotlib.ticker import LogLocator, MaxNLocator

        rows = [row for row in self.rows if row[cost] is not None]
        if not rows:
            return None
        floor, ceiling = rows[0]["loss"], _ceiling(rows)
        beaten = [
            row
            for row in self._evaluated
            if not row["on_front"] and row[cost] is not None and row["loss"] <= ceiling
        ]
        axis = _AXES[cost]
        figure, axes = new_figure(3.2, grid="both")
        axes.scatter(
            [row[cost] for row in beaten],
            [row["loss"] for row in beaten],
            s=7,
            color=MUTED,
            alpha=0.35,
            linewidths=0,
        )
        steps = _staircase(rows, cost)
        axes.step(
            [row[cost] for row in steps], [row["loss"] for row in steps], where="post", color=color
        )
        lowest = {row["genome_hash"] for row in steps}
        for filled in (False, True):
            shown = [row for row in rows if (row["genome_hash"] in lowest) is filled]
            axes.scatter(
                [row[cost] for row in shown],
                [row["loss"] for row in shown],
                s=20,
                facecolors=color if filled else "white",
                edgecolors=color,
                linewidths=1.0,
                zorder=3,
            )
        axes.set_ylim(floor - 0.06 * (ceiling - floor), ceiling)
        costs = [row[cost] for row in (*rows, *beaten)]
        if max(costs) > _WIDE * min(costs):
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        else:
            axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        axes.xaxis.set_major_formatter(lambda value, _: axis.numbers.text(value))
        axes.minorticks_off()
        axes.set_xlabel(axis.label)
        axes.set_ylabel("loss, nats per token")
        return figure

    @classmethod
    def section(cls, run: Run, family: str, note: Row) -> ReportSection:
        """Return the section on a family that `clso pareto` has searched."""
        models = Models(run.manifest)
        title = models.title(family)
        front = cls(run.pareto, family, title)
        return ReportSection(
            f"Loss against size and work: {title}",
            [
                *front.sentences(run.pareto_generations, note["objectives"]),
                *front.pictures(models.color(family)),
                front.table(note["scored_on"]),
            ],
            f"pareto-{family}",
        )


def _staircase(rows: Sequence[Row], cost: str) -> list[Row]:
    """Return the rows that no row of the same or lower cost equals in loss, the cheapest first."""
    steps: list[Row] = []
    for row in sorted(rows, key=lambda row: (row[cost], row["loss"])):
        if not steps or row["loss"] < steps[-1]["loss"]:
            steps.append(row)
    return steps


def _growth_sentence(hypervolumes: Sequence[float | None]) -> str:
    """Say how the hypervolume grew; empty while there is none."""
    shares = [share for share in hypervolumes if share is not None]
    if not shares:
        return ""
    return (
        f"The front's hypervolume, in units of the box between the first generation's best and "
        f"worst values, rose from {shares[0]:.3f} after that generation to {shares[-1]:.3f} after "
        f"{counted(len(hypervolumes), 'generation')}."
    )


def _ceiling(front: Sequence[Row]) -> float:
    """Return the highest loss of the axes; the cheapest models of a front lie far above it."""
    lowest = front[0]["loss"]
    high = float(np.quantile([row["loss"] for row in front], _SHOWN))
    return float(lowest + max(_HEADROOM * (high - lowest), _LEAST_HEIGHT))
