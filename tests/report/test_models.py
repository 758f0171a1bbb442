"""A family of models that is not built in stands in every table, section and figure."""

from collections.abc import Callable
from io import StringIO

import pytest
from rich.console import Console

from clso.artifacts import Run, load_run
from clso.report.headline import Headline
from clso.report.models import Models
from clso.report.results import result_table
from clso.report.run import report_page
from clso.report.runs import RunSet
from clso.report.terminal import TerminalTable

MANIFEST = {
    "config": {"families": ["mixture", "toy", "gpt"]},
    "models": {"toy": {"title": "toy <model>", "family": "toy"}},
}


@pytest.fixture
def toy_run(make_run: Callable[..., Run]) -> Run:
    run = make_run({"uniform": 9.0, "unigram": 6.6, "toy": 5.0, "gpt": 6.5, "adamw": 5.3})
    for table in ("evaluations", "generations"):
        rows = run.table(table).to_pylist()
        run.folder.write_rows(table, [*rows, *({**row, "family": "toy"} for row in rows)])
    config = {**run.config, "families": MANIFEST["config"]["families"]}
    run.folder.write_manifest({**run.manifest, "config": config, "models": MANIFEST["models"]})
    return load_run(run.path)


def test_floors_come_first_then_built_in_families_then_plug_ins_then_baselines() -> None:
    names = ["adamw", "gpt", "hybrid", "toy", "uniform", "mixture"]
    expected = ["uniform", "gpt", "mixture", "toy", "adamw", "hybrid"]
    assert Models(MANIFEST).ordered(names) == expected
    assert Models().ordered(names) == ["uniform", "gpt", "mixture", "toy", "adamw", "hybrid"]


def test_a_title_is_the_manifests_then_the_built_in_one_then_the_plain_name() -> None:
    models = Models(MANIFEST)
    assert models.title("toy") == "toy <model>"
    assert models.title("gpt") == Models().title("gpt") == "crystalline GPT"
    assert Models().title("toy") == "toy"
    assert (models.subject("gpt"), models.subject("adamw")) == (
        "the crystalline GPT",
        "AdamW GPT-2",
    )


def test_families_that_are_not_built_in_have_colors_of_their_own() -> None:
    others = {name: {"title": name, "family": name} for name in ("toy", "game")}
    models = Models({"config": {"families": ["toy", "gpt", "game"]}, "models": others})
    colors = [models.color(name) for name in ("toy", "game", "gpt")]
    assert len(set(colors)) == 3
    assert Models().color("gpt") == models.color("gpt")


def test_every_part_of_the_report_tells_of_a_family_that_is_not_built_in(toy_run: Run) -> None:
    html = report_page(toy_run).html()
    assert '<h2 id="h-search-toy">Search: toy &lt;model&gt;</h2>' in html
    assert "The toy &lt;model&gt; has the lower test loss" in html
    assert '<th class="text" scope="row">toy &lt;model&gt;</th>' in html
    assert "toy <model>" not in html
    for figure in ("convergence", "predictions"):
        assert f'id="{figure}-toy-' in html


def test_it_wins_or_loses_in_the_headline_like_any_other(toy_run: Run) -> None:
    headline = Headline.of(
        toy_run.results.to_pylist(), toy_run.comparisons.to_pylist(), Models(toy_run.manifest)
    )
    assert headline.title.startswith("The toy <model> has the lower test loss")


def test_terminal_tables_and_figures_over_runs_name_it(toy_run: Run) -> None:
    console = Console(width=80, file=StringIO(), record=True)
    console.print(TerminalTable(result_table(toy_run)))
    console.print(TerminalTable(RunSet([toy_run, toy_run]).seeds_table()))
    assert console.export_text().count("toy <model>") == 2
    points = [point for point in RunSet([toy_run]).budget_points() if point.model == "toy"]
    assert [point.series for point in points] == ["toy <model>"]
    assert RunSet([toy_run]).budgets_figure() is not None
