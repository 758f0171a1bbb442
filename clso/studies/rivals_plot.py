"""The figure of the search and its rivals: best loss by evaluations."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from matplotlib.figure import Figure

from clso.report.style import MODEL_COLORS, MUTED, new_figure, styled
from clso.studies.rivals import METHODS, Curve, curves_of, loss_at

__all__ = ["rivals_figure"]

_COLORS = {
    "search": MODEL_COLORS["mixture"],
    "random": "#8c959f",
    "greedy": "#d55e00",
    "top_weight": "#cc79a7",
    "all_at_once": MUTED,
}


@styled
def rivals_figure(rivals: pa.Table) -> Figure | None:
    """Draw the best loss by evaluations, median and range over seeds, a line per method."""
    curves = {name: curves_of(rivals, name) for name in METHODS}
    if not curves["search"]:
        return None
    last = max(curve[-1][0] for curve in curves["search"])
    figure, axes = new_figure(3.4)
    shown = []
    for name, found in curves.items():
        if not found:
            continue
        color, label = _COLORS[name], METHODS[name]
        if name == "all_at_once":
            axes.axhline(found[0][-1][1], color=color, linewidth=1.2, linestyle=":", label=label)
            shown.append(found[0][-1][1])
            continue
        start = max(curve[0][0] for curve in found)
        grid = np.unique(np.geomspace(start, max(last, start + 1), 400).astype(int))
        losses = np.array([[_loss(curve, budget) for budget in grid] for curve in found])
        median = np.median(losses, axis=0)
        low, high = losses.min(axis=0), losses.max(axis=0)
        axes.fill_between(grid, low, high, step="post", color=color, alpha=0.18, linewidth=0)
        axes.step(grid, median, where="post", color=color, linewidth=1.6, label=label)
        if name != "greedy":
            shown += [float(median.max()), float(low.min())]
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    # greedy selection begins with no function at all: its curve comes in from far above
    margin = 0.08 * (max(shown) - min(shown)) + 1e-4
    axes.set_ylim(min(shown) - margin, max(shown) + margin)
    axes.set_xlabel("evaluations")
    axes.set_ylabel("best loss, nats per token")
    axes.legend(loc="upper right")
    return figure


def _loss(curve: Curve, budget: int) -> float:
    at = loss_at(curve, budget)
    assert at is not None, "the grid begins where every curve does"
    return at[0]
