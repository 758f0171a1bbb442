"""Differences between the models of a run: against the rivals that matter, then all other pairs.

The rivals that matter are AdamW's GPT-2, for every model, and the lowest floor, for the best
gradient-free model. Validation says which floor and which model these are, so that the test split
chooses nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from clso.artifacts import Run
from clso.report.formats import LOSS, NOT_MEASURED, SHARE, counted
from clso.report.html import Block
from clso.report.models import Models
from clso.report.table import Cell, Table
from clso.statistics.bootstrap import FLOORS

__all__ = [
    "comparison_table",
    "difference_blocks",
    "established",
    "no_interval_reason",
    "turned",
]

_OTHERS = "Other pairs"

Row = Mapping[str, Any]
Pair = tuple[str, str]


def difference_blocks(run: Run) -> list[str | Table | Block]:
    """Return what the report says about differences; pairs that matter less are folded away."""
    if not run.has("comparisons"):
        return [Block("missing", "Not there yet: clso analyze CONFIG makes it.")]
    table = comparison_table(run)
    if not table.rows:
        return [Block("missing", "There are no two models to compare.")]
    others = next((place for place, row in enumerate(table.rows) if row.cells[0] == _OTHERS), None)
    first, rest = table.split(len(table.rows) if others is None else others)
    blocks: list[str | Table | Block] = [
        "Test loss of the first model minus that of the second, so a negative number favours the "
        "first. Intervals are paired bootstraps. A difference is established if its intervals over "
        "documents and over blocks both exclude zero.",
    ]
    if reason := no_interval_reason(run.comparisons.to_pylist()):
        blocks.append(f"{reason[0].upper()}{reason[1:]}.")
    if first.rows:
        blocks.append(first)
    if rest.rows:
        del rest.rows[0]  # its heading is the summary
        label = f"{_OTHERS if first.rows else 'All pairs'} ({len(rest.rows)})"
        blocks.append(Block("details", (label, rest)))
    return blocks


def comparison_table(run: Run) -> Table:
    """Return a row per pair of models, in groups: against gradient models, a floor, other pairs.

    One model is better than another if the intervals over documents and over blocks both exclude
    zero; where documents give no interval, that over blocks decides.

    Raises:
        ArtifactError: the run has no comparisons yet.
    """
    comparisons, models = run.comparisons.to_pylist(), Models(run.manifest)
    results = run.results.to_pylist() if run.has("results") else []
    confidence = f"{SHARE.text(comparisons[0]['confidence'])} " if comparisons else ""
    table = Table(
        "Differences of test losses",
        ["models", "difference", "over documents", "over blocks"],
        [f"Nats per token, {confidence}intervals, paired bootstrap."],
    )
    for heading, group in groupby(_grouped(comparisons, results, models), key=lambda line: line[0]):
        table.add(heading, emphasis="group")
        for _, units in group:
            row = next(iter(units.values()))
            a, b = (models.title(row[name]) for name in ("model_a", "model_b"))
            rows = [units.get("document"), units.get("block")]
            table.add(
                (f"{a} minus {b}", _verdict(a, b, rows)),
                LOSS.signed(row["difference"]),
                *map(_interval, rows),
            )
    return table


def _grouped(
    comparisons: Sequence[Row], results: Sequence[Row], models: Models
) -> Iterator[tuple[str, dict[str, Row]]]:
    """Yield the heading and the rows by unit of every pair, group by group.

    Rows that are stored the other way round are turned, so that the rival stands second.
    """
    pairs: dict[Pair, dict[str, Row]] = {}
    for row in comparisons:
        pairs.setdefault((row["model_a"], row["model_b"]), {})[row["unit"]] = row
    contender, floor = Models.contender(results), _lowest_floor(results)
    losses = {row["model"]: row["test_loss"] for row in results}
    names = sorted(
        models.ordered(name for pair in pairs for name in pair),
        key=lambda name: losses.get(name, math.inf),
    )
    matters: dict[str, list[Pair]] = {
        f"Against {models.subject(rival)}": [(name, rival) for name in names if name not in FLOORS]
        for rival in Models.ranked_rivals(names)
    }
    if contender is not None and floor is not None:
        heading = f"Against the lowest floor, the {models.title(floor)}"
        matters[heading] = [(contender["model"], floor)]
    for heading, wanted in matters.items():
        for a, b in wanted:
            if (a, b) in pairs:
                yield heading, pairs.pop((a, b))
            elif (b, a) in pairs:
                yield heading, {unit: turned(row) for unit, row in pairs.pop((b, a)).items()}
    for units in pairs.values():
        yield _OTHERS, units


def _lowest_floor(results: Sequence[Row]) -> str | None:
    floors = [row for row in results if row["model"] in FLOORS and row["model"] != "uniform"]
    lowest = min(
        floors,
        key=lambda row: math.inf if row["validation_loss"] is None else row["validation_loss"],
        default=None,
    )
    return None if lowest is None else str(lowest["model"])


def turned(row: Row) -> Row:
    """Return the comparison of b with a from that of a with b."""
    low, high = row["ci_low"], row["ci_high"]
    return {
        **row,
        "model_a": row["model_b"],
        "model_b": row["model_a"],
        "difference": -row["difference"],
        "ci_low": None if high is None else -high,
        "ci_high": None if low is None else -low,
    }


def no_interval_reason(comparisons: Sequence[Row]) -> str:
    """Say why comparisons have no interval over documents, or none at all; else empty."""
    units = {row["unit"]: row["n_units"] for row in comparisons if row["n_units"] < 2}
    if not units:
        return ""
    if "block" in units:
        return (
            "there are no intervals: the test split is too small, a single block, and resampling "
            "needs two or more"
        )
    return (
        "there are no intervals over documents: the test split is a single document, and "
        "resampling needs two or more"
    )


def _interval(row: Row | None) -> Cell:
    if row is None:
        return NOT_MEASURED
    units = counted(row["n_units"], row["unit"])
    return LOSS.interval(row["ci_low"], row["ci_high"], signed=True), units


def established(rows: Iterable[Row | None]) -> int | None:
    """Return the sign of a difference that every interval establishes.

    `rows` are the comparisons of two models, one per unit. 0: an interval contains zero, or two
    lie on different sides of it; `None`: there is no interval.
    """
    signs = {
        int(row["ci_low"] > 0.0) - int(row["ci_high"] < 0.0)
        for row in rows
        if row is not None and row["ci_low"] is not None
    }
    if not signs:
        return None
    return signs.pop() if len(signs) == 1 else 0


def _verdict(a: str, b: str, rows: Sequence[Row | None]) -> str:
    sign = established(rows)
    if sign is None:
        return "no interval"
    units = [row["unit"] for row in rows if row is not None and row["ci_low"] is not None]
    basis = "" if "document" in units else " (over blocks)"
    if sign == 0:
        return f"no difference established{basis}"
    return f"{a if sign < 0 else b} is better{basis}"
