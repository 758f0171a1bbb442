"""Stored runs on a terminal: find, list, show and compare."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

from rich.text import Text

from clso.artifacts import Run, atomic_write_bytes, load_run, run_rows
from clso.errors import ArtifactError, shown
from clso.report.assumptions import assumptions_table
from clso.report.differences import comparison_table
from clso.report.energy import energy_table
from clso.report.formats import ENERGY, LOSS
from clso.report.html import ReportSection
from clso.report.models import Models
from clso.report.repeats import repeats_table
from clso.report.results import result_table
from clso.report.runs import RunSet
from clso.report.seed_energy import seed_energy_table
from clso.report.style import figure_svg
from clso.report.table import Column, Table
from clso.report.terminal import TerminalTable, print_section
from clso.report.use import use_sentences, use_table
from clso.studies import study_sections
from clso.studies.tuning import TuningReport
from pipelines.console import console

__all__ = [
    "compare_runs",
    "find_run",
    "runs_table",
    "show_energy",
    "show_outcome",
    "show_repeats",
    "show_run",
    "show_sections",
]


_NO_MANIFEST = (
    "its manifest.json is missing: the command that made the run writes it again, `clso rm` "
    "deletes the folder"
)


def find_run(name: str, out: Path) -> Run:
    """Open a run by its id, the start of its id, its folder, its configuration's name or `latest`.

    The name of a configuration stands for its newest run.

    Raises:
        ArtifactError: no run or several match the name, or the run is damaged.
    """
    runs = Run.folders(out / "runs")
    if name == "latest":
        if not runs:
            raise ArtifactError(f"there is no run in {out}", remedy="make one: `clso run CONFIG`")
        return load_run(runs[-1])
    if _is_there(name, "manifest.json"):
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
    if _is_there(name) and Path(name).is_dir():
        return load_run(Path(name))  # says what it lacks
    raise ArtifactError(
        f"there is no run {shown(name)} in {out}", remedy="`clso ls` lists the runs"
    )


def _is_there(name: str, inner: str = "") -> bool:
    """Return whether a name is that of a file or folder; not every text can be one."""
    try:
        return bool(name) and (Path(name) / inner).exists()
    except (OSError, ValueError):  # too long, or with NUL
        return False


def runs_table(out: Path) -> Table:
    """Return the runs of an output folder as a table, the newest first.

    Folders without a manifest come last.

    Raises:
        ArtifactError: there is no run.
    """
    runs = run_rows(out)
    known = {Path(run["path"]).name for run in runs}
    others = [path for path in sorted((out / "runs").glob("[!.]*/")) if path.name not in known]
    if not runs and not others:
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
            name: result["test_loss"]
            for name, result in run["results"].items()
            if result["test_loss"] is not None
        }
        cells = ("", "", "")
        if losses:
            best = min(losses, key=losses.__getitem__)
            title = _title(run["manifest"], best)
            cells = (title, LOSS.text(losses[best]), ENERGY.text(run["results"][best]["energy_j"]))
        stages = run["stages"] if run["error"] is None else run["error"]
        table.add(run["run_id"], stages or "", *cells)
    for path in others:
        table.add(path.name, _NO_MANIFEST, "", "", "")
    return table


def _title(manifest: Mapping[str, Any], model: str) -> str:
    try:
        return Models(manifest).title(model)
    except (AttributeError, LookupError, TypeError, ValueError):  # of a manifest that was edited
        return model


def show_run(run: Run) -> None:
    """Print a run's stages, results, comparisons, energy and studies."""
    console.print(Text.assemble((run.run_id, "bold"), f"  {run.path}"), soft_wrap=True)
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
    _show_conclusions(run)
    show_sections(TuningReport(run).sections() if run.has("trials") else study_sections(run))


def show_energy(run: Run) -> None:
    """Print the joules of a run: by stage, over repeats, under other assumptions, and in use.

    Raises:
        ArtifactError: the run has no table of energy yet.
    """
    console.print(TerminalTable(energy_table(run.energy, f"Energy by stage of {run.run_id}")))
    _show_conclusions(run)


def show_repeats(run: Run) -> None:
    """Print the energy of models that were made again."""
    table = repeats_table(run.folder.read("energy_repeats"), Models(run.manifest))
    console.print(TerminalTable(table))


def _show_conclusions(run: Run) -> None:
    if run.has("energy_repeats"):
        show_repeats(run)
    if not run.has("results"):
        return
    results, models = run.results.to_pylist(), Models(run.manifest)
    for table in (assumptions_table(results, models), use_table(results, models)):
        if table is not None:
            console.print(TerminalTable(table))
    for sentence in use_sentences(results, models):
        console.print(sentence)


def show_sections(sections: Iterable[ReportSection]) -> None:
    """Print sections of a report, without their figures."""
    for section in sections:
        print_section(console, section)


def show_outcome(run: Run) -> None:
    """Print the outcome of a command: the result table, or the finished stages."""
    if run.has("results"):
        console.print(TerminalTable(result_table(run)))
        console.print(f"report: {run.folder.report_path}", soft_wrap=True)
    else:
        stages = run.manifest.get("stages", {})
        done = ", ".join(name for name, stage in stages.items() if stage["status"] == "done")
        console.print(f"{run.run_id}: {done} done\n{run.path}", soft_wrap=True)


def compare_runs(runs: list[Run], figure: Path | None = None) -> None:
    """Print the results of runs, with paired differences where the test tokens are the same.

    Runs that differ in their seed alone have one summary table instead of a table per pair, also
    where each seed draws test documents of its own. The file `figure` gets loss against energy, as
    SVG.

    Raises:
        ArtifactError: a run has no results yet, or the figure cannot be written.
    """
    for run in runs:
        console.print(TerminalTable(result_table(run)))
    groups = RunSet(runs).groups_of_seeds()
    for group in groups:
        console.print(TerminalTable(group.seeds_table()))
        if (energy := seed_energy_table(group.runs, group.models)) is not None:
            console.print(TerminalTable(energy))
    summed_up = {
        frozenset((a.run_id, b.run_id)) for group in groups for a in group.runs for b in group.runs
    }
    for run_a, run_b in combinations(runs, 2):
        if {run_a.run_id, run_b.run_id} not in summed_up:
            pair = RunSet([run_a, run_b])
            if pair.same_targets():
                console.print(TerminalTable(pair.differences_table()))
            else:
                title = f"{run_a.run_id} minus {run_b.run_id}"
                console.print(f"{title}: other test tokens, so their losses cannot be paired")
    if figure is not None:
        _draw(runs, figure)


def _draw(runs: list[Run], path: Path) -> None:
    drawn = RunSet(runs).budgets_figure()
    if drawn is None:
        raise ArtifactError(
            "no run has measured joules, so there is no loss against energy to draw",
            remedy="leave --figure out, or run with an energy.meter",
        )
    alt = "Test loss against energy, a line per model over budgets of training tokens"
    atomic_write_bytes(path, figure_svg(drawn, "budgets", alt).encode())
    console.print(f"figure: {path}", soft_wrap=True)
