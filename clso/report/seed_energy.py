"""Energy of making over the seeds of runs, and its ratio to that of the gradient models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from clso.artifacts import Run
from clso.report.formats import ENERGY, FINE_SHARE, NOT_MEASURED, format_source, span
from clso.report.models import Models
from clso.report.table import Cell, Table
from clso.statistics.bootstrap import FLOORS
from clso.statistics.ratios import Ratio

__all__ = ["seed_energy_table"]

Row = Mapping[str, Any]


def seed_energy_table(runs: Sequence[Run], models: Models) -> Table | None:
    """Return a row per model that all runs have, floors left out; `None` without joules.

    A share is a ratio within a run, so that seeds pair it. It is left out where meters differ.
    """
    rows = [{row["model"]: row for row in run.results.to_pylist()} for run in runs]
    names = [
        name
        for name in models.ordered(set.intersection(*map(set, rows)))
        if name not in FLOORS and all(by_model[name]["energy_j"] for by_model in rows)
    ]
    if not names:
        return None
    rivals = Models.ranked_rivals(names)
    used = [by_model[name] for by_model in rows for name in names]
    sources = sorted({format_source(row["energy_source"], row["estimated"]) for row in used})
    table = Table(
        f"Energy of making over seeds {', '.join(str(run.config['seed']) for run in runs)}",
        ["model", "mean", *(f"share of {models.title(rival)}" for rival in rivals)],
        [
            "Below a mean, the least and the most. Below a share, its 95 % interval over seeds: "
            f"Student's t over logarithms. Energy: {'; '.join(sources)}."
        ],
    )
    for name in names:
        joules = [by_model[name]["energy_j"] for by_model in rows]
        ends = span(ENERGY.text(min(joules)), ENERGY.text(max(joules)))
        shares = [
            _share([by_model[name] for by_model in rows], [by_model[rival] for by_model in rows])
            if name != rival
            else NOT_MEASURED
            for rival in rivals
        ]
        table.add(models.title(name), (ENERGY.text(sum(joules) / len(joules)), ends), *shares)
    return table


def _share(a: Sequence[Row], b: Sequence[Row]) -> Cell:
    if any(x["energy_source"] != y["energy_source"] for x, y in zip(a, b, strict=True)):
        return NOT_MEASURED
    ratio = Ratio.of(*(np.array([row["energy_j"] for row in rows]) for rows in (a, b)))
    if ratio.low is None or ratio.high is None:
        return FINE_SHARE.text(ratio.mean)
    return FINE_SHARE.text(ratio.mean), span(*map(FINE_SHARE.text, (ratio.low, ratio.high)))
