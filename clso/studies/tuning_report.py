"""A study's report: one HTML file without outside parts."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import yaml

from clso.artifacts import Run, atomic_write_bytes
from clso.errors import ArtifactError
from clso.report.formats import format_energy, format_interval, format_loss
from clso.report.page import Picture, page_template
from clso.studies.tuning import (
    Check,
    arm_lines,
    check_of,
    check_sentence,
    count_sentence,
    param_lines,
    trial_lines,
)

__all__ = ["FIGURES", "render_tuning_report", "write_tuning_report"]

FIGURES: Final = {
    "history": "Loss of each complete trial, and the lowest so far; pruned trials have none.",
    "pareto": "Loss and joules of each trial; on the front, nothing is lower in both.",
    "importances": "What the best trials have in common: importance of each hyperparameter for "
    "a low loss (PED-ANOVA).",
    "importances-energy_j": "The same for few joules.",
    "slice": "Loss by the hyperparameters that matter most; later trials are darker.",
    "parallel": "Each line is a trial: its loss, then its hyperparameters; the darker, the better.",
    "rank": "The two that matter most of those that every trial has, coloured by the trial's rank.",
}
"""The figures of a study that a page shows, in order, with what stands below them."""


def render_tuning_report(run: Run) -> str:
    """Return a study's report as one HTML page that asks nothing of any server.

    Args:
        run: the study's folder.

    Raises:
        ArtifactError: the study has not come to its end, or a table is damaged.
    """
    note: dict[str, Any] | None = run.manifest.get("tune")
    if note is None:
        raise ArtifactError(
            f"the study in {run.path} has not come to its end",
            remedy="`clso tune CONFIG` goes on with it",
        )
    trials = run.table("trials").to_pylist()
    checks = run.table("checks")
    check = check_of(checks)
    several = len(note["objectives"]) > 1
    lines = trial_lines(trials)
    return page_template("tuning.html.j2").render(
        name=run.path.name,
        run_id=run.run_id,
        family=note["family"],
        title=_title(check, note),
        sentence=check_sentence(check),
        counts=count_sentence(trials, note),
        facts=_facts(check, note, trials),
        several=several,
        front=[line for line in lines if line.is_best] if several else [],
        checks=arm_lines(checks),
        params=param_lines(note, run.table("importances").to_pylist()),
        trials=lines,
        pictures=_pictures(run),
        pruner=note["pruner"],
        storage=note["storage"],
        manifest=run.manifest,
        best=(run.path / "best.yaml").read_text(encoding="utf-8"),
        settings=yaml.safe_dump(run.config, sort_keys=False, default_flow_style=None, width=88),
    )


def write_tuning_report(run: Run) -> Path:
    """Write `report.html` into a study's folder and return its path.

    Raises:
        ArtifactError: as `render_tuning_report`, or the folder cannot be written.
    """
    atomic_write_bytes(run.folder.report_path, render_tuning_report(run).encode())
    return run.folder.report_path


def _title(check: Check | None, note: dict[str, Any]) -> str:
    subject = f"The {note['family']} search, tuned"
    if check is None:
        return f"{subject}: no check"
    if check.same:
        return f"{subject}: nothing better than the default"
    gap = format_loss(abs(check.difference.mean), decimals=4)
    low, high = check.difference.low, check.difference.high
    if high is not None and high < 0:
        return f"{subject}: {gap} nats per token below the default"
    if low is not None and low > 0:
        return f"{subject}: {gap} nats per token above the default"
    return f"{subject}: not shown to beat the default"


def _facts(
    check: Check | None, note: dict[str, Any], trials: list[dict[str, Any]]
) -> list[tuple[str, str, str]]:
    """Return the figures at the top: label, value, and what qualifies it."""
    facts = []
    if check is not None:
        other = f"{check.n_seeds} other seeds"
        gap = check.difference
        interval = format_interval(gap.low, gap.high, signed=True, decimals=4)
        facts += [
            ("tuned, held back", format_loss(check.tuned_loss, decimals=4), other),
            ("default, held back", format_loss(check.default_loss, decimals=4), other),
            ("difference", format_loss(gap.mean, signed=True, decimals=4), interval),
        ]
    searched = [row for row in trials if row["searches"]]
    joules = [row["energy_j"] for row in searched]
    total = (
        None
        if None in joules or not joules
        else sum(row["energy_j"] * row["searches"] for row in searched)
    )
    facts.append(("searches of all trials", format_energy(total), "each as if it paid for itself"))
    return facts


def _pictures(run: Run) -> list[Picture]:
    found = []
    for name, caption in FIGURES.items():
        path = run.folder.figures / f"{name}.svg"
        if path.exists():
            found.append(Picture(name, path.read_text(encoding="utf-8"), caption, ""))
    return found
