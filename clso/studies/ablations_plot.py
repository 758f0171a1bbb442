"""The figures of an ablation: every arm against the base, and what its searches picked."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter, SymmetricalLogLocator

from clso.report.style import INK, MODEL_COLORS, MUTED, new_figure, styled
from clso.studies.ablations import BASE, effects
from clso.studies.picks import ALL_GENES

__all__ = ["ablations_figure", "selections_figure"]

_ROW_IN = 0.2
_FAR = 20.0  # times the median end of an interval: from there on the scale is logarithmic
_GAP = 1.2  # rows from a group's last line to the next one's name


@styled
def ablations_figure(ablations: pa.Table, family: str) -> Figure | None:
    """Draw the paired differences to the base with their intervals, a line per level."""
    found = effects(ablations, family)
    if not found:
        return None
    color = MODEL_COLORS.get(family, INK)
    figure, axes, heights = _rows([(one.factor.replace("_", " "), one.level) for one in found])
    axes.axvline(0, color=MUTED, linewidth=1)
    means = [one.held_back.mean for one in found]
    lows = [one.held_back.mean if one.held_back.low is None else one.held_back.low for one in found]
    highs = [
        one.held_back.mean if one.held_back.high is None else one.held_back.high for one in found
    ]
    axes.hlines(heights, lows, highs, color=color, linewidth=2)
    axes.plot(means, heights, "o", markersize=5, color=color, label="held back")
    searched = [one.searched.mean for one in found]
    axes.plot(searched, heights, "o", ms=5, mfc="none", mec=MUTED, label="searched")
    ends = np.abs([*lows, *highs, *searched])
    typical = float(np.median(ends))
    if ends.max() > _FAR * typical > 0:
        # a model that is broken must not press all others onto the line at zero
        axes.set_xscale("symlog", linthresh=2 * typical, linscale=4)
        axes.xaxis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=2 * typical))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}".replace("-", "\u2212"))
    axes.set_xlabel("arm minus base, nats per token (further left is better)")
    figure.legend(loc="outside upper right", ncols=2)
    return figure


@styled
def selections_figure(selections: pa.Table, family: str) -> Figure | None:
    """Draw the share that the base's searches picked, beside chance, per gene and family."""
    rows = selections.filter(
        (pc.field("family") == family) & (pc.field("arm") == BASE) & (pc.field("chance") < 1)
    ).to_pylist()
    if not rows:
        return None
    rows.sort(key=lambda row: row["slot"] is not None)
    color = MODEL_COLORS.get(family, INK)
    figure, axes, heights = _rows(
        [(row["slot"] or ALL_GENES, row["entry_family"].replace("_", " ")) for row in rows]
    )
    lows, highs = ([row[end] for row in rows] for end in ("ci_low", "ci_high"))
    axes.hlines(heights, lows, highs, color=color, linewidth=2)
    picked = [row["picked"] for row in rows]
    axes.plot(picked, heights, "o", markersize=5, color=color, label="picked")
    chance = [row["chance"] for row in rows]
    axes.plot(chance, heights, "|", markersize=10, markeredgewidth=2, color=INK, label="chance")
    axes.set_xlim(-0.02, 1.02)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_xlabel("share of the finalists' genes")
    figure.legend(loc="outside upper right", ncols=2)
    return figure


def _rows(named: Sequence[tuple[str, str]]) -> tuple[Figure, Axes, list[float]]:
    """Return a figure with a row per (group, line) and the rows' heights, from above."""
    ticks: list[tuple[float, str, bool]] = []
    heights = []
    at = _GAP
    for group, lines in groupby(named, key=lambda pair: pair[0]):
        at -= _GAP
        ticks.append((at, group, True))
        for _, line in lines:
            at -= 1
            heights.append(at)
            ticks.append((at, line, False))
    figure, axes = new_figure(0.8 + _ROW_IN * (1.6 - at), grid="x")
    axes.set_yticks([tick[0] for tick in ticks], [tick[1] for tick in ticks])
    for label, (_, _, is_group) in zip(axes.get_yticklabels(), ticks, strict=True):
        label.set_fontweight("bold" if is_group else "normal")
    axes.set_ylim(at - 0.8, 0.8)
    return figure, axes, heights
