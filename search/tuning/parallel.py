"""The parallel coordinates of a study: a line per trial through its loss and its values.

Optuna's own plot writes ticks over the lines and colors every line. Here the best trials stand out,
values are written on white, and the lines of a category are spread, so that their number shows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from textwrap import wrap
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
from matplotlib.lines import Line2D
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial

from clso.report.style import INK, MUTED, PALETTE, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["parallel_figure"]

_BEST_SHARE: Final = 0.1
_FEWEST_BEST: Final = 3
_SPREAD: Final = 0.08  # of an axis' height, over the lines of one category
_NAME_WIDTH: Final = 13  # characters

FloatArray = npt.NDArray[np.float64]
Ticks = list[tuple[float, str]]


def parallel_figure(trials: Sequence[FrozenTrial], names: Sequence[str], label: str) -> Figure:
    """Return a figure with an axis for the loss and one for each dimension.

    Args:
        trials: complete, and each has all dimensions.
        names: of the dimensions.
        label: of the loss.
    """
    losses = np.array([trial.value for trial in trials], dtype=np.float64)
    axes_of = [_numbers(losses, log=False), *(_dimension(trials, name) for name in names)]
    heights = np.array([at for at, _ in axes_of])  # (n_axes, n_trials)
    order = np.argsort(losses, kind="stable")
    n_best = min(max(_FEWEST_BEST, math.ceil(_BEST_SHARE * len(trials))), len(trials))
    figure, axes = new_figure(3.6)
    axes.grid(False)
    for rank, trial in reversed(list(enumerate(order))):
        axes.plot(heights[:, trial], **_look(rank, n_best))
    for place, (_, ticks) in enumerate(axes_of):
        _draw_axis(axes, place, ticks)
    axes.set_xticks(range(len(axes_of)), ["\n".join(_lines(name)) for name in (label, *names)])
    axes.tick_params(axis="x", labelsize=7.5)
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    axes.set_xlim(-0.1, len(names) + 0.55)
    axes.set_ylim(-0.06, 1.06)
    handles = [
        Line2D([], [], label=text, **_look(rank, n_best))
        for rank, text in ((0, "best trial"), (1, f"next {n_best - 1}"), (n_best, "others"))
        if rank < len(trials) and (rank != 1 or n_best > 1)
    ]
    figure.legend(handles=handles, loc="outside upper right", ncols=3)
    return figure


def _look(rank: int, n_best: int) -> dict[str, Any]:
    if rank == 0:
        return {"color": PALETTE[5], "linewidth": 2.2}
    if rank < n_best:
        return {"color": PALETTE[0], "linewidth": 1.5}
    return {"color": "#c2c9d1", "linewidth": 0.8}


def _draw_axis(axes: Axes, place: int, ticks: Ticks) -> None:
    axes.axvline(place, color=MUTED, linewidth=0.8, zorder=3)
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 0.8}
    for height, text in ticks:
        axes.text(place + 0.06, height, text, va="center", fontsize=7.5, color=INK, bbox=box)


def _dimension(trials: Sequence[FrozenTrial], name: str) -> tuple[FloatArray, Ticks]:
    """Return the height of each trial's value, and the ticks."""
    distribution = trials[0].distributions[name]
    values = [trial.params[name] for trial in trials]
    if not isinstance(distribution, CategoricalDistribution):
        return _numbers(np.array(values, float), log=bool(getattr(distribution, "log", False)))
    kinds = [kind for kind in distribution.choices if kind in values]
    at = {kind: place / max(len(kinds) - 1, 1) for place, kind in enumerate(kinds)}
    heights = np.array([at[value] for value in values])
    for kind in kinds:
        own = np.flatnonzero(heights == at[kind])
        heights[own] += np.linspace(-_SPREAD / 2, _SPREAD / 2, len(own)) if len(own) > 1 else 0.0
    return heights, [(at[kind], _text(kind)) for kind in kinds]


def _numbers(values: FloatArray, *, log: bool) -> tuple[FloatArray, Ticks]:
    """Return the heights of numbers between the lowest and the highest, and three ticks."""
    scaled = np.log(values) if log else values
    low, high = float(scaled.min()), float(scaled.max())
    if low == high:
        return np.full(len(values), 0.5), [(0.5, _number(float(values[0])))]
    middle = (low + high) / 2
    ticks = [(0.0, low), (0.5, middle), (1.0, high)]
    plain = [(height, math.exp(at) if log else at) for height, at in ticks]
    whole = not np.mod(values, 1.0).any()
    written = [(height, _number(round(at) if whole else at)) for height, at in plain]
    return (scaled - low) / (high - low), written


def _number(value: float) -> str:
    if abs(value) >= 100 or value == round(value):
        return f"{value:,.0f}"
    return f"{value:.3f}" if abs(value) >= 1 else f"{value:.2g}"


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value).replace("_", "\n", 1)


def _lines(name: str) -> list[str]:
    """Break the name of a dimension after its dots and, where it is long, between its words."""
    lines: list[str] = []
    for part in name.replace(".", ". ").split(" "):
        if len(part) <= _NAME_WIDTH:
            lines.append(part)
        else:
            words = wrap(part.replace("_", " "), _NAME_WIDTH)
            lines += [f"{line.replace(' ', '_')}_" for line in words[:-1]] + words[-1:]
    return lines
