"""The study `clso rivals`: the search against simpler ones at equal numbers of evaluations.

Notation: at a budget of e evaluations, a method's loss for a seed is the best that it had found
after e of them, or after its last if it ended before. Differences are search minus rival, seed by
seed; a method without randomness has one loss, which is compared with every seed. Intervals are
Student's t over seeds: they say what other seeds of the searches would change, not other text.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clso.artifacts import Run
from clso.report.formats import COUNT, FINE_LOSS, SHARE
from clso.report.html import Picture, ReportSection
from clso.report.models import Models
from clso.report.style import MUTED, new_figure, styled
from clso.report.table import Column, Table
from clso.statistics.paired import CONFIDENCE, Difference

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["METHODS", "Duel", "Rivals", "rivals_sections", "rivals_sentence", "rivals_table"]

METHODS: Final = {
    "search": "this search",
    "random": "random search",
    "greedy": "greedy forward selection",
    "top_weight": "heaviest of all at once",
    "all_at_once": "all at once, no limit",
}
"""CLSO's methods and their titles; all others, also a plug-in family's, are rivals of `search`."""

_COLORS: Final = {
    "random": "#8c959f",
    "greedy": "#d55e00",
    "top_weight": "#cc79a7",
    "all_at_once": MUTED,
}

# evaluations, loss and held-back loss at each step, ascending
Curve = list[tuple[int, float, float]]


@dataclass(frozen=True)
class Duel:
    """The search against one rival at one budget, losses in nats per token.

    Attributes:
        evaluations: the budget.
        rival: the method.
        search_loss: mean over seeds.
        rival_loss: mean over seeds.
        fitness: search minus rival, on what both searched.
        held_back: the same on what neither read.
        n_won: seeds for which the search has the lower loss on what both searched.
        n_seeds: seeds in all.
    """

    evaluations: int
    rival: str
    search_loss: float
    rival_loss: float
    fitness: Difference
    held_back: Difference
    n_won: int
    n_seeds: int


class Rivals:
    """The searches of all methods.

    Args:
        table: the table `rivals`.
    """

    def __init__(self, table: pa.Table) -> None:
        methods = dict.fromkeys([*METHODS, *table["method"].unique().to_pylist()])
        self._curves = {name: _curves_of(table, name) for name in methods}

    def losses(self, method: str, budget: float) -> list[tuple[float, float] | None]:
        """Return both losses of every seed after so many evaluations; `None` before the first."""
        return [_loss_at(curve, budget) for curve in self._curves[method]]

    def duels(self, budgets: Sequence[int]) -> list[Duel]:
        """Return the search against every rival at every budget at which both have a loss."""
        duels = []
        for budget in budgets:
            search = self.losses("search", budget)
            for method in list(self._curves)[1:]:
                # the reference is no search: it stands beside every budget with all that it found
                rival = self.losses(method, math.inf if method == "all_at_once" else budget)
                if search and rival and None not in (*search, *rival):
                    duels.append(_duel(budget, method, search, rival))
        return duels

    @styled
    def figure(self, color: str) -> Figure | None:
        """Draw the best loss by evaluations, median and range over seeds, a line per method."""
        if not self._curves["search"]:
            return None
        last = max(curve[-1][0] for curve in self._curves["search"])
        figure, axes = new_figure(3.4)
        shown = []
        for number, (method, curves) in enumerate(self._curves.items()):
            if not curves:
                continue
            own = color if method == "search" else f"C{number}"
            look: dict[str, Any] = {
                "color": _COLORS.get(method, own),
                "label": METHODS.get(method, method),
            }
            if method == "all_at_once":
                axes.axhline(curves[0][-1][1], linewidth=1.2, linestyle=":", **look)
                shown.append(curves[0][-1][1])
                continue
            start = max(curve[0][0] for curve in curves)
            grid = np.unique(np.geomspace(start, max(last, start + 1), 400).astype(int))
            losses = np.array([[_loss_at(curve, at) for at in grid] for curve in curves])[..., 0]
            median, low, high = np.median(losses, axis=0), losses.min(axis=0), losses.max(axis=0)
            axes.fill_between(
                grid, low, high, step="post", color=look["color"], alpha=0.18, linewidth=0
            )
            axes.step(grid, median, where="post", linewidth=1.6, **look)
            if method != "greedy":
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


def rivals_sections(run: Run) -> list[ReportSection]:
    """Return the section on rivals; none if `clso rivals` has not been run."""
    note = run.manifest.get("rivals")
    if note is None or not run.has("rivals"):
        return []
    rivals = Rivals(run.rivals)
    duels = rivals.duels(note["evaluations"])
    family, models = note["family"], Models(run.manifest)
    caption = (
        f"Best loss on the {note['searched_on']} by evaluations: median and range over "
        f"{note['seeds']} seeds. Each model is one {models.title(family)} of {note['slots']} out "
        f"of {note['functions']} functions; dotted: all of them at once."
    )
    draw = partial(rivals.figure, models.color(family))
    picture = Picture(f"rivals-{family}", draw, caption, "No search has a finite loss.")
    title = "The search and simpler ones"
    return [
        ReportSection(
            title, [rivals_sentence(duels), picture, rivals_table(duels)], f"rivals-{family}"
        )
    ]


def rivals_sentence(duels: Sequence[Duel]) -> str:
    """Say how often the search has surely the lower loss, surely the higher, or neither.

    All functions at once, the reference, are not held to as many slots and do not count.
    """
    rivals = [duel for duel in duels if duel.rival != "all_at_once"]
    if not rivals:
        return "There is nothing to compare at these numbers of evaluations."
    fitness = Difference.tally([duel.fitness for duel in rivals])
    held_back = Difference.tally([duel.held_back for duel in rivals])
    return (
        f"Of {len(rivals)} comparisons at equal numbers of evaluations and slots, this search has "
        f"the lower loss in {fitness[0]} and the higher in {fitness[1]}; in {fitness[2]} the "
        f"{SHARE.text(CONFIDENCE)} interval contains zero. On the blocks held back: "
        f"{held_back[0]} lower, {held_back[1]} higher, {held_back[2]} open."
    )


def rivals_table(duels: Sequence[Duel]) -> Table:
    """Return a row per rival, grouped by the budget."""
    table = Table(
        "The search against simpler ones, at equal numbers of evaluations",
        [
            Column("method", text=True),
            *map(Column, ("search", "rival", "difference", "won", "held back")),
        ],
        [
            "Nats per token; search minus rival, so a negative number favours the search; below it "
            f"the {SHARE.text(CONFIDENCE)} interval over seeds.",
            "Held back: validation blocks that no search read.",
        ],
    )
    for budget, group in groupby(duels, key=lambda duel: duel.evaluations):
        table.add(f"{COUNT.text(budget)} evaluations", emphasis="group")
        for duel in group:
            table.add(
                METHODS.get(duel.rival, duel.rival),
                FINE_LOSS.text(duel.search_loss),
                FINE_LOSS.text(duel.rival_loss),
                FINE_LOSS.difference(duel.fitness),
                f"{duel.n_won} of {duel.n_seeds}",
                FINE_LOSS.difference(duel.held_back),
            )
    return table


def _curves_of(table: pa.Table, method: str) -> list[Curve]:
    """Return a method's curve for every seed, in ascending order."""
    rows = table.filter(pc.field("method") == method)
    rows = rows.sort_by([("seed", "ascending"), ("evaluations", "ascending")]).to_pylist()
    return [
        [(row["evaluations"], row["loss"], row["held_back_loss"]) for row in group]
        for _, group in groupby(rows, key=lambda row: row["seed"])
    ]


def _loss_at(curve: Curve, budget: float) -> tuple[float, float] | None:
    reached = [point for point in curve if point[0] <= budget]
    return reached[-1][1:] if reached else None


def _duel(evaluations: int, method: str, search: Sequence[Any], rival: Sequence[Any]) -> Duel:
    ours, theirs = np.asarray(search, float), np.asarray(rival, float)
    # a method without randomness is compared with every seed
    theirs = np.broadcast_to(theirs, ours.shape) if len(theirs) == 1 else theirs
    gaps = ours - theirs  # (n_seeds, 2)
    return Duel(
        evaluations=evaluations,
        rival=method,
        search_loss=float(ours[:, 0].mean()),
        rival_loss=float(theirs[:, 0].mean()),
        fitness=Difference.of(gaps[:, 0]),
        held_back=Difference.of(gaps[:, 1]),
        n_won=int((gaps[:, 0] < 0).sum()),
        n_seeds=len(gaps),
    )
