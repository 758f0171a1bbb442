"""The figures of a Pareto front: loss against what a model stores, computes and draws."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator

from clso.report.formats import format_bytes, format_count, format_energy_per_token, model_label
from clso.report.style import MODEL_COLORS, MUTED, new_figure, styled
from clso.studies.pareto import front_rows, staircase

__all__ = ["ParetoFigure", "pareto_figures"]

Row = Mapping[str, Any]

_SHOWN = 0.9  # share of the front that surely lies within the frame
_HEADROOM = 1.2  # the frame's height in terms of what that share takes
_LEAST_HEIGHT = 0.01  # nats
_WIDE = 3.0  # costs that differ by more than this factor are drawn on a logarithmic axis


@dataclass(frozen=True)
class ParetoFigure:
    """One cost's figure.

    Attributes:
        name: the file's, unique among a run's figures.
        figure: the drawing.
        caption: what it shows.
    """

    name: str
    figure: Figure
    caption: str


@dataclass(frozen=True)
class _Axis:
    label: str
    caption: str
    write: Callable[[float], str]


_AXES: Final = {
    "stored_bytes": _Axis(
        "stored, bytes", "what a model stores", lambda value: format_bytes(round(value))
    ),
    "flops_per_token": _Axis(
        "operations per token", "counted operations per token", lambda value: f"{value:,.0f}"
    ),
    "energy_j_per_token": _Axis(
        "joules per token, measured",
        "joules per token, measured after the search and read by no decision of it",
        format_energy_per_token,
    ),
}


def pareto_figures(pareto: pa.Table, family: str) -> Iterator[ParetoFigure]:
    """Yield a family's figures: loss by each cost, by joules only where they were measured."""
    for cost, axis in _AXES.items():
        figure = _figure(pareto, family, cost)
        if figure is not None:
            grey = "" if cost == "energy_j_per_token" else "; grey: models beaten by another"
            ceiling = _ceiling(front_rows(pareto, family))
            priced = [row for row in _rows(pareto, family) if row[cost] is not None]
            hidden = sum(row["loss"] > ceiling for row in priced)
            above = f" Higher losses, not shown: {format_count(hidden)}." * (hidden > 0)
            yield ParetoFigure(
                f"pareto-{family}-{cost.replace('_', '-')}",
                figure,
                f"Front of the {model_label(family)}: loss by {axis.caption}. The line has the "
                f"lowest loss at each price, hollow points are on the front for another "
                f"cost{grey}.{above}",
            )


def _rows(pareto: pa.Table, family: str) -> list[Row]:
    rows: list[Row] = pareto.filter(pc.field("family") == family).to_pylist()
    return rows


def _ceiling(front: list[Row]) -> float:
    """Return the loss up to which there is much to see: the cheapest models are far above."""
    lowest = front[0]["loss"]
    high = float(np.quantile([row["loss"] for row in front], _SHOWN))
    return float(lowest + max(_HEADROOM * (high - lowest), _LEAST_HEIGHT))


@styled
def _figure(pareto: pa.Table, family: str, cost: str) -> Figure | None:
    rows = [row for row in front_rows(pareto, family) if row[cost] is not None]
    if not rows:
        return None
    floor, ceiling = rows[0]["loss"], _ceiling(rows)
    beaten = [
        row
        for row in _rows(pareto, family)
        if not row["on_front"] and row[cost] is not None and row["loss"] <= ceiling
    ]
    axis, color = _AXES[cost], MODEL_COLORS[family]
    figure, axes = new_figure(3.2, grid="both")
    axes.scatter(
        [row[cost] for row in beaten],
        [row["loss"] for row in beaten],
        s=7,
        color=MUTED,
        alpha=0.35,
        linewidths=0,
    )
    steps = staircase(rows, cost)
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
    axes.xaxis.set_major_formatter(lambda value, _: axis.write(value))
    axes.minorticks_off()
    axes.set_xlabel(axis.label)
    axes.set_ylabel("loss, nats per token")
    return figure
