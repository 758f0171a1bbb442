"""The figures of the report's sections on searches: convergence, predictions, picked families."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from clso.report.formats import LOSS
from clso.report.models import Models
from clso.report.style import INK, MUTED, PALETTE, new_figure, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["convergence_figure", "families_figure", "predictions_figure"]

Row = Mapping[str, Any]
FloatArray = npt.NDArray[np.float64]

_LOSS: Final = "loss, nats per token"
_LEAST_RANGE: Final = 0.005  # of the best loss; for a search that found nothing better
_HEADROOM: Final = 1.5  # ranges of the best curve above it, in which the mean is drawn
_BAR_CHARACTERS: Final = 48  # that fit in a whole bar
_HATCHES: Final = (None, "//", "..", "xx")
_LINE_OF_TEXT: Final = 0.16  # of a figure's height: two lines and a gap
_REMARK: Final[Any] = {"fontsize": 8, "color": MUTED}  # in a figure
_LIGHT: Final = ("#e69f00", "#cc79a7", "#56b4e9")  # colors that dark text stands out on


@styled
def convergence_figure(
    generations: pa.Table,
    family: str,
    models: Models,
    *,
    surrogate_generation: int | None = None,
    floors: Mapping[str, float] | None = None,
) -> Figure | None:
    """Draw the best and mean evaluated loss by generation, and floors that lie near the best.

    The best curve sets the axis. Predictions filtered from `surrogate_generation` on; `None`:
    never.
    """
    from matplotlib.ticker import MaxNLocator

    rows = generations.filter(pc.field("family") == family).sort_by("generation")
    rows = rows.filter(pc.field("best_loss").is_valid())
    if rows.num_rows == 0:
        return None
    generation, best, mean, std = (
        rows[name].to_numpy().astype(float)
        for name in ("generation", "best_loss", "mean_loss", "std_loss")
    )
    color = models.color(family)
    figure, axes = new_figure()
    low, high = _loss_limits(best, mean)
    band: dict[str, Any] = {"color": color, "alpha": 0.15, "linewidth": 0}
    # where the mean is cut off, its band would cover the whole figure
    axes.fill_between(generation, mean - std, mean + std, where=mean <= high, **band)
    axes.plot(generation, mean, color=color, linewidth=1.2, linestyle="--", label="mean ± std")
    marker = "o" if len(generation) <= 12 else ""
    axes.step(generation, best, where="post", color=color, marker=marker, ms=4, label="best so far")
    near = {
        name: loss
        for name, loss in (floors or {}).items()
        if low - (high - low) < loss < high + (high - low)
    }
    low, high = min([low, *near.values()]), max([high, *near.values()])
    margin = 0.05 * (high - low)
    axes.set_ylim(low - margin, high + margin)
    if mean[0] > high:
        text, place = f"mean of the first generation: {LOSS.text(mean[0])}", (0.5, 0.97)
        look = {"xycoords": "axes fraction", "ha": "center", "va": "top", **_REMARK}
        axes.annotate(text, place, **look)
    _name_floors(axes, near, models)
    if surrogate_generation is not None:
        axes.axvline(surrogate_generation, color=MUTED, linewidth=1, linestyle=":")
        place, units = (surrogate_generation, 1.0), ("data", "axes fraction")
        text = "surrogate filters from here"
        axes.annotate(text, place, (0, 3), units, "offset points", **_REMARK)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("generation")
    axes.set_ylabel(_LOSS)
    figure.legend(loc="outside upper right", ncols=2)
    return figure


def _loss_limits(best: FloatArray, mean: FloatArray) -> tuple[float, float]:
    """Return the lowest and highest loss to draw: the best curve, and the mean while it is near.

    A few broken models lift a generation's mean and spread by tens of nats.
    """
    low, high = float(best.min()), float(best.max())
    size = max(high - low, _LEAST_RANGE * abs(low))
    seen = mean[mean <= high + _HEADROOM * size]
    return low, max(high + 0.25 * size, float(seen.max()) if len(seen) else high)


def _name_floors(axes: Axes, floors: Mapping[str, float], models: Models) -> None:
    """Draw floors as lines, with their names beside the axes, none over another."""
    ordered = sorted(floors.items(), key=lambda floor: floor[1])
    low, high = axes.get_ylim()
    heights = _spread([(loss - low) / (high - low) for _, loss in ordered], _LINE_OF_TEXT)
    for (name, loss), height in zip(ordered, heights, strict=True):
        axes.axhline(loss, color=models.color(name), linewidth=1.2, linestyle=":")
        text = f"{models.title(name)} floor\n{LOSS.text(loss)}"
        axes.text(1.015, height, text, va="center", transform=axes.transAxes, **_REMARK)


def _spread(heights: Sequence[float], gap: float) -> list[float]:
    """Return ascending heights from 0 to 1, moved apart to at least `gap` where that fits."""
    spread: list[float] = []
    for height in heights:
        spread.append(max(height, spread[-1] + gap) if spread else height)
    ceiling = 1.0
    for place in reversed(range(len(spread))):
        spread[place] = min(spread[place], ceiling)
        ceiling = spread[place] - gap
    return spread


@styled
def predictions_figure(pairs: pa.Table, color: str) -> Figure | None:
    """Draw predicted against evaluated loss of the individuals that have both."""
    from matplotlib.ticker import MaxNLocator

    if pairs.num_rows == 0:
        return None
    predicted, evaluated = (pairs[name].to_numpy() for name in ("predicted_loss", "evaluated_loss"))
    figure, axes = new_figure(3.2, grid="both")
    look: dict[str, Any] = {"color": color, "edgecolor": "white", "linewidth": 0.4, "alpha": 0.65}
    axes.scatter(evaluated, predicted, s=16, **look)
    low, high = (edge(np.concatenate([predicted, evaluated])) for edge in (np.min, np.max))
    margin = 0.05 * (high - low) or 0.05
    axes.plot([low - margin, high + margin], [low - margin, high + margin], color=MUTED, lw=1)
    place = (0.98, 0.03)
    axes.annotate("too low: below the line", place, xycoords="axes fraction", ha="right", **_REMARK)
    axes.set_xlim(low - margin, high + margin)
    axes.set_ylim(low - margin, high + margin)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.set_xlabel(f"evaluated {_LOSS}")
    axes.set_ylabel("predicted loss")
    return figure


@styled
def families_figure(picks: Sequence[Row]) -> Figure | None:
    """Draw, per gene, the best genomes' shares of families; ticks mark the library's shares.

    Every color is named in the legend, and each part that has room for its name also carries it.
    """
    from matplotlib.ticker import PercentFormatter

    if not picks:
        return None
    slots = [(slot, list(group)) for slot, group in groupby(picks, key=lambda pick: pick["slot"])]
    looks = _family_looks(picks)
    figure, axes = new_figure(0.9 + 0.28 * len(slots) + 0.1 * (len(looks) + 1), grid="x")
    for name, look in looks.items():  # for the legend, since a gene may lack some families
        axes.barh(0, 0, label=name.replace("_", " "), **look)
    for height, (_, group) in enumerate(reversed(slots)):
        left = chance = 0.0
        for pick in group:
            share, family = pick["picked"], pick["entry_family"]
            axes.barh(height, share, left=left, height=0.62, **looks[family])
            name = family.replace("_", " ")
            if len(name) <= share * _BAR_CHARACTERS and not looks[family]["hatch"]:
                place, light = (left + share / 2, height), looks[family]["facecolor"] in _LIGHT
                axes.annotate(
                    name,
                    place,
                    ha="center",
                    va="center",
                    color=INK if light else "white",
                    fontsize=7.5,
                )
            left, chance = left + share, chance + pick["chance"]
            if chance < 1.0 - 1e-9:
                axes.plot([chance] * 2, [height - 0.42, height + 0.42], color=INK, linewidth=1.5)
    axes.set_yticks(range(len(slots)), [slot for slot, _ in reversed(slots)])
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_xlabel("share of the best genomes (black ticks: chance)")
    figure.legend(loc="outside upper center", ncols=min(len(looks), 2))
    return figure


def _family_looks(picks: Sequence[Row]) -> dict[str, dict[str, Any]]:
    """Return color and hatching of each family, hatched where the palette begins again."""
    names = dict.fromkeys(pick["entry_family"] for pick in picks)
    return {
        name: {
            "facecolor": PALETTE[place % len(PALETTE)],
            "edgecolor": "white",
            "linewidth": 0,
            "hatch": _HATCHES[place // len(PALETTE) % len(_HATCHES)],
        }
        for place, name in enumerate(names)
    }
