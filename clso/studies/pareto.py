"""The Pareto front of loss and costs: what stands in the table `pareto`, as it is printed.

The front's members come by loss, the best first. Losses are those that selection read; those on
more of validation stand beside them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
from rich.box import SIMPLE_HEAD
from rich.table import Table

from clso.report.formats import (
    format_bytes,
    format_count,
    format_energy_per_token,
    format_loss,
    format_share,
    format_source,
    model_label,
)

__all__ = [
    "FrontLine",
    "front_lines",
    "front_rows",
    "front_sentences",
    "front_table",
    "pareto_families",
    "staircase",
]

Row = Mapping[str, Any]

_LINES: Final = 10
_DECIMALS: Final = 4
_NEAR: Final = 0.01  # "nearly as good": within this share of the lowest loss
_WORTH_SAYING: Final = 0.95  # of a saving: the share that is left
_OBJECTIVES: Final = {
    "loss": "loss",
    "stored_bytes": "stored bytes",
    "flops": "operations per token",
}

_COSTS: Final = {"stored_bytes": "stored_bytes", "flops": "flops_per_token"}  # and their columns


@dataclass(frozen=True)
class FrontLine:
    """A member of the front as it is printed."""

    genome_hash: str
    loss: str
    validation_loss: str
    stored: str
    flops: str
    energy: str


def pareto_families(pareto: pa.Table) -> list[str]:
    """Return the families that have a front, in the order of their rows."""
    return list(dict.fromkeys(pareto["family"].to_pylist()))


def front_rows(pareto: pa.Table, family: str) -> list[Row]:
    """Return a family's front, the lowest loss first."""
    rows = pareto.filter((pc.field("family") == family) & pc.field("on_front")).to_pylist()
    return sorted(rows, key=lambda row: (row["loss"], row["stored_bytes"], row["flops_per_token"]))


def staircase(rows: Sequence[Row], cost: str) -> list[Row]:
    """Return the rows that no cheaper one equals in loss, the cheapest first.

    Args:
        rows: evaluated models.
        cost: the column that counts; rows without a value do not.
    """
    priced = [row for row in rows if row[cost] is not None]
    steps: list[Row] = []
    for row in sorted(priced, key=lambda row: (row[cost], row["loss"])):
        if not steps or row["loss"] < steps[-1]["loss"]:
            steps.append(row)
    return steps


def front_lines(rows: Sequence[Row], limit: int = _LINES) -> list[FrontLine]:
    """Return a front as it is printed: both ends by loss, and what lies evenly between."""
    last = len(rows) - 1
    count = min(limit, len(rows))
    numbers = sorted({round(number * last / max(count - 1, 1)) for number in range(count)})
    return [
        FrontLine(
            genome_hash=rows[number]["genome_hash"],
            loss=format_loss(rows[number]["loss"], decimals=_DECIMALS),
            validation_loss=format_loss(rows[number]["validation_loss"], decimals=_DECIMALS),
            stored=format_bytes(rows[number]["stored_bytes"]),
            flops=format_count(rows[number]["flops_per_token"]),
            energy=format_energy_per_token(rows[number]["energy_j_per_token"]),
        )
        for number in numbers
    ]


def front_sentences(
    pareto: pa.Table, generations: pa.Table, family: str, objectives: Sequence[str]
) -> list[str]:
    """Say what the front is, how it grew, and where its joules come from."""
    sentences = (
        _front_sentence(pareto, family, objectives),
        _growth_sentence(generations, family),
        _energy_sentence(front_rows(pareto, family)),
    )
    return [sentence for sentence in sentences if sentence]


def _front_sentence(pareto: pa.Table, family: str, objectives: Sequence[str]) -> str:
    """Say how large the front is, and what being nearly as good as the best may save."""
    n_evaluated = pareto.filter(pc.field("family") == family).num_rows
    rows = front_rows(pareto, family)
    *all_but_last, last = (_OBJECTIVES[name] for name in objectives)
    named = f"{', '.join(all_but_last)} and {last}"
    best = rows[0]
    near = [row for row in rows if row["loss"] <= best["loss"] * (1 + _NEAR)]
    shares = {
        name: min(row[column] for row in near) / best[column]
        for name, column in _COSTS.items()
        if name in objectives
    }
    savings = [
        f"{format_share(share)} of its {_OBJECTIVES[name]}"
        for name, share in shares.items()
        if share < _WORTH_SAYING
    ]
    saved = (
        f" Within {format_share(_NEAR)} of that loss there are models with "
        f"{', or with '.join(savings)}."
        if savings
        else ""
    )
    return (
        f"Of {format_count(n_evaluated)} evaluated models, {format_count(len(rows))} are beaten by "
        f"no other in {named} at once: the front. The lowest loss, "
        f"{format_loss(best['loss'], decimals=_DECIMALS)}, takes "
        f"{format_bytes(best['stored_bytes'])} and {format_count(best['flops_per_token'])} "
        f"operations per token.{saved}"
    )


def _growth_sentence(generations: pa.Table, family: str) -> str:
    """Say how the hypervolume grew; empty while there is none."""
    rows = generations.filter(pc.field("family") == family).sort_by("generation").to_pylist()
    shares = [row["hypervolume"] for row in rows if row["hypervolume"] is not None]
    if not shares:
        return ""
    return (
        f"The front's hypervolume, in units of the box between the first generation's best and "
        f"worst values, rose from {shares[0]:.3f} after that generation to {shares[-1]:.3f} after "
        f"{format_count(len(rows))}."
    )


def _energy_sentence(rows: Sequence[Row]) -> str:
    """Say where the joules come from, and that nothing was chosen by them."""
    sources = {(row["energy_source"], row["estimated"]) for row in rows}
    if sources == {(None, None)}:
        return "Bytes and operations are counted; joules were not measured."
    named = "; ".join(sorted(format_source(*source) for source in sources))
    return (
        "Bytes and operations are counted. Joules are measured, once for each model of the front "
        f"when the search has ended ({named}), so no model was chosen by them."
    )


def front_table(rows: Sequence[Row], family: str) -> Table:
    """Return a front as a table for the terminal; it fits 80 columns."""
    tokens = rows[0]["tokens"] if rows else None
    table = Table(
        title=f"front of the {model_label(family)}: {format_count(len(rows))} models",
        caption=(
            f"nats per token; validation: on {format_count(tokens)} targets; operations are "
            "counted, joules measured, per token"
        ),
        title_justify="left",
        caption_justify="left",
        box=SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
    )
    table.add_column("genome")
    for name in ("loss", "validation", "stored", "operations", "energy"):
        table.add_column(name, justify="right", no_wrap=True)
    for line in front_lines(rows):
        table.add_row(
            line.genome_hash,
            line.loss,
            line.validation_loss,
            line.stored,
            line.flops,
            line.energy,
        )
    return table
