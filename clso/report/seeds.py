"""One model over several seeds: what other draws of everything random would change.

Notation: L(m, s) is the test loss of model m in the run with seed s, in nats per token; all runs
score the same test tokens. A seed draws the initial weights, the order of blocks, the search, and
which documents tune is cut from and a budget takes. Intervals are Student's t over seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table

from clso.artifacts import Run
from clso.digest import digest_of
from clso.report.formats import format_interval, format_loss, model_label
from clso.statistics.bootstrap import ordered_models
from clso.statistics.paired import Difference

__all__ = ["SeedLine", "groups_of_seeds", "seed_lines", "seeds_table"]

RIVAL = "adamw"
# What names a run or says where it is done changes none of its losses.
_NAMELESS = ("name", "seed", "runtime")


@dataclass(frozen=True)
class SeedLine:
    """A model's test losses over seeds.

    Attributes:
        losses: L(m, s), in the order of the seeds.
        mean: over seeds.
        against_rival: L(m, s) minus that of AdamW's GPT-2 with the same seed; `None` for AdamW
            itself, and where a run has none.
    """

    model: str
    losses: tuple[float, ...]
    mean: Difference
    against_rival: Difference | None


def groups_of_seeds(runs: Sequence[Run]) -> list[list[Run]]:
    """Return those of the runs that differ from others in their seed alone, group by group."""
    groups: dict[str, dict[int, Run]] = {}
    for run in runs:
        settings = {name: value for name, value in run.config.items() if name not in _NAMELESS}
        groups.setdefault(digest_of(settings), {})[int(run.config["seed"])] = run
    return [[group[seed] for seed in sorted(group)] for group in groups.values() if len(group) > 1]


def seed_lines(runs: Sequence[Run]) -> list[SeedLine]:
    """Sum up every model that all runs have, in the order of result tables."""
    losses = [dict(_losses(run)) for run in runs]
    models = set.intersection(*(set(each) for each in losses))
    lines = []
    for model in ordered_models(list(models)):
        found = np.array([each[model] for each in losses])
        against = None
        if RIVAL in models and model != RIVAL:
            against = Difference.of(found - np.array([each[RIVAL] for each in losses]))
        lines.append(SeedLine(model, tuple(found.tolist()), Difference.of(found), against))
    return lines


def seeds_table(runs: Sequence[Run]) -> Table:
    """Return means over the runs' seeds with their intervals."""
    seeds = ", ".join(str(run.config["seed"]) for run in runs)
    table = Table(
        title=f"test loss over seeds {seeds}",
        title_justify="left",
        box=SIMPLE_HEAD,
        caption="nats per token, 95 % intervals over seeds; below: minus AdamW GPT-2's, paired",
        caption_justify="left",
    )
    table.add_column("model")
    for column in ("lowest", "mean", "highest"):
        table.add_column(column, justify="right")
    for line in seed_lines(runs):
        extremes = format_loss(min(line.losses)), format_loss(max(line.losses))
        table.add_row(model_label(line.model), extremes[0], _told(line.mean), extremes[1])
        if line.against_rival is not None:
            table.add_row("", "", _told(line.against_rival, signed=True), "")
    return table


def _losses(run: Run) -> list[tuple[str, float]]:
    return [(row["model"], row["test_loss"]) for row in run.results.to_pylist()]


def _told(value: Difference, *, signed: bool = False) -> str:
    interval = format_interval(value.low, value.high, signed=signed)
    return f"{format_loss(value.mean, signed=signed)} ({interval})"
