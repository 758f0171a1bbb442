"""Looking at stored runs: find, list, show, compare."""

from __future__ import annotations

from collections.abc import Collection
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
from clso.analysis.rivals import duels, rivals_sentence, rivals_table
from clso.analysis.tables import comparison_table, result_table
from clso.analysis.tuning import (
    arm_lines,
    check_of,
    check_sentence,
    check_table,
    front_table,
    param_lines,
    param_table,
    trial_lines,
)
from clso.artifacts import Run, atomic_write_bytes, list_runs, load_run
from clso.errors import ArtifactError
from pipelines.console import console

__all__ = [
    "compare_runs",
    "find_model",
    "find_run",
    "runs_table",
    "show_outcome",
    "show_rivals",
    "show_run",
    "show_tuning",
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
    if run.has("rivals"):
        show_rivals(run)
    if run.has("trials"):
        show_tuning(run)


def show_rivals(run: Run) -> None:
    """Print how the run's search stands against simpler ones.

    Raises:
        ArtifactError: `clso rivals` has not been run.
    """
    found = duels(run.rivals, run.manifest["rivals"]["evaluations"])
    console.print(rivals_table(found))
    console.print(rivals_sentence(found))


def show_tuning(run: Run) -> None:
    """Print what a study found, and how it stands against the run's own settings.

    Raises:
        ArtifactError: the study has not come to its end.
    """
    note = run.manifest.get("tune")
    if note is None:
        raise ArtifactError(
            f"the study in {run.path} has not come to its end",
            remedy="`clso tune CONFIG` goes on with it",
        )
    checks, check = run.table("checks"), check_of(run.table("checks"))
    if len(note["objectives"]) > 1:
        console.print(front_table(trial_lines(run.table("trials").to_pylist())))
    console.print(param_table(param_lines(note, run.table("importances").to_pylist())))
    console.print(check_table(arm_lines(checks), check))
    console.print(check_sentence(check))


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


def compare_runs(runs: list[Run], figure: Path | None = None) -> None:
    """Print the runs' results, with paired differences where the test tokens are the same.

    Args:
        runs: two or more.
        figure: where to draw loss against energy over all of them, as SVG.

    Raises:
        ArtifactError: one of them has no results yet, or the figure cannot be written.
    """
    for run in runs:
        console.print(result_table(run))
    for run_a, run_b in combinations(runs, 2):
        console.print(_paired(run_a, run_b))
    if figure is not None:
        _draw(runs, figure)


def _draw(runs: list[Run], path: Path) -> None:
    # matplotlib takes a second to import, and tables need none of it
    from clso.analysis.budgets import budget_points, budgets_figure
    from clso.analysis.style import figure_svg

    drawn = budgets_figure(budget_points(runs))
    if drawn is None:
        raise ArtifactError(
            "no run has measured joules, so there is no loss against energy to draw",
            remedy="leave --figure out, or run with an energy.meter",
        )
    alt = "Test loss against energy, a line per model over budgets of training tokens"
    atomic_write_bytes(path, figure_svg(drawn, "budgets", alt).encode())
    console.print(f"figure: {path}", soft_wrap=True)


def _paired(run_a: Run, run_b: Run) -> Table | str:
    """Return the differences of two runs, model by model, or why there are none."""
    title = f"{run_a.run_id} minus {run_b.run_id}"
    if _test_targets(run_a) != _test_targets(run_b):
        return f"{escape(title)}: other test tokens, so their losses cannot be paired"
    table = Table(title=escape(title), title_justify="left")
    for column in ("model", "difference", "interval", "over"):
        table.add_column(column, justify="left" if column == "model" else "right")
    options = run_a.config.get("analysis", {})
    shared = set(run_a.results["model"].to_pylist()) & set(run_b.results["model"].to_pylist())
    for model in ordered_models(list(shared)):
        both = pa.concat_tables(
            [_renamed(run_a.scores, model, "a"), _renamed(run_b.scores, model, "b")]
        )
        for row in compare_models(both, "a", "b", **options):
            table.add_row(
                model_label(model),
                format_loss(row["difference"], signed=True),
                format_interval(row["ci_low"], row["ci_high"], signed=True),
                f"{row['n_units']:,} {row['unit']}s",
            )
    return table


def _test_targets(run: Run) -> tuple[object, ...]:
    """Return what decides which tokens a run's test losses are over."""
    dataset = run.manifest.get("dataset", {})
    return (
        dataset.get("text_sha256"),
        dataset.get("split_sha256"),
        dataset.get("tokenizer", {}).get("sha256"),
        run.config.get("data", {}).get("block_size"),
    )


def _renamed(scores: pa.Table, model: str, name: str) -> pa.Table:
    chosen = scores.filter(pc.field("model") == model)
    column = chosen.column_names.index("model")
    field = chosen.schema.field(column)
    return chosen.set_column(column, field, pa.array([name] * chosen.num_rows, field.type))
