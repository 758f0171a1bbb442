"""The result tables: every model's losses and costs, and the differences between models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from clso.artifacts import Run
from clso.report.formats import (
    BYTES,
    COUNT,
    DURATION,
    ENERGY,
    LOSS,
    NOT_MEASURED,
    PERPLEXITY,
    SHARE,
    counted,
    format_source,
)
from clso.report.html import Block, Picture, ReportSection
from clso.report.models import Models
from clso.report.style import new_figure, styled
from clso.report.table import Cell, Column, Emphasis, Table
from clso.statistics.bootstrap import FLOORS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["comparison_table", "result_table", "results_section"]

Row = Mapping[str, Any]


def results_section(run: Run) -> ReportSection:
    """Return losses, costs and differences of all models."""
    if not run.has("results"):
        missing = "Not there yet: clso analyze CONFIG makes it."
        return ReportSection("Results", [Block("missing", missing)], "results")
    results, models = run.table("results"), Models(run.manifest)
    if not results.num_rows:
        return ReportSection("Results", [Block("missing", "There are no rows.")], "results")
    table = result_table(run)
    losses = ", ".join(f"{row.texts()[0][0]} {row.texts()[1][0]}" for row in table.rows)
    draw = partial(_results_figure, results, models)
    return ReportSection(
        "Results",
        [
            "Loss in nats per token on the test split, lowest first. Every model scores the same "
            "tokens once, packed without padding. Floors, in grey, only count tokens.",
            Picture("results", draw, alt=f"Test loss by model: {losses}"),
            table.select(
                ["model", "test loss", "perplexity", "bits/byte", "validation"],
                title="Quality",
                notes=table.notes[:1],
            ),
            table.select(
                ["model", "train tokens", "energy", "time", "stored"],
                title="Cost of making each model; a dash means not measured",
                notes=table.notes[1:],
            ),
            Block("heading", "Differences"),
            *_differences(run),
        ],
        "results",
    )


def _differences(run: Run) -> list[str | Table | Block]:
    if not run.has("comparisons"):
        return [Block("missing", "Not there yet: clso analyze CONFIG makes it.")]
    table = comparison_table(run)
    if not table.rows:
        return [Block("missing", "There are no two models to compare.")]
    return [
        "Test loss of the first model minus that of the second, so a negative number favours the "
        "first. Intervals are paired bootstraps. An interval that contains zero establishes no "
        "difference.",
        table,
    ]


def result_table(run: Run) -> Table:
    """Return a run's models, the lowest test loss first.

    Raises:
        ArtifactError: the run has no results yet.
    """
    rows = sorted(run.results.to_pylist(), key=lambda row: row["test_loss"])
    models = Models(run.manifest)
    confidence = run.comparisons["confidence"].to_pylist()[:1] if run.has("comparisons") else []
    share = "".join(f"{SHARE.text(value)} " for value in confidence)
    sources = {
        format_source(row["energy_source"], row["estimated"])
        for row in rows
        if row["energy_j"] is not None
    }
    table = Table(
        f"Run {run.run_id}",
        [
            "model",
            "test loss",
            "perplexity",
            "bits/byte",
            Column("validation", optional=1),
            Column("train tokens", optional=2),
            "energy",
            "time",
            "stored",
        ],
        [
            f"Test and validation loss in nats per token; below each test loss its {share}interval "
            "(bootstrap over documents).",
            *([f"Energy: {'; '.join(sorted(sources))}."] if sources else []),
        ],
    )
    for place, row in enumerate(rows):
        source = format_source(row["energy_source"], row["estimated"])
        floor: Emphasis = "muted" if row["model"] in FLOORS else ""
        table.add(
            models.title(row["model"]),
            (LOSS.text(row["test_loss"]), LOSS.interval(row["ci_low"], row["ci_high"])),
            PERPLEXITY.text(row["perplexity"]),
            LOSS.text(row["bits_per_byte"]),
            LOSS.text(row["validation_loss"]),
            COUNT.text(row["train_tokens"]),
            (ENERGY.text(row["energy_j"]), source if len(sources) > 1 else ""),
            DURATION.text(row["duration_s"]),
            BYTES.text(row["stored_bytes"]),
            emphasis=floor if place else "best",
        )
    return table


def comparison_table(run: Run) -> Table:
    """Return a row per pair of models, in the order of their first rows.

    The verdict is over documents, or over blocks where documents give no interval.

    Raises:
        ArtifactError: the run has no comparisons yet.
    """
    comparisons, models = run.comparisons.to_pylist(), Models(run.manifest)
    pairs: dict[tuple[str, str], dict[str, Row]] = {}
    for row in comparisons:
        pairs.setdefault((row["model_a"], row["model_b"]), {})[row["unit"]] = row
    confidence = f"{SHARE.text(comparisons[0]['confidence'])} " if comparisons else ""
    table = Table(
        "Differences of test losses",
        ["models", "difference", "over documents", "over blocks"],
        [f"Nats per token, {confidence}intervals, paired bootstrap."],
    )
    for names, units in pairs.items():
        a, b = (models.title(name) for name in names)
        rows = [units.get("document"), units.get("block")]
        table.add(
            (f"{a} minus {b}", _verdict(a, b, rows)),
            LOSS.signed(next(iter(units.values()))["difference"]),
            *map(_interval, rows),
        )
    return table


def _interval(row: Row | None) -> Cell:
    if row is None:
        return NOT_MEASURED
    units = counted(row["n_units"], row["unit"])
    return LOSS.interval(row["ci_low"], row["ci_high"], signed=True), units


def _verdict(a: str, b: str, rows: Sequence[Row | None]) -> str:
    for row in rows:
        if row is None or row["ci_low"] is None:
            continue
        basis = "" if row["unit"] == "document" else " (over blocks)"
        if row["ci_low"] <= 0.0 <= row["ci_high"]:
            return f"no difference established{basis}"
        return f"{a if row['difference'] < 0 else b} is better{basis}"
    return "no interval"


@styled
def _results_figure(results: pa.Table, models: Models) -> Figure | None:
    """Draw each model's test loss with its interval, the best on top."""
    # equal losses stand in the order of the table
    rows = sorted(results.to_pylist(), key=lambda row: row["test_loss"])[::-1]
    if not rows:
        return None
    figure, axes = new_figure(0.9 + 0.34 * len(rows), grid="x")
    for height, row in enumerate(rows):
        color = models.color(row["model"])
        if row["ci_low"] is not None:
            axes.plot([row["ci_low"], row["ci_high"]], [height] * 2, color=color, linewidth=3)
        hollow = row["model"] in FLOORS
        axes.plot(
            row["test_loss"],
            height,
            marker="o",
            markersize=7,
            color=color,
            markerfacecolor="white" if hollow else color,
        )
        text, place = LOSS.text(row["test_loss"]), (row["test_loss"], height)
        look: dict[str, Any] = {"ha": "center", "va": "bottom", "fontsize": 8}
        axes.annotate(text, place, (0, 6), "data", "offset points", **look)
    axes.set_yticks(range(len(rows)), [models.title(row["model"]) for row in rows])
    axes.set_ylim(-0.6, len(rows) - 0.2)
    axes.margins(x=0.12)
    axes.set_xlabel("test loss, nats per token (further left is better)")
    return figure
