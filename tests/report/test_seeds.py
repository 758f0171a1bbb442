import shutil
from collections.abc import Callable
from io import StringIO
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from rich.console import Console
from scipy import stats

from clso.artifacts import Run, RunFolder, load_run
from clso.report.run import report_page
from clso.report.runs import RunSet
from clso.report.seeds import seeds_section
from clso.report.table import Table
from clso.report.terminal import TerminalTable
from clso.statistics.paired import Difference

MIXTURE = (4.90, 4.92, 4.89)
ADAMW = (5.66, 5.70, 5.64)


@pytest.fixture(scope="module")
def seeded(run: Run) -> Callable[..., Run]:
    """Make a run with a seed, settings and losses of its own."""

    def make(seed: int, losses: dict[str, float], **settings: object) -> Run:
        results = pa.table({"model": list(losses), "test_loss": list(losses.values())})
        config = {**run.config, "name": f"run{seed}", "seed": seed, **settings}
        changed = load_run(run.path)
        vars(changed).update(manifest={**run.manifest, "config": config}, results=results)
        return changed

    return make


@pytest.fixture(scope="module")
def three(seeded: Callable[..., Run]) -> list[Run]:
    pairs = zip(MIXTURE, ADAMW, strict=True)
    return [seeded(seed, {"mixture": a, "adamw": b}) for seed, (a, b) in enumerate(pairs)]


def test_runs_that_differ_in_their_seed_alone_belong_together(
    three: list[Run], seeded: Callable[..., Run]
) -> None:
    other = seeded(3, {"adamw": 5.0}, data={"train_tokens": 64_000})
    twin = seeded(0, {"adamw": 5.0}, families=["gpt"])
    (group,) = RunSet([three[2], other, three[0], twin, three[1]]).groups_of_seeds()
    assert group.runs == three
    assert RunSet([three[0], three[0], other]).groups_of_seeds() == []


def test_differences_are_paired_by_seed(three: list[Run]) -> None:
    mixture, adamw = sorted(RunSet(three).seed_means(), key=lambda line: line.mean.mean)
    assert (mixture.model, adamw.model) == ("mixture", "adamw")
    assert mixture.losses == MIXTURE
    assert adamw.against_rival is None
    differences = np.subtract(MIXTURE, ADAMW)
    assert mixture.against_rival is not None
    assert mixture.against_rival.mean == pytest.approx(differences.mean())
    interval = stats.ttest_1samp(differences, 0.0).confidence_interval(0.95)
    assert (mixture.against_rival.low, mixture.against_rival.high) == pytest.approx(tuple(interval))


def test_models_that_a_seed_lacks_are_left_out(seeded: Callable[..., Run]) -> None:
    runs = [seeded(0, {"mixture": 4.9, "adamw": 5.7}), seeded(1, {"mixture": 4.8})]
    (line,) = RunSet(runs).seed_means()
    assert (line.model, line.against_rival) == ("mixture", None)


def test_the_table_tells_means_and_what_they_are_over(three: list[Run]) -> None:
    console = Console(width=120, record=True, file=StringIO())
    console.print(TerminalTable(RunSet(three).seeds_table()))
    told = console.export_text()
    for expected in ("seeds 0, 1, 2", "4.903", "5.667", "\N{MINUS SIGN}0.763", "over seeds"):
        assert expected in told


def test_one_value_has_no_interval() -> None:
    assert Difference.of(np.array([1.5])) == Difference(1.5, None, None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("3f", "The runs score the same test tokens."),
        ("8c", "The seed also draws the splits"),
    ],
)
def test_a_run_among_runs_of_other_seeds_shows_means_and_intervals(
    make_run: Callable[..., Run], text: str, said: str
) -> None:
    first = make_run()
    for seed in (8, 9):
        path = first.path.with_name(f"quick-{seed}")
        shutil.copytree(first.path, path)
        folder = RunFolder(path)
        config = {**first.config, "seed": seed}
        dataset = {**first.manifest["dataset"], "text_sha256": text * 32}
        changes = {"run_id": path.name, "config": config, "dataset": dataset}
        folder.write_manifest({**first.manifest, **changes})
        rows = [{**row, "test_loss": row["test_loss"] + 0.1 * seed} for row in rows_of(first)]
        folder.write_rows("results", rows)
    (first.path.with_name("damaged") / "manifest.json").parent.mkdir()
    (first.path.with_name("damaged") / "manifest.json").write_text("{")
    section = seeds_section(load_run(first.path))
    assert section is not None
    told, table = section.blocks
    assert isinstance(told, str)
    assert "3 runs differ in their seed alone: this one and quick-8, quick-9." in told
    assert said in told
    assert "the crystalline GPT minus that of AdamW GPT-2 is" in told
    assert isinstance(table, Table)
    assert "seeds 7, 8, 9" in table.title
    assert "Over seeds" in report_page(load_run(first.path)).html()


def test_a_run_alone_has_no_section_on_seeds(run: Run) -> None:
    assert seeds_section(run) is None


def rows_of(run: Run) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = run.results.to_pylist()
    return rows
