"""The study `clso rivals`: the search against simpler ones at equal numbers of evaluations.

Notation: at a budget of e evaluations, the loss of a method for a seed is its best loss after e
evaluations, or after its last evaluation if it ended before. Differences are search minus rival,
seed by seed. A method without randomness has one loss, which is compared with every seed. Intervals
are Student's t over seeds: they say what other seeds of the searches would change, not other text.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clso.artifacts import Run
from clso.report.formats import FINE_LOSS, SHARE, counted
from clso.report.html import Picture, ReportSection
from clso.report.models import Models
from clso.report.style import MUTED, new_figure, plain_numbers, styled
from clso.report.table import Table
from clso.statistics.paired import CONFIDENCE, Difference

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["METHODS", "Duel", "Rivals"]

METHODS: Final = {
    "search": "this search",
    "random": "random search",
    "greedy": "greedy forward selection",
    "one_pass": "greedy, a pass over slots",
    "descent": "coordinate descent",
    "top_weight": "heaviest of all at once",
    "all_at_once": "all at once, no limit",
}
"""CLSO's methods and their titles; a plug-in family may add methods of its own."""

_REFERENCE: Final = "all_at_once"  # no search: it may use every function

_COLORS: Final = {
    "random": "#8c959f",
    "greedy": "#d55e00",
    "one_pass": "#d55e00",
    "descent": "#009e73",
    "top_weight": "#cc79a7",
    "all_at_once": MUTED,
}

_SHOWN_FROM = 20  # the figure has all losses from this part of the evaluations on

# evaluations, loss and held-back loss at each step, ascending
Curve = list[tuple[int, float, float]]


@dataclass(frozen=True)
class Duel:
    """The search against one rival at one budget, losses in nats per token.

    Attributes:
        evaluations: the budget.
        rival: the method.
        search_loss: mean over seeds, as is `rival_loss`.
        fitness: search minus rival, on the blocks that both read.
        held_back: the same on blocks that neither read.
        n_won: number of seeds for which the search has the lower loss on the blocks that both read.
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
    """The searches of all methods in the table `rivals`, compared at `budgets` of evaluations."""

    def __init__(self, table: pa.Table, budgets: Sequence[int] = ()) -> None:
        methods = dict.fromkeys([*METHODS, *table["method"].unique().to_pylist()])
        self._curves = {name: _curves_of(table, name) for name in methods}
        self.duels = list(self._duels(budgets))
        """The search against every rival, at every budget at which both have a loss."""

    def losses(self, method: str, budget: float) -> list[tuple[float, float] | None]:
        """Return searched and held-back loss of every seed at a budget; `None` before the first."""
        return [_loss_at(curve, budget) for curve in self._curves[method]]

    def _duels(self, budgets: Sequence[int]) -> Iterator[Duel]:
        for budget in budgets:
            search = self.losses("search", budget)
            for method in list(self._curves)[1:]:
                # the reference stands beside every budget with all that it found
                rival = self.losses(method, math.inf if method == _REFERENCE else budget)
                if search and rival and None not in (*search, *rival):
                    yield _duel(budget, method, search, rival)

    def sentence(self) -> str:
        """Say how often the search has surely the lower loss, surely the higher, or neither.

        The reference does not count: it may use more functions than a genome has slots.
        """
        rivals = [duel for duel in self.duels if duel.rival != _REFERENCE]
        if not rivals:
            return "There is nothing to compare at these numbers of evaluations."
        fitness = Difference.tally([duel.fitness for duel in rivals])
        held_back = Difference.tally([duel.held_back for duel in rivals])
        return (
            f"Of {counted(len(rivals), 'comparison')} at equal numbers of evaluations and "
            f"slots, this search has the lower loss in {fitness[0]} and the higher in "
            f"{fitness[1]}; in {fitness[2]} the {SHARE.text(CONFIDENCE)} interval contains zero. "
            f"On the held-back blocks: {held_back[0]} lower, {held_back[1]} higher, "
            f"{held_back[2]} undecided."
        )

    def table(self) -> Table:
        """Return a row per rival, grouped by the budget."""
        table = Table(
            "The search against simpler ones, at equal numbers of evaluations",
            ["method", "search", "rival", "difference", "won", "held back"],
            [
                "Nats per token. Difference: search minus rival, so a negative number favours the "
                f"search; below it the {SHARE.text(CONFIDENCE)} interval over seeds.",
                "Won: seeds for which the search has the lower loss. Held back: the difference on "
                "validation blocks that no search read.",
            ],
        )
        for budget, group in groupby(self.duels, key=lambda duel: duel.evaluations):
            table.add(counted(budget, "evaluation"), emphasis="group")
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

    @styled
    def figure(self, color: str) -> Figure | None:
        """Draw the best loss by evaluations, median and range over seeds, a line per method."""
        if not self._curves["search"]:
            return None
        last = max(curve[-1][0] for curve in self._curves["search"])
        figure, axes = new_figure(3.9)
        shown = []
        for number, (method, curves) in enumerate(self._curves.items()):
            if not curves:
                continue
            own = color if method == "search" else f"C{number}"
            look: dict[str, Any] = {
                "color": _COLORS.get(method, own),
                "label": METHODS.get(method, method),
            }
            if method == _REFERENCE:
                axes.axhline(curves[0][-1][1], linewidth=1.2, linestyle=":", **look)
                shown.append(curves[0][-1][1])
                continue
            start = max(curve[0][0] for curve in curves)
            grid = np.unique(np.geomspace(start, max(last, start + 1), 400).astype(int))
            losses = np.array([[_loss_at(curve, at) for at in grid] for curve in curves])[..., 0]
            low, median, high = losses.min(axis=0), np.median(losses, axis=0), losses.max(axis=0)
            band = {"color": look["color"], "alpha": 0.18, "linewidth": 0}
            axes.fill_between(grid, low, high, step="post", **band)
            axes.step(grid, median, where="post", linewidth=1.6, **look)
            if method != "greedy":
                late = grid >= last / _SHOWN_FROM
                shown += [float(median[late].max()), float(low.min())]
        axes.set_xscale("log")
        plain_numbers(axes.xaxis)
        # greedy selection begins without any function, and other methods with genomes that may not
        # even be language models: their first losses lie far above all others
        margin = 0.08 * (max(shown) - min(shown)) + 1e-4
        axes.set_ylim(min(shown) - margin, max(shown) + margin)
        axes.set_xlabel("evaluations")
        axes.set_ylabel("best loss, nats per token")
        figure.legend(loc="outside upper center", ncols=2)
        return figure

    @classmethod
    def section(cls, run: Run, family: str, note: Mapping[str, Any]) -> ReportSection:
        """Return the section on the family that `clso rivals` has searched."""
        rivals, models = cls(run.rivals, note["evaluations"]), Models(run.manifest)
        caption = (
            f"Best loss on the {note['searched_on']} by evaluations: median and range over "
            f"{counted(note['seeds'], 'seed')}. Each model is one {models.title(family)} of "
        )
        if note["functions"] is None:
            caption += f"{counted(note['slots'], 'gene')}."
            if note["start"]:
                caption += (
                    " The search and coordinate descent begin with "
                    f"{counted(note['start'], 'assembled genome')}."
                )
        else:
            caption += (
                f"{note['slots']} out of {counted(note['functions'], 'function')}; "
                "dotted: all of them at once."
            )
        draw = partial(rivals.figure, models.color(family))
        picture = Picture(f"rivals-{family}", draw, caption, "No search has a finite loss.")
        return ReportSection(
            "The search and simpler ones",
            [rivals.sentence(), picture, rivals.table()],
            f"rivals-{family}",
        )


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
    # a method without randomness has one row, which is compared with every seed
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
