"""The search against simpler ones at equal numbers of evaluations: differences and their table.

Notation: at a budget of e evaluations, a method's loss for a seed is the best that it had found
after e of them, or after its last if it ended before. Differences are search minus rival, seed by
seed; a method without randomness has one loss, which stands against every seed. Intervals are
Student's t over seeds: they say what other seeds of the searches would change, not other text.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from rich.table import Table

from clso.report.formats import format_count, format_interval, format_loss, format_share
from clso.report.plain_table import plain_table
from clso.statistics.paired import CONFIDENCE, Difference, tally

__all__ = [
    "METHODS",
    "Curve",
    "Duel",
    "RivalLine",
    "curves_of",
    "duels",
    "loss_at",
    "rival_lines",
    "rivals_sentence",
    "rivals_table",
]

Curve = list[tuple[int, float, float]]
"""Evaluations, loss and held-back loss at each step, ascending."""

METHODS: Final = {
    "search": "this search",
    "random": "random search",
    "greedy": "greedy forward selection",
    "top_weight": "heaviest of all at once",
    "all_at_once": "all at once, no limit",
}
"""Methods and what they are called; `search` is the one that the others are rivals of."""

_DECIMALS = 4


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


@dataclass(frozen=True)
class RivalLine:
    """A duel as it is printed."""

    evaluations: str
    rival: str
    search_loss: str
    rival_loss: str
    difference: str
    interval: str
    won: str
    held_back: str
    held_back_interval: str


def duels(rivals: pa.Table, budgets: Sequence[int]) -> list[Duel]:
    """Return the search against every rival at every budget at which both have a loss."""
    curves = {name: curves_of(rivals, name) for name in METHODS}
    found = []
    for budget in budgets:
        search = [loss_at(curve, budget) for curve in curves["search"]]
        for name in list(METHODS)[1:]:
            # the reference is no search: it stands beside every budget with all that it found
            spent = math.inf if name == "all_at_once" else budget
            rival = [loss_at(curve, spent) for curve in curves[name]]
            if not search or not rival or any(loss is None for loss in (*search, *rival)):
                continue
            ours, theirs = np.asarray(search, float), np.asarray(rival, float)
            # what has no randomness stands against every seed
            theirs = np.broadcast_to(theirs, ours.shape) if len(theirs) == 1 else theirs
            gaps = ours - theirs  # (n_seeds, 2)
            found.append(
                Duel(
                    evaluations=budget,
                    rival=name,
                    search_loss=float(ours[:, 0].mean()),
                    rival_loss=float(theirs[:, 0].mean()),
                    fitness=Difference.of(gaps[:, 0]),
                    held_back=Difference.of(gaps[:, 1]),
                    n_won=int((gaps[:, 0] < 0).sum()),
                    n_seeds=len(gaps),
                )
            )
    return found


def curves_of(rivals: pa.Table, method: str) -> list[Curve]:
    """Return a method's curve for every seed, in ascending order."""
    rows = rivals.filter(pc.field("method") == method)
    rows = rows.sort_by([("seed", "ascending"), ("evaluations", "ascending")]).to_pylist()
    return [
        [(row["evaluations"], row["loss"], row["held_back_loss"]) for row in group]
        for _, group in groupby(rows, key=lambda row: row["seed"])
    ]


def loss_at(curve: Curve, budget: float) -> tuple[float, float] | None:
    """Return both losses after so many evaluations; `None` before the first."""
    reached = [point for point in curve if point[0] <= budget]
    return reached[-1][1:] if reached else None


def rival_lines(found: Sequence[Duel]) -> list[RivalLine]:
    """Return duels as they are printed."""
    return [
        RivalLine(
            evaluations=format_count(duel.evaluations),
            rival=METHODS[duel.rival],
            search_loss=format_loss(duel.search_loss, decimals=_DECIMALS),
            rival_loss=format_loss(duel.rival_loss, decimals=_DECIMALS),
            difference=format_loss(duel.fitness.mean, signed=True, decimals=_DECIMALS),
            interval=_interval(duel.fitness),
            won=f"{duel.n_won} of {duel.n_seeds}",
            held_back=format_loss(duel.held_back.mean, signed=True, decimals=_DECIMALS),
            held_back_interval=_interval(duel.held_back),
        )
        for duel in found
    ]


def _interval(difference: Difference) -> str:
    return format_interval(difference.low, difference.high, signed=True, decimals=_DECIMALS)


def rivals_sentence(found: Sequence[Duel]) -> str:
    """Say how often the search wins for sure, wins or loses without certainty, loses for sure.

    All functions at once, the reference, are not held to as many slots and do not count.
    """
    rivals = [duel for duel in found if duel.rival != "all_at_once"]
    if not rivals:
        return "There is nothing to compare at these numbers of evaluations."
    fitness = tally([duel.fitness for duel in rivals])
    held_back = tally([duel.held_back for duel in rivals])
    return (
        f"Of {len(rivals)} comparisons at equal numbers of evaluations and slots, this search has "
        f"the lower loss in {fitness[0]} and the higher in {fitness[1]}; in {fitness[2]} the "
        f"{format_share(CONFIDENCE)} interval contains zero. On the blocks held back: "
        f"{held_back[0]} lower, {held_back[1]} higher, {held_back[2]} open."
    )


def rivals_table(found: Sequence[Duel]) -> Table:
    """Return duels as a table for the terminal; it fits 80 columns."""
    table = plain_table(
        "the search against simpler ones, at equal numbers of evaluations",
        "nats per token; search minus rival, so a negative number favours the search; "
        f"{format_share(CONFIDENCE)} intervals over seeds; held back: blocks no search read",
    )
    table.add_column("rival")
    for name in ("search", "rival", "difference", "won", "held back"):
        table.add_column(name, justify="right", no_wrap=True)
    for budget, group in groupby(rival_lines(found), key=lambda line: line.evaluations):
        table.add_row(f"[bold]{budget} evaluations[/]")
        for line in group:
            table.add_row(
                line.rival,
                line.search_loss,
                line.rival_loss,
                f"{line.difference}\n[dim]{line.interval}[/dim]",
                line.won,
                f"{line.held_back}\n[dim]{line.held_back_interval}[/dim]",
            )
    return table
