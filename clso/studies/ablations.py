"""An ablation's arms against its base: paired differences, their tests and their table.

Differences are arm minus base, seed by seed, so a negative number favours the arm. What an arm is
judged by is the loss on blocks that no search read; the p of all arms of a family are corrected
together (`clso.statistics.paired.holm`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from rich.markup import escape
from rich.table import Table

from clso.report.formats import (
    NOT_MEASURED,
    format_interval,
    format_loss,
    format_p,
    format_ratio,
    format_share,
    model_label,
)
from clso.report.plain_table import plain_table
from clso.statistics.paired import CONFIDENCE, Difference, holm, signed_rank, tally

__all__ = [
    "BASE",
    "Effect",
    "EffectLine",
    "ablation_families",
    "ablation_sentence",
    "ablations_table",
    "base_loss",
    "effect_lines",
    "effects",
]

BASE = "base"
"""The arm that the others are held against."""

_DECIMALS = 4


@dataclass(frozen=True)
class Effect:
    """One arm against the base, losses in nats per token.

    Attributes:
        factor: what differs.
        level: how.
        held_back_loss: mean over seeds, on what no search read.
        held_back: arm minus base, on the same.
        searched: arm minus base, on what both searched.
        p_value: of the paired t test on `held_back`, corrected.
        signed_rank_p: of Wilcoxon's test, corrected; `None` for too few seeds.
        energy_ratio: joules of its searches to those of the base's; `None`: not measured, or by
            other meters.
        n_seeds: that both have.
    """

    factor: str
    level: str
    held_back_loss: float
    held_back: Difference
    searched: Difference
    p_value: float | None
    signed_rank_p: float | None
    energy_ratio: float | None
    n_seeds: int


@dataclass(frozen=True)
class EffectLine:
    """An effect as it is printed."""

    factor: str
    level: str
    loss: str
    difference: str
    interval: str
    p_value: str
    signed_rank_p: str
    searched: str
    energy: str


def ablation_families(ablations: pa.Table) -> list[str]:
    """Return the families that were searched, in order."""
    return list(dict.fromkeys(ablations["family"].to_pylist()))


def effects(ablations: pa.Table, family: str) -> list[Effect]:
    """Return every arm of a family against its base, in the order of the table."""
    rows = ablations.filter(pc.field("family") == family).to_pylist()
    base = {row["seed"]: row for row in rows if row["arm"] == BASE}
    others: dict[str, list[Mapping[str, object]]] = {}
    for row in rows:
        if row["arm"] != BASE and row["seed"] in base:
            others.setdefault(row["arm"], []).append(row)
    gaps = {arm: _gaps(arm_rows, base) for arm, arm_rows in others.items()}  # (n_seeds, 2) each
    held_back = [Difference.of(gap[:, 0]) for gap in gaps.values()]
    by_t = holm([one.p_value for one in held_back])
    by_rank = holm([signed_rank(gap[:, 0]) for gap in gaps.values()])
    return [
        Effect(
            factor=str(arm_rows[0]["factor"]),
            level=str(arm_rows[0]["level"]),
            held_back_loss=_mean(arm_rows),
            held_back=difference,
            searched=Difference.of(gaps[arm][:, 1]),
            p_value=p_value,
            signed_rank_p=rank_p,
            energy_ratio=_energy_ratio(arm_rows, [base[row["seed"]] for row in arm_rows]),
            n_seeds=len(arm_rows),
        )
        for (arm, arm_rows), difference, p_value, rank_p in zip(
            others.items(), held_back, by_t, by_rank, strict=True
        )
    ]


def base_loss(ablations: pa.Table, family: str) -> float | None:
    """Return the base's mean held-back loss; `None` if it has no search yet."""
    rows = ablations.filter((pc.field("family") == family) & (pc.field("arm") == BASE))
    mean: float | None = pc.mean(rows["held_back_loss"]).as_py()
    return mean


def _gaps(
    rows: Sequence[Mapping[str, object]], base: Mapping[object, Mapping[str, object]]
) -> np.ndarray:
    def losses(row: Mapping[str, object]) -> np.ndarray:
        return np.array([row["held_back_loss"], row["loss"]], dtype=np.float64)

    return np.array([losses(row) - losses(base[row["seed"]]) for row in rows])


def _mean(rows: Sequence[Mapping[str, object]]) -> float:
    return float(np.mean([row["held_back_loss"] for row in rows]))


def _energy_ratio(
    rows: Sequence[Mapping[str, object]], base: Sequence[Mapping[str, object]]
) -> float | None:
    if len({row["energy_source"] for row in (*rows, *base)}) != 1 or rows[0]["energy_j"] is None:
        return None
    joules = [[row["energy_j"] for row in side] for side in (rows, base)]
    total, base_total = np.asarray(joules, dtype=np.float64).sum(axis=1).tolist()
    return total / base_total if base_total > 0 else None


def effect_lines(found: Sequence[Effect]) -> list[EffectLine]:
    """Return effects as they are printed."""
    return [
        EffectLine(
            factor=effect.factor,
            level=effect.level,
            loss=format_loss(effect.held_back_loss, decimals=_DECIMALS),
            difference=format_loss(effect.held_back.mean, signed=True, decimals=_DECIMALS),
            interval=_interval(effect.held_back),
            p_value=format_p(effect.p_value),
            signed_rank_p=format_p(effect.signed_rank_p),
            searched=format_loss(effect.searched.mean, signed=True, decimals=_DECIMALS),
            energy=NOT_MEASURED
            if effect.energy_ratio is None
            else format_ratio(effect.energy_ratio),
        )
        for effect in found
    ]


def _interval(difference: Difference) -> str:
    return format_interval(difference.low, difference.high, signed=True, decimals=_DECIMALS)


def ablation_sentence(found: Sequence[Effect]) -> str:
    """Say how many arms differ from the base for sure, before and after the correction."""
    if not found:
        return "There is no arm to hold against the base."
    lower, higher, still = tally([effect.held_back for effect in found])
    sure = sum(effect.p_value is not None and effect.p_value < 1 - CONFIDENCE for effect in found)
    return (
        f"Of {len(found)} arms against the base, {lower} have the lower loss on the blocks held "
        f"back and {higher} the higher; in {still} the {format_share(CONFIDENCE)} interval "
        f"contains zero. After Holm's correction for {len(found)} comparisons {sure} "
        f"{'differs' if sure == 1 else 'differ'} at p < {1 - CONFIDENCE:.2f}."
    )


def ablations_table(found: Sequence[Effect], family: str, base: float | None) -> Table:
    """Return effects as a table for the terminal; it fits 80 columns."""
    n_seeds = max((effect.n_seeds for effect in found), default=0)
    table = plain_table(
        f"ablation of the {model_label(family)}'s search, {n_seeds} seeds; "
        f"base {format_loss(base, decimals=_DECIMALS)}",
        "nats per token on blocks that no search read; arm minus base, so a negative number "
        f"favours the arm; {format_share(CONFIDENCE)} t intervals over seeds; p: paired t, below "
        "it Wilcoxon's signed ranks, both with Holm's correction; energy: ratio to the base",
    )
    table.add_column("level", overflow="fold")
    for name in ("loss", "difference", "p", "searched", "energy"):
        table.add_column(name, justify="right", no_wrap=True)
    for factor, group in groupby(effect_lines(found), key=lambda line: line.factor):
        table.add_row(f"[bold]{escape(factor)}[/]")
        for line in group:
            table.add_row(
                escape(line.level),
                line.loss,
                f"{line.difference}\n[dim]{line.interval}[/dim]",
                f"{line.p_value}\n[dim]{line.signed_rank_p}[/dim]",
                line.searched,
                line.energy,
            )
    return table
