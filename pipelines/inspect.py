"""Looking at stored runs: list, show, compare, export."""

from __future__ import annotations

import shutil
from itertools import combinations
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from rich.markup import escape
from rich.table import Table

from clso.analysis.comparison import compare_models, ordered_models
from clso.analysis.formats import (
    format_duration,
    format_energy,
    format_interval,
    format_loss,
    model_label,
)
from clso.analysis.tables import comparison_table, result_table
from clso.artifacts import Run, list_runs, load_run, write_error
from clso.errors import ArtifactError, ClsoError
from pipelines.console import console

__all__ = [
    "compare_runs",
    "export_model",
    "find_run",
    "runs_table",
    "show_outcome",
    "show_run",
]


def find_run(name: str, out: Path) -> Run:
    """Open a run by its id, the start of its id, its folder, or `latest`.

    Raises:
        ArtifactError: no run or more than one answers to the name, or it is damaged.
    """
    runs = list_runs(out / "runs")
    if name == "latest":
        if not runs:
            raise ArtifactError(f"there is no run in {out}", remedy="make one: `clso run CONFIG`")
        return load_run(runs[-1])
    if Path(name).is_dir():
        return load_run(Path(name))
    matches = [path for path in runs if path.name == name] or [
        path for path in runs if path.name.startswith(name)
    ]
    if len(matches) == 1:
        return load_run(matches[0])
    if matches:
        raise ArtifactError(
            f"{name!r} could be {', '.join(path.name for path in matches)}",
            remedy="give more of the id",
        )
    raise ArtifactError(f"there is no run {name!r} in {out}", remedy="`clso ls` lists the runs")


def runs_table(out: Path) -> Table:
    """Return the runs of an output folder as a table, the newest first."""
    table = Table(title=f"runs in {out}", title_justify="left")
    for column in ("run", "stages", "best", "test loss", "energy"):
        table.add_column(column, justify="right" if column in ("test loss", "energy") else "left")
    for path in reversed(list_runs(out / "runs")):
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


def compare_runs(runs: list[Run]) -> None:
    """Print the runs' results together, with paired differences where the test text is the same.

    Raises:
        ArtifactError: one of them has no results yet.
    """
    table = Table(title="results", title_justify="left")
    for column in ("run", "model", "test loss", "interval", "bits/byte", "energy"):
        table.add_column(column, justify="left" if column in ("run", "model") else "right")
    for run in runs:
        for row in run.results.sort_by("test_loss").to_pylist():
            table.add_row(
                escape(run.run_id),
                model_label(row["model"]),
                format_loss(row["test_loss"]),
                format_interval(row["ci_low"], row["ci_high"]),
                format_loss(row["bits_per_byte"]),
                format_energy(row["energy_j"]),
            )
    console.print(table)
    for run_a, run_b in combinations(runs, 2):
        _compare_pair(run_a, run_b)


def _compare_pair(run_a: Run, run_b: Run) -> None:
    names = f"{escape(run_a.run_id)} minus {escape(run_b.run_id)}"
    fingerprints = {run.manifest.get("data_fingerprint") for run in (run_a, run_b)}
    blocks = {run.config.get("data", {}).get("block_size") for run in (run_a, run_b)}
    if len(fingerprints) > 1 or len(blocks) > 1:
        console.print(f"{names}: other data, tokens or blocks, so losses cannot be paired")
        return
    shared = set(run_a.results["model"].to_pylist()) & set(run_b.results["model"].to_pylist())
    for model in ordered_models(list(shared)):
        both = pa.concat_tables(
            [_renamed(run_a.scores, model, "a"), _renamed(run_b.scores, model, "b")]
        )
        for row in compare_models(both, "a", "b"):
            interval = format_interval(row["ci_low"], row["ci_high"], signed=True)
            console.print(
                f"{names}, {model_label(model)}: {format_loss(row['difference'], signed=True)} "
                f"nats per token, {interval} over {row['n_units']} {row['unit']}s",
                soft_wrap=True,
            )


def _renamed(scores: pa.Table, model: str, name: str) -> pa.Table:
    chosen = scores.filter(pc.field("model") == model)
    column = chosen.column_names.index("model")
    field = chosen.schema.field(column)
    return chosen.set_column(column, field, pa.array([name] * chosen.num_rows, field.type))


def export_model(run: Run, model: str, to: Path) -> None:
    """Copy a model's checkpoint and tokenizer.

    Raises:
        ClsoError: the target exists.
        ArtifactError: the run has no such model, or the target cannot be written.
    """
    home = run.folder.model(model)
    if not home.is_dir():
        there = sorted(path.name for path in home.parent.glob("*") if path.is_dir())
        raise ArtifactError(
            f"run {run.run_id} has no model {model!r}",
            remedy=f"it has {', '.join(there)}" if there else "run its search or baseline first",
        )
    if to.exists():
        raise ClsoError(f"{to} exists already", remedy="name a folder that does not exist yet")
    try:
        shutil.copytree(home, to)
    except OSError as error:
        shutil.rmtree(to, ignore_errors=True)
        raise write_error(to, error) from error
