"""The result tables, written once for the terminal and the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.markup import escape
from rich.table import Table

from clso.artifacts import Run
from clso.report.formats import (
    NOT_MEASURED,
    format_bytes,
    format_count,
    format_duration,
    format_energy,
    format_interval,
    format_loss,
    format_perplexity,
    format_share,
    format_source,
    model_label,
)
from clso.report.plain_table import plain_table
from clso.statistics.bootstrap import FLOORS

__all__ = [
    "ComparisonLine",
    "ResultLine",
    "comparison_lines",
    "comparison_table",
    "result_lines",
    "result_table",
]


@dataclass(frozen=True)
class ResultLine:
    """One model's numbers as they are printed."""

    model: str
    label: str
    is_floor: bool
    is_best: bool
    test_loss: str
    interval: str
    perplexity: str
    bits_per_byte: str
    validation_loss: str
    train_tokens: str
    energy: str
    source: str
    duration: str
    stored: str


@dataclass(frozen=True)
class ComparisonLine:
    """One difference of test losses as it is printed, with an interval per unit resampled."""

    label: str
    difference: str
    by_document: str
    n_documents: str
    by_block: str
    n_blocks: str
    verdict: str


def result_lines(results: Sequence[Mapping[str, Any]]) -> list[ResultLine]:
    """Return the result table's lines, the lowest test loss first."""
    rows = sorted(results, key=lambda row: row["test_loss"])
    return [
        ResultLine(
            model=row["model"],
            label=model_label(row["model"]),
            is_floor=row["model"] in FLOORS,
            is_best=position == 0,
            test_loss=format_loss(row["test_loss"]),
            interval=format_interval(row["ci_low"], row["ci_high"]),
            perplexity=format_perplexity(row["perplexity"]),
            bits_per_byte=format_loss(row["bits_per_byte"]),
            validation_loss=format_loss(row["validation_loss"]),
            train_tokens=format_count(row["train_tokens"]),
            energy=format_energy(row["energy_j"]),
            source=format_source(row["energy_source"], row["estimated"]),
            duration=format_duration(row["duration_s"]),
            stored=format_bytes(row["stored_bytes"]),
        )
        for position, row in enumerate(rows)
    ]


def comparison_lines(comparisons: Sequence[Mapping[str, Any]]) -> list[ComparisonLine]:
    """Return a line per pair of models, in the order of their first rows.

    The verdict is over documents, or over blocks where documents give no interval.
    """
    pairs: dict[tuple[str, str], dict[str, Mapping[str, Any]]] = {}
    for row in comparisons:
        pairs.setdefault((row["model_a"], row["model_b"]), {})[row["unit"]] = row
    lines = []
    for (model_a, model_b), units in pairs.items():
        a, b = model_label(model_a), model_label(model_b)
        document, block = units.get("document"), units.get("block")
        lines.append(
            ComparisonLine(
                label=f"{a} minus {b}",
                difference=format_loss(next(iter(units.values()))["difference"], signed=True),
                by_document=_interval(document),
                n_documents=_units(document),
                by_block=_interval(block),
                n_blocks=_units(block),
                verdict=_verdict(a, b, [document, block]),
            )
        )
    return lines


def _interval(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return format_interval(None, None)
    return format_interval(row["ci_low"], row["ci_high"], signed=True)


def _units(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return ""
    return f"{format_count(row['n_units'])} {row['unit']}{'s' if row['n_units'] != 1 else ''}"


def _verdict(a: str, b: str, rows: Sequence[Mapping[str, Any] | None]) -> str:
    for row in rows:
        if row is None or row["ci_low"] is None:
            continue
        basis = "" if row["unit"] == "document" else " (over blocks)"
        if row["ci_low"] <= 0.0 <= row["ci_high"]:
            return f"no difference established{basis}"
        return f"{a if row['difference'] < 0 else b} is better{basis}"
    return "no interval"


def result_table(run: Run) -> Table:
    """Return a run's result table for the terminal; it fits 80 columns.

    Raises:
        ArtifactError: the run has no results yet.
    """
    lines = result_lines(run.results.to_pylist())
    sources = sorted({line.source for line in lines if line.energy != NOT_MEASURED})
    energy = f"; energy: {'; '.join(sources)}" if sources else ""
    table = plain_table(
        f"run {escape(run.run_id)}",
        f"test loss in nats per token, below it the interval over documents{energy}",
    )
    table.add_column("model", no_wrap=True)
    for name in ("test loss", "perplexity", "bits/byte", "energy", "time", "stored"):
        table.add_column(name, justify="right", no_wrap=True)
    for line in lines:
        table.add_row(
            escape(line.label),
            f"{line.test_loss}\n[dim]{line.interval}[/dim]",
            line.perplexity,
            line.bits_per_byte,
            line.energy,
            line.duration,
            line.stored,
            style="bold" if line.is_best else "dim" if line.is_floor else "",
        )
    return table


def comparison_table(run: Run) -> Table:
    """Return a run's differences between models for the terminal; it fits 80 columns.

    Raises:
        ArtifactError: the run has no comparisons yet.
    """
    rows = run.comparisons.to_pylist()
    confidence = f"{format_share(rows[0]['confidence'])} " if rows else ""
    table = plain_table(
        "differences of test losses", f"nats per token, {confidence}intervals, paired bootstrap"
    )
    table.add_column("models")
    for name in ("difference", "over documents", "over blocks"):
        table.add_column(name, justify="right", no_wrap=True)
    for line in comparison_lines(rows):
        table.add_row(
            f"{escape(line.label)}\n[dim]{escape(line.verdict)}[/dim]",
            line.difference,
            f"{line.by_document}\n[dim]{line.n_documents}[/dim]",
            f"{line.by_block}\n[dim]{line.n_blocks}[/dim]",
        )
    return table
