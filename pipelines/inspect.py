"""Looking at stored runs: find, list, show, compare."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

from rich.markup import escape

from clso.artifacts import Run, load_run, load_runs
from clso.errors import ArtifactError
from clso.report.energy import energy_table
from clso.report.formats import ENERGY, LOSS
from clso.report.html import ReportSection
from clso.report.models import Models
from clso.report.results import comparison_table, result_table
from clso.report.table import Column, Table
from clso.report.terminal import TerminalTable, print_section
from clso.studies import study_sections
from clso.studies.tuning import Tuning
from pipelines.console import console
from pipelines.families import FAMILIES

__all__ = [
    "find_model",
    "find_run",
    "is_plugin_model",
    "runs_table",
    "show_outcome",
    "show_run",
    "show_sections",
]


def find_run(name: str, out: Path) -> Run:
    """Open a run by its id, its folder, its configuration's name, the start of its id, or `latest`.

    A configuration's name means its newest run.

    Raises:
        ArtifactError: no run or more than one answers to the name, or it is damaged.
    """
    runs = Run.folders(out / "runs")
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
    homes = {
        path.name: path
        for path in run.path.glob("models/*")
        if (path / "model.safetensors").exists() or is_plugin_model(run, path.name)
    }
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


def is_plugin_model(run: Run, name: str) -> bool:
    """Return whether a model is that of a family of another package, which alone can open it."""
    return name in run.config.get("families", ()) and not FAMILIES.is_builtin(name)


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
    runs = load_runs(out).to_pylist()
    if not runs:
        raise ArtifactError(f"there is no run in {out}", remedy="make one: `clso run CONFIG`")
    table = Table(
        f"Runs in {out}",
        [
            "run",
            Column("stages", text=True),
            Column("best", text=True),
            "test loss",
            Column("energy", optional=1),
        ],
    )
    for run in reversed(runs):
        losses = {
            name.removesuffix(".test_loss"): loss
            for name, loss in run.items()
            if name.endswith(".test_loss") and loss is not None
        }
        cells = ("", "", "")
        if losses:
            best = min(losses, key=losses.__getitem__)
            title = Models(load_run(run["path"]).manifest).title(best)
            cells = (title, LOSS.text(losses[best]), ENERGY.text(run[f"{best}.energy_j"]))
        stages = run["stages"] if run["error"] is None else run["error"]
        table.add(run["run_id"], stages or "", *cells)
    return table


def show_run(run: Run) -> None:
    """Print a run's stages, results, comparisons, energy and studies."""
    console.print(f"[bold]{escape(run.run_id)}[/]  {escape(str(run.path))}", soft_wrap=True)
    stages = run.manifest.get("stages", {})
    width = max(map(len, stages), default=0)
    for name, stage in stages.items():
        console.print(f"  {name:<{width}} {stage['status']:<11} {stage['at']}")
    if run.has("results"):
        console.print(TerminalTable(result_table(run)))
    if run.has("comparisons"):
        console.print(TerminalTable(comparison_table(run)))
    if run.has("energy"):
        console.print(TerminalTable(energy_table(run.energy, "Energy by stage")))
    show_sections(Tuning(run).sections() if run.has("trials") else study_sections(run))


def show_sections(sections: Iterable[ReportSection]) -> None:
    """Print sections of a report, without their figures."""
    for section in sections:
        print_section(console, section)


def show_outcome(path: Path) -> None:
    """Print what a command has made: the result table, or the stages so far."""
    run = load_run(path)
    if run.has("results"):
        console.print(TerminalTable(result_table(run)))
        console.print(f"report: {run.folder.report_path}", soft_wrap=True)
    else:
        stages = run.manifest.get("stages", {})
        done = ", ".join(name for name, stage in stages.items() if stage["status"] == "done")
        console.print(f"{run.run_id}: {done} done\n{run.path}", soft_wrap=True)
