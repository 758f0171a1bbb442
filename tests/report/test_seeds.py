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
from clso.report.models import Models
from clso.report.run import report_page
from clso.report.runs import RunSet
from clso.report.seed_energy import seed_energy_table
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


def test_runs_that_were_made_elsewhere_are_said_to_be(
    three: list[Run], seeded: Callable[..., Run]
) -> None:
    elsewhere = seeded(1, {"mixture": 4.9, "adamw": 5.6})
    vars(elsewhere)["manifest"] = {**elsewhere.manifest, "baseline": {"winner": {"threads": 4}}}
    notes = RunSet([three[0], elsewhere]).seeds_table().notes
    (note,) = [note for note in notes if note.startswith("Made on")]
    assert "AMD EPYC and on AMD EPYC with 4 threads for AdamW" in note
    assert not any(note.startswith("Made on") for note in RunSet(three).seeds_table().notes)


def test_differences_are_paired_by_seed(three: list[Run]) -> None:
    mixture, adamw = sorted(RunSet(three).seed_means(), key=lambda line: line.mean.mean)
    assert (mixture.model, adamw.model) == ("mixture", "adamw")
    assert mixture.losses == MIXTURE
    assert adamw.against == {}
    differences = np.subtract(MIXTURE, ADAMW)
    against = mixture.against["adamw"]
    assert against.mean == pytest.approx(differences.mean())
    interval = stats.ttest_1samp(differences, 0.0).confidence_interval(0.95)
    assert (against.low, against.high) == pytest.approx(tuple(interval))


def test_the_strongest_gradient_model_comes_first_and_adamw_beside_it(
    seeded: Callable[..., Run],
) -> None:
    losses = [(4.9, 5.3, 5.7), (4.8, 5.4, 5.6), (4.9, 5.2, 5.8)]
    runs = [
        seeded(seed, {"mixture": a, "adamw": c, "opponent": b})
        for seed, (a, b, c) in enumerate(losses)
    ]
    table = RunSet(runs).seeds_table()
    assert [column.header for column in table.columns[-2:]] == [
        "minus strongest gradient model",
        "minus AdamW GPT-2",
    ]
    console = Console(width=80, record=True, file=StringIO())
    console.print(TerminalTable(table))
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 80
    for expected in ("\N{MINUS SIGN}0.433", "\N{MINUS SIGN}0.833"):
        assert expected in text


def test_models_that_a_seed_lacks_are_left_out(seeded: Callable[..., Run]) -> None:
    runs = [seeded(0, {"mixture": 4.9, "adamw": 5.7}), seeded(1, {"mixture": 4.8})]
    (line,) = RunSet(runs).seed_means()
    assert (line.model, line.against) == ("mixture", {})


def test_the_table_tells_means_and_what_they_are_over(three: list[Run]) -> None:
    console = Console(width=120, record=True, file=StringIO())
    console.print(TerminalTable(RunSet(three).seeds_table()))
    told = console.export_text()
    for expected in ("seeds 0, 1, 2", "4.903", "5.667", "\N{MINUS SIGN}0.763", "over seeds"):
        assert expected in told


def test_one_value_has_no_interval() -> None:
    assert Difference.of(np.array([1.5])) == Difference(1.5, None, None)


@pytest.mark.parametrize(
    ("shift", "files", "said"),
    [
        ({}, {}, "The runs score the same test tokens."),
        ({"document": 1}, {}, "The seed also draws the splits"),
        ({"n_tokens": 1}, {"test": "test/*.txt"}, "a vocabulary of its own"),
    ],
)
def test_a_run_among_runs_of_other_seeds_shows_means_and_intervals(
    make_run: Callable[..., Run], shift: dict[str, int], files: dict[str, str], said: str
) -> None:
    first, own = make_run(), {"data": {"source": "files", "files": files}}
    RunFolder(first.path).write_manifest({**first.manifest, "config": {**first.config, **own}})
    for seed in (8, 9):
        neighbour(first, seed, **own)
        scores = [
            {**row, **{name: row[name] + seed * by for name, by in shift.items()}}
            for row in first.scores.to_pylist()
        ]
        RunFolder(first.path.with_name(f"quick-{seed}")).write_rows("scores", scores)
    section = seeds_section(load_run(first.path))
    assert section is not None
    told, table, *_ = section.blocks
    assert isinstance(told, str)
    assert "3 runs differ in their seed alone: this one and quick-8, quick-9." in told
    assert "the crystalline GPT minus that of AdamW GPT-2 is" in told
    assert isinstance(table, Table)
    assert any(said in note for note in table.notes)
    assert "seeds 7, 8, 9" in table.title


def test_damaged_neighbours_are_left_out(make_run: Callable[..., Run]) -> None:
    first = make_run()
    neighbour(first, 8)
    neighbour(first, 9, seed=None)
    for number, name in enumerate(("manifest.json", "results.parquet", "scores.parquet"), 10):
        torn = neighbour(first, number).path / name
        torn.write_bytes(torn.read_bytes()[:100])
        (neighbour(first, number + 10).path / name).unlink()
    section = seeds_section(load_run(first.path))
    assert section is not None
    assert "2 runs differ in their seed alone: this one and quick-8." in str(section.blocks[0])
    assert "Over seeds" in report_page(load_run(first.path)).html()


def test_runs_over_other_text_do_not_belong_together(make_run: Callable[..., Run]) -> None:
    first = make_run()
    other = neighbour(first, 8)
    dataset = {**other.manifest["dataset"], "text_sha256": "8c" * 32}
    RunFolder(other.path).write_manifest({**other.manifest, "dataset": dataset})
    assert seeds_section(load_run(first.path)) is None


def test_a_run_alone_has_no_section_on_seeds(run: Run) -> None:
    assert seeds_section(run) is None


def neighbour(first: Run, number: int, **settings: object) -> Run:
    """Store a run beside `first` with another seed, other settings and higher losses."""
    path = first.path.with_name(f"quick-{number}")
    shutil.copytree(first.path, path, dirs_exist_ok=True)
    config = {**first.config, "seed": number, **settings}
    RunFolder(path).write_manifest({**first.manifest, "run_id": path.name, "config": config})
    rows = [{**row, "test_loss": row["test_loss"] + 0.1 * number} for row in rows_of(first)]
    RunFolder(path).write_rows("results", rows)
    return load_run(path)


def rows_of(run: Run) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = run.results.to_pylist()
    return rows


class TestEnergy:
    def runs(self, run: Run, **joules: tuple[float, ...]) -> list[Run]:
        """Return runs whose models took these joules, by the seeds 0, 1, ..."""
        made = []
        for seed, values in enumerate(zip(*joules.values(), strict=True)):
            rows = {
                "model": list(joules),
                "test_loss": [5.0] * len(joules),
                "energy_j": list(values),
                "energy_source": ["cpu_model"] * len(joules),
                "estimated": [True] * len(joules),
            }
            changed = load_run(run.path)
            config = {**run.config, "seed": seed}
            vars(changed).update(
                manifest={**run.manifest, "config": config}, results=pa.table(rows)
            )
            made.append(changed)
        return made

    def test_shares_of_both_rivals_have_intervals_over_seeds(self, run: Run) -> None:
        mixture, opponent = (10.0, 12.0, 11.0), (100.0, 110.0, 120.0)
        runs = self.runs(
            run, uniform=(1e-6,) * 3, mixture=mixture, opponent=opponent, adamw=(200.0,) * 3
        )
        table = seed_energy_table(runs, Models())
        assert table is not None
        assert [column.header for column in table.columns[2:]] == [
            "share of strongest gradient model",
            "share of AdamW GPT-2",
        ]
        (name, _), (mean, ends), first, _ = table.rows[0].texts()
        assert (name, mean) == ("crystalline mixture", "11\u00a0J")
        assert ends == "10\u00a0J\u00a0to 12\u00a0J"
        logs = np.log(mixture) - np.log(opponent)
        low, high = np.exp(stats.ttest_1samp(logs, 0.0).confidence_interval(0.95))
        expected = f"{100 * low:.1f}\u00a0%\u00a0to {100 * high:.1f}\u00a0%"
        assert first == (f"{100 * np.exp(logs.mean()):.1f}\u00a0%", expected)
        assert len(table.rows) == 3
        console = Console(width=80, record=True, file=StringIO())
        console.print(TerminalTable(table))
        assert max(map(len, console.export_text().splitlines())) <= 80

    def test_a_model_that_one_seed_did_not_measure_is_left_out(self, run: Run) -> None:
        runs = self.runs(run, mixture=(10.0, 12.0), adamw=(20.0, 0.0))
        table = seed_energy_table(runs, Models())
        assert table is not None
        assert [row.texts()[0][0] for row in table.rows] == ["crystalline mixture"]
        assert seed_energy_table(self.runs(run, adamw=(0.0, 0.0)), Models()) is None
