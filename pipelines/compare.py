"""What `clso compare` tells of several runs."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from rich.markup import escape
from rich.table import Table

from clso.artifacts import Run, atomic_write_bytes
from clso.digest import digest_of
from clso.errors import ArtifactError
from clso.report.formats import format_interval, format_loss, model_label
from clso.report.seeds import groups_of_seeds, seeds_table
from clso.report.tables import result_table
from clso.statistics.bootstrap import compare_models, ordered_models
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
        console.print(result_table(run))
    groups = [group for group in groups_of_seeds(runs) if len({*map(_test_targets, group)}) == 1]
    for group in groups:
        console.print(seeds_table(group))
    together = {frozenset((a.run_id, b.run_id)) for group in groups for a in group for b in group}
    for run_a, run_b in combinations(runs, 2):
        if {run_a.run_id, run_b.run_id} not in together:
            console.print(_paired(run_a, run_b))
    if figure is not None:
        _draw(runs, figure)


def _draw(runs: list[Run], path: Path) -> None:
    # matplotlib takes a second to import, and tables need none of it
    from clso.report.budgets import budget_points, budgets_figure
    from clso.report.style import figure_svg

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
        _pieces(run),
        dataset.get("tokenizer", {}).get("sha256"),
        run.config.get("data", {}).get("block_size"),
    )


def _pieces(run: Run) -> str:
    """Return a digest of the documents and blocks that the test split is made of."""
    floor = (pc.field("model") == "uniform") & (pc.field("split") == "test")
    pieces = run.scores.filter(floor).select(["document", "block", "n_tokens", "n_bytes"])
    return digest_of(
        pieces.sort_by([("block", "ascending"), ("document", "ascending")]).to_pydict()
    )


def _renamed(scores: pa.Table, model: str, name: str) -> pa.Table:
    chosen = scores.filter(pc.field("model") == model)
    column = chosen.column_names.index("model")
    field = chosen.schema.field(column)
    return chosen.set_column(column, field, pa.array([name] * chosen.num_rows, field.type))
