"""Looking at stored runs: find, list, show, compare."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import pyarrow as pa
from rich.markup import escape
from rich.table import Table

from clso.artifacts import Run, list_runs, load_run
from clso.errors import ArtifactError
from clso.report.formats import (
    format_duration,
    format_energy,
    format_loss,
    model_label,
)
from clso.report.tables import comparison_table, result_table
from pipelines.console import console
from pipelines.show_studies import show_studies

__all__ = [
    "find_model",
    "find_run",
    "runs_table",
    "show_outcome",
    "show_run",
]


def find_run(name: str, out: Path) -> Run:
    """Open a run by its id, its folder, its configuration's name, the start of its id, or `latest`.

    A configuration's name means its newest run.

    Raises:
        ArtifactError: no run or more than one answers to the name, or it is damaged.
    """
    runs = list_runs(out / "runs")
    if name == "latest":
        if not runs:
            raise ArtifactError(f"there is no run in {out}", remedy="make one: `clso run CONFIG`")
        return load_run(runs[-1])
    if name and Path(name).is_dir():
        return load_run(Path(name))
    if named := [path for path in runs if name in (path.name, path.name.rpartition("-")[0])]:
        return load_run(named[-1])
    matches = [path for path in runs if name and path.name.startswith(name)]
    if len(matches) == 1:
        return load_run(matches[0])
    if matches:
        raise ArtifactError(
            f"{name!r} could be {', '.join(path.name for path in matches)}",
            remedy="give more of the id",
        )
    raise ArtifactError(f"there is no run {name!r} in {out}", remedy="`clso ls` lists the runs")


def find_model(run: Run, name: str | None) -> Path:
    """Return the folder of one of a run's models.

    Args:
        run: where to look.
        name: the folder's name; `None`: the model with the lowest validation loss.

    Raises:
        ArtifactError: the run has no such model, or it is not known which one is the best.
    """
    homes = {path.parent.name: path.parent for path in run.path.glob("models/*/model.safetensors")}
    if name is None and len(homes) > 1:
        name = _best_model(run, homes)
    elif name is None and homes:
        (name,) = homes
    if name not in homes:
        raise ArtifactError(
            f"run {run.run_id} has no model{'' if name is None else f' {name!r}'}",
            remedy=f"it has {', '.join(sorted(homes))}"
            if homes
            else "run its search or baseline first",
        )
    return homes[name]


def _best_model(run: Run, names: Collection[str]) -> str:
    rows = run.results.to_pylist() if run.has("results") else []
    losses: dict[str, float] = {
        row["model"]: row["validation_loss"]
        for row in rows
        if row["model"] in names and row["validation_loss"] is not None
    }
    if not losses:
        raise ArtifactError(
            f"run {run.run_id} has no results yet that say which of its models is the best",
            remedy=f"name one with --model: it has {', '.join(sorted(names))}",
        )
    return min(losses, key=losses.__getitem__)


def runs_table(out: Path) -> Table:
    """Return the runs of an output folder as a table, the newest first.

    Raises:
        ArtifactError: there are none.
    """
    runs = list_runs(out / "runs")
    if not runs:
        raise ArtifactError(f"there is no run in {out}", remedy="make one: `clso run CONFIG`")
    table = Table(title=f"runs in {out}", title_justify="left")
    for column in ("run", "stages", "best", "test loss", "energy"):
        table.add_column(column, justify="right" if column in ("test loss", "energy") else "left")
    for path in reversed(runs):
        try:
            run = load_run(path)
            results = run.results.sort_by("test_loss").to_pylist() if run.has("results") else []
        except ArtifactError as error:
            table.add_row(escape(path.name), f"[red]{escape(error.message)}")
            continue
        best = results[0] if results else None
        table.add_row(
            escape(run.run_id),
            _stages(run),
            model_label(best["model"]) if best else "",
            format_loss(best["test_loss"]) if best else "",
            format_energy(best["energy_j"]) if best else "",
        )
    return table


def _stages(run: Run) -> str:
    stages: dict[str, Any] = run.manifest.get("stages", {})
    if stages and all(stage["status"] == "done" for stage in stages.values()):
        return f"{len(stages)} done"
    return ", ".join(f"{name} {stage['status']}" for name, stage in stages.items())


def show_run(run: Run) -> None:
    """Print a run's stages, results, comparisons and energy."""
    console.print(f"[bold]{escape(run.run_id)}[/]  {escape(str(run.path))}", soft_wrap=True)
    for name, stage in run.manifest.get("stages", {}).items():
        console.print(f"  {name:<9} {stage['status']:<11} {stage['at']}")
    if run.has("results"):
        console.print(result_table(run))
    if run.has("comparisons"):
        console.print(comparison_table(run))
    if run.has("energy"):
        console.print(_energy_table(run.energy))
    show_studies(run)


def _energy_table(energy: pa.Table) -> Table:
    table = Table(title="energy by stage", title_justify="left")
    for column in ("stage", "device", "energy", "time", "source"):
        table.add_column(column, justify="right" if column in ("energy", "time") else "left")
    for row in energy.to_pylist():
        source = row["energy_source"] or "not measured"
        table.add_row(
            row["stage"] + (" (reused)" if row["reused"] else ""),
            row["device"],
            format_energy(row["energy_j"]),
            format_duration(row["duration_s"]),
            source + (", estimated" if row["estimated"] else ""),
        )
    return table


def show_outcome(path: Path) -> None:
    """Print what a command has made: the result table, or the stages so far."""
    run = load_run(path)
    if run.has("results"):
        console.print(result_table(run))
        console.print(f"report: {run.folder.report_path}", soft_wrap=True)
    else:
        stages = run.manifest.get("stages", {})
        done = ", ".join(name for name, stage in stages.items() if stage["status"] == "done")
        console.print(f"{run.run_id}: {done} done\n{run.path}", soft_wrap=True)
