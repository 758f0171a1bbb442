"""The command `clso compare`: several runs side by side."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

from rich.markup import escape

from clso.artifacts import Run, atomic_write_bytes
from clso.errors import ArtifactError
from clso.report.results import result_table
from clso.report.runs import RunSet
from clso.report.style import figure_svg
from clso.report.terminal import TerminalTable
from pipelines.console import console

__all__ = ["compare_runs"]


def compare_runs(runs: list[Run], figure: Path | None = None) -> None:
    """Print the runs' results, with paired differences where the test tokens are the same.

    Runs that differ in their seed alone are summed up in one table instead of pair by pair.

    Args:
        runs: two or more.
        figure: where to draw loss against energy over all of them, as SVG.

    Raises:
        ArtifactError: one of them has no results yet, or the figure cannot be written.
    """
    for run in runs:
        console.print(TerminalTable(result_table(run)))
    groups = [group for group in RunSet(runs).groups_of_seeds() if group.same_targets()]
    for group in groups:
        console.print(TerminalTable(group.seeds_table()))
    summed_up = {
        frozenset((a.run_id, b.run_id)) for group in groups for a in group.runs for b in group.runs
    }
    for run_a, run_b in combinations(runs, 2):
        if {run_a.run_id, run_b.run_id} not in summed_up:
            pair = RunSet([run_a, run_b])
            if pair.same_targets():
                console.print(TerminalTable(pair.differences_table()))
            else:
                title = escape(f"{run_a.run_id} minus {run_b.run_id}")
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
