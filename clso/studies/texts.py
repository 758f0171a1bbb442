"""What the studies of several texts have in common: mean joules, and the figure of differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from clso.report.style import MUTED, interval_figure
from clso.statistics.paired import Difference

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["difference_figure", "mean_energy"]


def difference_figure(
    lines: Sequence[tuple[str, str]], differences: Sequence[Difference], *, color: str, label: str
) -> Figure | None:
    """Return a figure of differences and their intervals beside zero; `None` if there are none.

    `lines` are pairs of group and name; `label` is that of the axis.
    """
    if not differences:
        return None
    lows, highs = zip(*(difference.ends for difference in differences), strict=True)
    means = [difference.mean for difference in differences]
    figure, axes, _ = interval_figure(lines, means, (lows, highs), color=color, label="test")
    axes.axvline(0, color=MUTED, linewidth=1, zorder=1)
    axes.set_xlabel(label)
    return figure


def mean_energy(rows: Sequence[Mapping[str, Any]]) -> float | None:
    """Return the mean joules of rows; `None`: one of them was not measured."""
    joules = [row["energy_j"] for row in rows]
    measured = [value for value in joules if value is not None]
    return float(np.mean(measured)) if measured and len(measured) == len(joules) else None
