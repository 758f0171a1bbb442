"""Models of a run made again and again: their joules, and ratios with intervals over repeats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa

from clso.report.formats import (
    DURATION,
    ENERGY,
    FINE_SHARE,
    NOT_MEASURED,
    NumberFormat,
    format_source,
    span,
)
from clso.report.models import Models
from clso.report.table import Cell, Table
from clso.statistics.bootstrap import BASELINES
from clso.statistics.ratios import Ratio

__all__ = ["repeats_table"]

Row = Mapping[str, Any]

_COLUMNS: Final[Mapping[str, NumberFormat]] = {
    "energy_j": ENERGY,
    "cpu_s": DURATION,
    "duration_s": DURATION,
}


def repeats_table(repeats: pa.Table, models: Models) -> Table:
    """Return means over repeats, and each gradient-free model's share of each gradient model's.

    A repeat that lacks a value, or whose two meters differ, does not count in that ratio.
    """
    by_model: dict[str, dict[int, Row]] = {}
    for row in repeats.to_pylist():
        by_model.setdefault(row["model"], {})[row["repeat"]] = row
    n_repeats = max((len(rows) for rows in by_model.values()), default=0)
    sources = sorted(
        {format_source(row["energy_source"], row["estimated"]) for row in repeats.to_pylist()}
    )
    table = Table(
        f"Models made again, {n_repeats} repeats",
        ["model", "energy", "CPU time", "wall time"],
        [
            "Below a mean, the least and the most. Below a share, its 95 % interval: Student's t "
            f"over the logarithms of paired repeats. Energy: {'; '.join(sources)}."
        ],
    )
    for model in models.ordered(by_model):
        rows = list(by_model[model].values())
        cells = [_mean([row[name] for row in rows], form) for name, form in _COLUMNS.items()]
        table.add(models.title(model), *cells)
    for model in models.ordered(by_model):
        if model in BASELINES:
            continue
        for rival in Models.ranked_rivals(by_model):
            pairs = [
                (by_model[model][number], by_model[rival][number])
                for number in sorted(by_model[model].keys() & by_model[rival].keys())
            ]
            label = (models.title(model), f"as a share of {models.subject(rival)}")
            table.add(label, *(_share(pairs, name) for name in _COLUMNS), emphasis="best")
    return table


def _mean(values: Sequence[float | None], form: NumberFormat) -> Cell:
    known = [value for value in values if value is not None]
    if not known:
        return NOT_MEASURED
    return form.text(sum(known) / len(known)), span(form.text(min(known)), form.text(max(known)))


def _share(pairs: Sequence[tuple[Row, Row]], name: str) -> Cell:
    known = [
        (a[name], b[name])
        for a, b in pairs
        if a[name] and b[name] and (name != "energy_j" or a["energy_source"] == b["energy_source"])
    ]
    if not known:
        return NOT_MEASURED
    ratio = Ratio.of(*np.array(known).T)
    if ratio.low is None or ratio.high is None:
        return FINE_SHARE.text(ratio.mean)
    return FINE_SHARE.text(ratio.mean), span(
        FINE_SHARE.text(ratio.low), FINE_SHARE.text(ratio.high)
    )
