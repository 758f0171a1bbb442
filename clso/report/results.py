"""The result tables: every model's losses and costs, and the differences between models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from clso.artifacts import Run
from clso.report.differences import difference_blocks, no_interval_reason
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
from clso.report.table import Column, Emphasis, Table
from clso.statistics.bootstrap import FLOORS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["result_table", "results_section"]

Row = Mapping[str, Any]

_UNIFORM: Final = "uniform"
_FAR: Final = 0.25  # of the range of the other losses


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
            "tokens once, packed without padding. Floors, in grey, only count tokens. In the "
            "figure the thin line is the interval over documents, the thick one that over blocks.",
            Picture("results", draw, alt=f"Test loss by model: {losses}"),
            table.select(
                ["model", "test loss", "perplexity", "bits/byte", "validation"],
                title="Quality",
            ),
            table.select(
                ["model", "train tokens", "energy", "time", "stored"],
                title="Cost of making each model; a dash means not measured",
            ),
            Block("heading", "Differences"),
            *difference_blocks(run),
        ],
        "results",
    )


def result_table(run: Run) -> Table:
    """Return a run's models, the lowest test loss first.

    Raises:
        ArtifactError: the run has no results yet.
    """
    rows = _ranked(run.results)
    models = Models(run.manifest)
    sources = {
        format_source(row["energy_source"], row["estimated"])
        for row in rows
        if row["energy_j"] is not None
    }
    energy_note = f"Energy: {'; '.join(sorted(sources))}." if sources else ""
    table = Table(
        f"Run {run.run_id}",
        [
            "model",
            Column("test loss", note=_loss_note(run)),
            "perplexity",
            "bits/byte",
            Column("validation", optional=1),
            Column("train tokens", optional=2),
            Column("energy", note=energy_note),
            "time",
            "stored",
        ],
    )
    for place, row in enumerate(rows):
        source = format_source(row["energy_source"], row["estimated"])
        floor: Emphasis = "muted" if row["model"] in FLOORS else ""
        kind = models.kind(row["model"])
        table.add(
            (models.title(row["model"]), kind) if kind else models.title(row["model"]),
            (LOSS.text(row["test_loss"]), _intervals(row)),
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


def _intervals(row: Row) -> str:
    """Return a loss's intervals over documents and over blocks, a line each."""
    ends = [(row["ci_low"], row["ci_high"]), (row["block_ci_low"], row["block_ci_high"])]
    lines = [LOSS.interval(low, high) for low, high in ends]
    return "\n".join(lines) if set(lines) != {NOT_MEASURED} else NOT_MEASURED


def _loss_note(run: Run) -> str:
    """Say what the losses are in, and what their intervals are or why there are none."""
    comparisons = run.comparisons.to_pylist() if run.has("comparisons") else []
    lows = [*run.results["ci_low"].to_pylist(), *run.results["block_ci_low"].to_pylist()]
    if any(low is not None for low in lows):
        share = "".join(f"{SHARE.text(row['confidence'])} " for row in comparisons[:1])
        row = run.results.slice(0, 1).to_pylist()[0]
        documents = counted(row["test_documents"], "document")
        return (
            f"Losses in nats per token; below each test loss its {share}intervals, by bootstrap "
            f"over {documents} and over {counted(row['test_blocks'], 'block')}."
        )
    reason = no_interval_reason(comparisons) or "there are no intervals over documents or blocks"
    return f"Losses in nats per token; {reason}."


@styled
def _results_figure(results: pa.Table, models: Models) -> Figure | None:
    """Draw each model's test loss with its intervals, in the order of the result table.

    The thin line is the interval over documents, the thick one that over blocks.

    The uniform floor, far from all others, stands at the edge with an arrow.
    """
    rows = _ranked(results)[::-1]
    if not rows:
        return None
    figure, axes = new_figure(0.9 + 0.34 * len(rows), grid="x")
    far = _far_floor(rows)
    for height, row in enumerate(rows):
        color = models.color(row["model"])
        text: dict[str, Any] = {"va": "bottom", "fontsize": 8}
        if row is far:
            place, units = (1.0, height), axes.get_yaxis_transform()
            axes.plot(*place, ">", ms=7, color=color, transform=units, clip_on=False)
            label = f"{LOSS.text(row['test_loss'])}, off the scale"
            axes.annotate(label, place, (0, 6), units, "offset points", ha="right", **text)
            continue
        for unit, linewidth in (("", 1.5), ("block_", 4)):
            ends = [row[f"{unit}ci_low"], row[f"{unit}ci_high"]]
            if None not in ends:
                axes.plot(ends, [height] * 2, color=color, linewidth=linewidth)
        hollow = row["model"] in FLOORS
        axes.plot(
            row["test_loss"],
            height,
            marker="o",
            markersize=7,
            color=color,
            markerfacecolor="white" if hollow else color,
        )
        label, place = LOSS.text(row["test_loss"]), (row["test_loss"], height)
        axes.annotate(label, place, (0, 6), "data", "offset points", ha="center", **text)
    axes.set_yticks(range(len(rows)), [models.title(row["model"]) for row in rows])
    axes.set_ylim(-0.6, len(rows) - 0.2)
    axes.margins(x=0.12)
    axes.set_xlabel("test loss, nats per token (further left is better)")
    return figure


def _ranked(results: pa.Table) -> list[Row]:
    """Return the rows by test loss; models with equal losses keep their order."""
    return sorted(results.to_pylist(), key=lambda row: row["test_loss"])


def _far_floor(rows: Sequence[Row]) -> Row | None:
    """Return the row of the uniform floor if it would squeeze the others together."""
    losses = [row["test_loss"] for row in rows if row["model"] != _UNIFORM]
    for row in rows:
        if row["model"] == _UNIFORM and len(losses) > 1:
            gap = row["test_loss"] - max(losses)
            return row if gap > _FAR * (max(losses) - min(losses)) else None
    return None
