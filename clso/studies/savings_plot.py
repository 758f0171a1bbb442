"""The figures of what a search can save: who has arrived by when, and loss by evaluations."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from clso.report.style import FAMILY_COLORS, MUTED, new_figure, styled
from clso.statistics.paired import FloatArray
from clso.studies.savings import Row, arm_times, survival, target_of

__all__ = ["arrivals_figure", "savings_figure"]

_STYLES = ("-", "--", "-.", ":")
_LEGEND_LINE = 0.22  # inches
_LEGEND_CHARACTERS = 78  # that fit side by side, a line's sample counted as six


@styled
def arrivals_figure(savings: pa.Table, family: str, reference: str, budget: int) -> Figure | None:
    """Draw the share of seeds that have reached the target by evaluations, a step per arm."""
    arms = _arms(savings, family)
    if reference not in arms:
        return None
    target = target_of(arms[reference])
    columns, height = _legend_size(arms)
    figure, axes = new_figure(2.6 + height)
    for number, (arm, rows) in enumerate(arms.items()):
        at, without = survival(arm_times(rows, target))
        axes.step(
            [0, *at, budget],
            1 - np.array([1.0, *without, without[-1]]),
            where="post",
            label=arm.replace("_", " "),
            **_look(number, arm == reference),
        )
    axes.axhline(0.5, color=MUTED, linewidth=0.8, linestyle=":")
    axes.set_xlim(0, budget)
    axes.set_ylim(-0.02, 1.02)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_xlabel("evaluations")
    axes.set_ylabel(f"seeds at {target:.4f} or below")
    figure.legend(loc="outside upper center", ncols=columns)
    return figure


@styled
def savings_figure(savings: pa.Table, family: str, reference: str, budget: int) -> Figure | None:
    """Draw the best loss by evaluations, median and quartiles over seeds, a line per arm."""
    arms = _arms(savings, family)
    if reference not in arms:
        return None
    columns, height = _legend_size(arms)
    figure, axes = new_figure(2.8 + height)
    grid = np.arange(1, budget + 1)
    shown = []
    for number, (arm, rows) in enumerate(arms.items()):
        losses = np.array([_loss_at(row, grid) for row in rows])
        low, median, high = np.quantile(losses, [0.25, 0.5, 0.75], axis=0)
        look = _look(number, arm == reference)
        axes.fill_between(
            grid, low, high, step="post", color=look["color"], alpha=0.13, linewidth=0
        )
        axes.step(grid, median, where="post", label=arm.replace("_", " "), **look)
        # the first draws lie far above all that differs between the arms
        shown += [float(low.min()), float(median[len(grid) // 10])]
    axes.axhline(target_of(arms[reference]), color=MUTED, linewidth=0.8, linestyle=":")
    margin = 0.05 * (max(shown) - min(shown)) + 1e-4
    axes.set_ylim(min(shown) - margin, max(shown) + margin)
    axes.set_xlim(0, budget)
    axes.set_xlabel("evaluations")
    axes.set_ylabel("best loss, nats per token")
    figure.legend(loc="outside upper center", ncols=columns)
    return figure


def _arms(savings: pa.Table, family: str) -> dict[str, list[Row]]:
    arms: dict[str, list[Row]] = {}
    for row in savings.filter(pc.field("family") == family).to_pylist():
        arms.setdefault(row["arm"], []).append(row)
    return arms


def _legend_size(arms: Collection[str]) -> tuple[int, float]:
    """Return how many columns the names fit in, and the height in inches."""
    columns = max(1, min(3, _LEGEND_CHARACTERS // (max(map(len, arms)) + 6)))
    return columns, _LEGEND_LINE * math.ceil(len(arms) / columns)


def _loss_at(row: Row, grid: np.ndarray) -> FloatArray:
    """Return the best loss after each number of evaluations; before any, the first."""
    place = np.searchsorted(row["steps"], grid, side="right") - 1
    losses: FloatArray = np.asarray(row["step_losses"])[np.maximum(place, 0)]
    return losses


def _look(number: int, is_reference: bool) -> dict[str, Any]:
    if is_reference:
        return {"color": MUTED, "linewidth": 2.0, "linestyle": "-"}
    return {
        "color": FAMILY_COLORS[(number - 1) % len(FAMILY_COLORS)],
        "linewidth": 1.6,
        "linestyle": _STYLES[(number - 1) // len(FAMILY_COLORS) % len(_STYLES)],
    }
