"""The study that holds the search against simpler ones, on a library of a few functions."""

from collections.abc import Callable
from pathlib import Path

import pyarrow.compute as pc
import pytest

from clso.artifacts import Parts, Run, load_run
from clso.report.html import Block
from clso.report.run import report_page
from clso.report.settings import settings_section

Invoke = Callable[..., str]

TINY = [
    "families=[mixture]",
    "baseline.enabled=false",
    "mixture.slots=3",
    "mixture.bucketings=[none, position]",
    "mixture.steps=3",
    "mixture.library={patterns: [[1], [2], [3]], class_maps: [], class_targets: [], "
    "class_patterns: [], functions: [], gated_maps: [], cache_half_lives: [8, 32, inf], "
    "cache_idf: [0], induction_lengths: [1, 2], induction_decays: [1.0]}",
    "search.surrogate={kind: gaussian_process, start: 1, full_eval_fraction: 0.5}",
]
COMMAND = [part for value in TINY for part in ("--set", value)]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, smoke_yaml: str, invoke: Invoke) -> Run:
    out = tmp_path_factory.mktemp("rivals")
    printed = invoke(
        "rivals", smoke_yaml, "--no-prefect", "--seeds", "3", "--out", str(out), *COMMAND
    )
    assert "greedy forward selection" in printed
    assert "held back" in printed
    (path,) = (out / "runs").iterdir()
    return load_run(path)


def test_every_method_has_a_falling_curve_per_seed(study: Run) -> None:
    rows = study.rivals.to_pylist()
    methods = {row["method"] for row in rows}
    assert methods == {"search", "random", "greedy", "top_weight", "all_at_once"}
    for method in methods:
        seeds = {row["seed"] for row in rows if row["method"] == method}
        assert seeds == ({0} if method in ("top_weight", "all_at_once") else {0, 1, 2})
        for seed in seeds:
            own = [row for row in rows if (row["method"], row["seed"]) == (method, seed)]
            counts = [row["evaluations"] for row in own]
            losses = [row["loss"] for row in own]
            assert counts == sorted(set(counts))
            assert losses == sorted(losses, reverse=True)


def test_all_searches_get_as_many_evaluations_as_greedy_selection_takes(study: Run) -> None:
    most = {
        method: pc.max(study.rivals.filter(pc.field("method") == method)["evaluations"]).as_py()
        for method in ("search", "random", "greedy")
    }
    n = study.manifest["rivals"]["functions"]
    # no pick, then each function that is left, and the other bucketing after each pick
    assert most["greedy"] <= 1 + n + (n - 1) + (n - 2) + 3
    assert most["search"] == most["random"] == most["greedy"]
    assert study.manifest["rivals"]["evaluations"] == [most["greedy"]]


def test_the_losses_held_back_are_of_other_blocks(study: Run) -> None:
    # without any function it is ln V everywhere, which is where greedy selection begins
    rows = [row for row in study.rivals.to_pylist() if row["evaluations"] > 1]
    assert all(row["loss"] != row["held_back_loss"] for row in rows)


def test_figure_report_and_show_tell_of_it(study: Run, invoke: Invoke) -> None:
    assert (study.folder.figures / "rivals-mixture.svg").read_text().startswith("<svg")
    page = report_page(study).html()
    assert "random search" in page
    assert "heaviest of all at once" in page
    assert "all at once, no limit" in invoke("show", str(study.path))


def test_finished_parts_are_reused_and_missing_ones_made_again_alike(
    study: Run, smoke_yaml: str, invoke: Invoke
) -> None:
    assert _reported(study) == ["--family", "mixture", "--seeds", "3"]
    (parts,) = study.folder.state.glob("rivals-*")
    kept = Parts(parts / "greedy", "rivals").path(1)
    (limit,) = study.manifest["rivals"]["evaluations"]
    lost = Parts(parts / str(limit) / "search", "rivals").path(2)
    before, stamp = lost.read_bytes(), kept.stat().st_mtime_ns
    lost.unlink()
    out = study.path.parents[1]
    invoke("rivals", smoke_yaml, "--no-prefect", "--seeds", "3", "--out", str(out), *COMMAND)
    assert lost.read_bytes() == before
    assert kept.stat().st_mtime_ns == stamp
    assert load_run(study.path).rivals.equals(study.rivals)


def test_budgets_that_are_named_are_the_longest_search(
    tmp_path: Path, study: Run, smoke_yaml: str, invoke: Invoke
) -> None:
    out = study.path.parents[1]
    options = ["--seeds", "2", "--evaluations", "9", "--evaluations", "6", "--out", str(out)]
    printed = invoke(
        "rivals", smoke_yaml, "--no-prefect", *options, "--set", "search.population=4", *COMMAND
    )
    assert "9 evaluations" in printed
    (other,) = [path for path in (out / "runs").iterdir() if path != study.path]
    assert load_run(other).manifest["rivals"]["evaluations"] == [6, 9]
    assert _reported(load_run(other))[4:] == ["--evaluations", "6", "--evaluations", "9"]
    searches = pc.field("method").isin(["search", "random", "greedy"])
    assert pc.max(load_run(other).rivals.filter(searches)["evaluations"]).as_py() == 9


def _reported(study: Run) -> list[str]:
    """Return the options of the command that the report prints, without the output folder."""
    (command,) = (
        str(block.content).split()
        for block in settings_section(study).blocks
        if isinstance(block, Block) and block.kind == "command"
    )
    return command[command.index("rivals") + 2 : command.index("--out")]


@pytest.fixture(scope="module")
def gpt(tmp_path_factory: pytest.TempPathFactory, smoke_yaml: str, invoke: Invoke) -> Run:
    out = tmp_path_factory.mktemp("rivals")
    changes = ("families=[gpt]", "gpt.library.size=3", "search.surrogate={kind: none}")
    sets = [part for value in changes for part in ("--set", value)]
    printed = invoke("rivals", smoke_yaml, "--no-prefect", "--seeds", "2", "--out", str(out), *sets)
    assert "coordinate descent" in printed
    (path,) = (out / "runs").iterdir()
    return load_run(path)


def test_where_no_set_is_picked_coordinate_descent_stands_for_greedy_selection(gpt: Run) -> None:
    methods = set(gpt.rivals["method"].to_pylist())
    assert methods == {"search", "random", "one_pass", "descent"}
    most = {
        method: pc.max(gpt.rivals.filter(pc.field("method") == method)["evaluations"]).as_py()
        for method in methods
    }
    assert most["one_pass"] <= 1 + 4 * (3 - 1)  # a genome, and the other options of 4 genes
    assert max(most.values()) == most["one_pass"]
    assert gpt.manifest["rivals"]["functions"] is None
    assert "4 genes" in report_page(gpt).html()
