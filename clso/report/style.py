"""One look for all figures, and figures as SVG that stands alone or inside a page.

The palette is Okabe and Ito's, which suits any colour vision. No meaning is in colour alone. Text
stays text, so that it can be read aloud, searched and set in the page's own font. Nothing depends
on the clock: the same data give the same bytes.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from functools import wraps
from html import escape
from itertools import groupby
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

if TYPE_CHECKING:  # matplotlib takes a second to import, and tables need none of it
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

__all__ = [
    "INK",
    "MUTED",
    "PALETTE",
    "STYLE",
    "figure_svg",
    "interval_figure",
    "new_figure",
    "plain_numbers",
    "styled",
]

P = ParamSpec("P")
R = TypeVar("R")

INK = "#1f2328"
MUTED = "#6e7781"
_RULE = "#d0d7de"
_ROW_IN = 0.2  # inches
_GROUP_GAP = 1.2  # rows from the last line of a group to the name of the next

PALETTE = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")

# Any: matplotlib types the keys as literals, and not the same ones in every version
STYLE: Any = {
    "axes.edgecolor": _RULE,
    "axes.facecolor": "white",
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.labelsize": 9,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 9,
    "figure.facecolor": "white",
    "font.family": "sans-serif",
    "font.size": 9,
    "grid.color": "#eaeef2",
    "grid.linewidth": 0.8,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "svg.fonttype": "none",
    "svg.hashsalt": "clso",
    "text.color": INK,
    "text.parse_math": False,  # a name with dollar signs is no formula
    "xtick.color": MUTED,
    "xtick.labelcolor": INK,
    "xtick.labelsize": 8.5,
    "ytick.color": MUTED,
    "ytick.labelcolor": INK,
    "ytick.labelsize": 8.5,
}


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """Return a function that draws with `STYLE` and leaves the user's own settings alone."""

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> R:
        import matplotlib as mpl

        with mpl.rc_context(STYLE):
            return draw(*args, **kwargs)

    return drawn


def new_figure(height: float = 3.0, *, grid: str = "y") -> tuple[Figure, Axes]:
    """Return an empty figure, narrow enough for a phone, and its axes; call it where `styled`.

    Heights are in inches (the width is 4.8); `grid` is the axis with lines: `x`, `y` or `both`.
    """
    # not through pyplot: a library leaves the user's open figures and backend alone
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.8, height), layout="constrained")
    axes = figure.subplots()
    axes.set_axisbelow(True)
    if grid != "both":
        axes.grid(False, axis="x" if grid == "y" else "y")
    axes.tick_params(length=0)
    return figure, axes


def interval_figure(
    lines: Sequence[tuple[str, str]],
    values: Sequence[float],
    ends: tuple[Sequence[float], Sequence[float]],
    *,
    color: str,
    label: str,
) -> tuple[Figure, Axes, list[float]]:
    """Return a figure with a value and its interval on each line, its axes and the lines' heights.

    `lines` are pairs of group and name, those of a group together; `label` is for the legend.
    """
    ticks: list[tuple[float, str, str]] = []
    heights = []
    height = _GROUP_GAP
    for group, members in groupby(lines, key=lambda line: line[0]):
        height -= _GROUP_GAP
        ticks.append((height, group, "bold"))
        for _, name in members:
            height -= 1
            heights.append(height)
            ticks.append((height, name, "normal"))
    figure, axes = new_figure(0.8 + _ROW_IN * (1.6 - height), grid="x")
    axes.set_yticks([tick[0] for tick in ticks], [tick[1] for tick in ticks])
    for tick_label, (_, _, weight) in zip(axes.get_yticklabels(), ticks, strict=True):
        tick_label.set_fontweight(weight)
    axes.set_ylim(height - 0.8, 0.8)
    lows, highs = ends
    axes.hlines(heights, lows, highs, color=color, linewidth=2)
    axes.plot(values, heights, "o", markersize=5, color=color, label=label)
    return figure, axes, heights


def plain_numbers(axis: Axis) -> None:
    """Write the ticks of a logarithmic axis as plain numbers; matplotlib writes formulas."""
    from matplotlib.ticker import LogFormatterSciNotation

    class Plain(LogFormatterSciNotation):
        """Numbers where matplotlib has some."""

        def __call__(self, x: float, pos: int | None = None) -> str:
            return f"{x:,g}" if super().__call__(x, pos) else ""

    axis.set_major_formatter(Plain())
    axis.set_minor_formatter(Plain(minor_thresholds=(1, 0.4)))


@styled
def figure_svg(figure: Figure, name: str, description: str) -> str:
    """Return a figure as an SVG element; its ids begin with `name`, which is unique in the page.

    `description` is the figure in words, read aloud by a screen reader.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue().decode()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    # ids are unique within a figure only; a page holds several
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", svg)
    head, body = svg.split(">", 1)
    head = re.sub(r' (?:width|height)="[^"]*"', "", head)
    label = f'role="img" aria-labelledby="{name}-alt"'
    return f'{head} {label}><title id="{name}-alt">{escape(description)}</title>{body.strip()}'
