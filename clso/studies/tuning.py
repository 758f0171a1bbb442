"""What a study found, and whether it is better than what was there.

The check runs the tuned settings and the run's own on seeds that tuned nothing, at one budget.
Differences are tuned minus default, seed by seed, with Student's t interval over seeds: it says
what other seeds of the searches would change, not other text. Both arms are judged by the blocks
that the study's trials were judged by, so what it gained by choosing those that suit these blocks
is in the figure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from rich.table import Table

from clso.report.formats import (
    NOT_MEASURED,
    format_energy,
    format_interval,
    format_loss,
    format_share,
)
from clso.report.plain_table import plain_table
from clso.statistics.paired import Difference

__all__ = [
    "ArmLine",
    "Check",
    "ParamLine",
    "TrialLine",
    "arm_lines",
    "check_of",
    "check_sentence",
    "check_table",
    "count_sentence",
    "param_lines",
    "param_table",
    "trial_lines",
    "tuned_front_table",
]

_DECIMALS = 4
_MIN_IMPORTANCE = 0.005

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Check:
    """The tuned settings against the run's own.

    Attributes:
        default_loss: mean over seeds, nats per token.
        tuned_loss: the same.
        difference: tuned minus default.
        n_won: seeds for which the tuned settings have the lower loss.
        n_seeds: seeds in all.
        same: whether all losses are the same: there was nothing better to find.
    """

    default_loss: float
    tuned_loss: float
    difference: Difference
    n_won: int
    n_seeds: int
    same: bool


@dataclass(frozen=True)
class ParamLine:
    """A hyperparameter as it is printed; bars before the importances are left to the figure."""

    name: str
    tuned: str
    default: str
    importance: str
    variance: str


@dataclass(frozen=True)
class ArmLine:
    """One seed of the check as it is printed."""

    seed: str
    default: str
    tuned: str
    difference: str


@dataclass(frozen=True)
class TrialLine:
    """One trial as it is printed."""

    number: str
    state: str
    loss: str
    energy: str
    params: str
    is_best: bool


def check_of(checks: pa.Table) -> Check | None:
    """Return how the arms stand; `None` where a search of one found no finite loss."""
    losses = _by_arm(checks)
    default, tuned = (np.asarray(list(losses[arm].values()), float) for arm in ("default", "tuned"))
    if not len(default) or not np.isfinite([default, tuned]).all():
        return None
    gaps = tuned - default
    return Check(
        default_loss=float(default.mean()),
        tuned_loss=float(tuned.mean()),
        difference=Difference.of(gaps),
        n_won=int((gaps < 0).sum()),
        n_seeds=len(gaps),
        same=not gaps.any(),
    )


def _by_arm(checks: pa.Table) -> dict[str, dict[int, float | None]]:
    found: dict[str, dict[int, float | None]] = {"default": {}, "tuned": {}}
    for row in checks.sort_by("seed").to_pylist():
        found[row["arm"]][row["seed"]] = row["loss"]
    return found


def check_sentence(check: Check | None) -> str:
    """Say whether the tuned settings beat the run's own, and do not where it is not sure."""
    if check is None:
        return "A search of the check found no finite loss, so there is nothing to compare."
    if check.same:
        return (
            f"On {check.n_seeds} other seeds the tuned settings do exactly as the default: "
            "the study found nothing better than what was there."
        )
    low, high = check.difference.low, check.difference.high
    assert low is not None
    assert high is not None
    verdict = "beat the default"
    if low > 0:
        verdict = "are worse than the default"
    elif high >= 0:
        verdict = "are not shown to beat the default, for the interval contains zero"
    return (
        f"On {check.n_seeds} seeds that tuned nothing, at the same budget, the tuned settings "
        f"{verdict}: {format_loss(check.tuned_loss, decimals=_DECIMALS)} against "
        f"{format_loss(check.default_loss, decimals=_DECIMALS)}, a difference of "
        f"{format_loss(check.difference.mean, signed=True, decimals=_DECIMALS)} nats per token "
        f"({_interval(check.difference)}, 95 % over seeds), lower for {check.n_won} of "
        f"{check.n_seeds}."
    )


def _interval(difference: Difference) -> str:
    return format_interval(difference.low, difference.high, signed=True, decimals=_DECIMALS)


def arm_lines(checks: pa.Table) -> list[ArmLine]:
    """Return the check seed by seed."""
    losses = _by_arm(checks)
    lines = []
    for seed, default in losses["default"].items():
        tuned = losses["tuned"].get(seed)
        gap = None if default is None or tuned is None else tuned - default
        lines.append(
            ArmLine(
                seed=str(seed),
                default=format_loss(default, decimals=_DECIMALS),
                tuned=format_loss(tuned, decimals=_DECIMALS),
                difference=format_loss(gap, signed=True, decimals=_DECIMALS),
            )
        )
    return lines


def param_lines(note: Row, importances: Sequence[Row]) -> list[ParamLine]:
    """Return what was tuned, that first which mattered most for the loss.

    Args:
        note: the manifest's entry `tune`.
        importances: rows of that table.
    """
    found = {
        (row["evaluator"], row["parameter"]): row["importance"]
        for row in importances
        if row["objective"] == "loss"
    }
    names = sorted(note["default"], key=lambda name: -found.get(("ped_anova", name), -1.0))
    return [
        ParamLine(
            name=name,
            tuned=_value(note["tuned"].get(name)),
            default=_value(note["default"][name]),
            importance=_importance(found.get(("ped_anova", name))),
            variance=_importance(found.get(("fanova", name))),
        )
        for name in names
    ]


def _value(value: object) -> str:
    if value is None:
        return NOT_MEASURED
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _importance(share: float | None) -> str:
    if share is None:
        return NOT_MEASURED
    return format_share(share) if share >= _MIN_IMPORTANCE else format_share(0.0)


def trial_lines(trials: Sequence[Row]) -> list[TrialLine]:
    """Return the trials, the best ones first, what has no loss last."""
    ordered = sorted(
        trials,
        key=lambda row: (
            row["loss"] is None,
            row["loss"] if row["loss"] is not None else 0.0,
            row["number"],
        ),
    )
    return [
        TrialLine(
            number=str(row["number"]),
            state=row["state"] if row["error"] is None else f"{row['state']}: {row['error']}",
            loss=format_loss(row["loss"], decimals=_DECIMALS),
            energy=format_energy(row["energy_j"]),
            params=", ".join(
                f"{name} {_value(value)}" for name, value in json.loads(row["params"]).items()
            ),
            is_best=row["is_best"],
        )
        for row in ordered
    ]


def count_sentence(trials: Sequence[Row], note: Row) -> str:
    """Say how many trials there were, what each was and what all of it took."""
    states = [row["state"] for row in trials]
    counts = [f"{states.count('complete')} complete"]
    counts += [
        f"{states.count(state)} {word}"
        for state, word in (("pruned", "pruned"), ("fail", "failed"))
        if state in states
    ]
    budget = note["budget"]
    spent = (
        f"{budget['evaluations']:,} evaluations"
        if budget["evaluations"] is not None
        else format_energy(budget["energy_j"])
    )
    text = (
        f"{len(states)} trials ({', '.join(counts)}), each a search of {spent} for each of "
        f"{len(note['seeds'])} seeds. The searches read the first half of the validation blocks; "
        "trials are judged by the second."
    )
    return text


def param_table(lines: Sequence[ParamLine]) -> Table:
    """Return what was tuned as a table for the terminal."""
    table = plain_table("best settings", "importance: PED-ANOVA, shares of one", padding=1)
    table.add_column("hyperparameter", overflow="fold")
    for name in ("tuned", "default", "importance"):
        table.add_column(name, justify="right")
    for line in lines:
        table.add_row(line.name, line.tuned, line.default, line.importance)
    return table


def check_table(lines: Sequence[ArmLine], check: Check | None) -> Table:
    """Return the check as a table for the terminal."""
    table = plain_table("tuned against default", "nats per token; tuned minus default", padding=1)
    table.add_column("seed")
    for name in ("default", "tuned", "difference"):
        table.add_column(name, justify="right")
    for line in lines:
        table.add_row(line.seed, line.default, line.tuned, line.difference)
    if check is not None:
        table.add_row(
            "[bold]mean[/]",
            format_loss(check.default_loss, decimals=_DECIMALS),
            format_loss(check.tuned_loss, decimals=_DECIMALS),
            f"{format_loss(check.difference.mean, signed=True, decimals=_DECIMALS)}\n"
            f"[dim]{_interval(check.difference)}[/dim]",
        )
    return table


def tuned_front_table(lines: Sequence[TrialLine]) -> Table:
    """Return the Pareto set as a table for the terminal."""
    table = plain_table(
        "Pareto set", "nats per token; joules of one search, mean over seeds", padding=1
    )
    table.add_column("trial")
    for name in ("loss", "energy"):
        table.add_column(name, justify="right")
    for line in lines:
        if line.is_best:
            table.add_row(line.number, line.loss, line.energy)
    return table
