"""The study that searches for a front of loss, size and work, on libraries of a few entries."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest
from data_columns import data_columns
from typer.testing import CliRunner

from clso.artifacts import Parts, Run, load_run
from clso.data import Dataset
from clso.progress import SILENT
from clso.report.run import report_page
from pipelines.cli import app, main
from pipelines.config import load_config
from pipelines.context import RunContext
from pipelines.families import FAMILIES
from pipelines.studies import pareto

Invoke = Callable[..., str]

TINY = [
    "families=[gpt, mixture]",
    "baseline.enabled=false",
    "mixture.slots=4",
    "mixture.bucketings=[none, position]",
    "mixture.steps=3",
    "mixture.search_tokens=1600",
    "mixture.library={patterns: [[1], [1, 2], [3]], class_maps: [k16], class_targets: [],"
    " class_patterns: [[1]], functions: [], gated_maps: [k16], cache_half_lives: [8, inf],"
    " cache_idf: [0], induction_lengths: [1, 2], induction_decays: [1.0]}",
]
SETS = [part for value in TINY for part in ("--set", value)]


def command(smoke_yaml: str, out: Path, *options: str) -> list[str]:
    sizes = ["--population", "8", "--generations", "3"]
    return ["pareto", smoke_yaml, "--no-prefect", "--out", str(out), *sizes, *SETS, *options]


@pytest.fixture(scope="module", autouse=True)
def _little_text() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pareto, "_SCORED_TOKENS", 4096)
        yield


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, smoke_yaml: str, invoke: Invoke) -> Run:
    out = tmp_path_factory.mktemp("pareto")
    printed = invoke(*command(smoke_yaml, out))
    assert "Front of the crystalline mixture" in printed
    printed = invoke(*command(smoke_yaml, out, "--family", "gpt", "--objectives", "loss,flops"))
    assert "Front of the crystalline GPT" in printed
    assert "mixture:" not in printed
    (path,) = (out / "runs").iterdir()
    return load_run(path)


def rows(run: Run, family: str) -> list[dict[str, Any]]:
    return [row for row in run.pareto.to_pylist() if row["family"] == family]


@pytest.mark.parametrize(
    ("family", "objectives"),
    [
        ("mixture", ("loss", "stored_bytes", "flops_per_token")),
        ("gpt", ("loss", "flops_per_token")),
    ],
)
def test_no_evaluated_model_beats_one_of_the_front(
    study: Run, family: str, objectives: tuple[str, ...]
) -> None:
    found = rows(study, family)
    assert len(found) == len({row["genome_hash"] for row in found}) == 24
    assert [row["on_front"] for row in found] == sorted(
        (row["on_front"] for row in found), reverse=True
    )
    for row in found:
        beaten = any(
            all(other[name] <= row[name] for name in objectives)
            and any(other[name] < row[name] for name in objectives)
            for other in found
        )
        assert row["on_front"] is not beaten
    best = min(found, key=lambda row: row["loss"])
    assert best["loss"] in [row["loss"] for row in found if row["on_front"]]


def test_joules_are_the_fronts_alone_and_say_where_they_come_from(study: Run) -> None:
    for row in study.pareto.to_pylist():
        assert (row["energy_j"] is not None) is row["on_front"]
        assert (row["validation_loss"] is not None) is row["on_front"]
        if row["on_front"]:
            assert row["energy_j_per_token"] == row["energy_j"] / row["tokens"]
            assert row["energy_source"] is not None
            assert row["validation_loss"] == pytest.approx(row["loss"], abs=0.5)


def test_a_rows_genome_is_the_model(study: Run, smoke_yaml: str) -> None:
    config = load_config(Path(smoke_yaml), TINY)
    out = study.path.parents[1]
    data = out / "datasets" / study.manifest["data_fingerprint"]
    dataset = Dataset.load(data, block_size=config.data.block_size)
    validation = dataset.splits["validation"]
    for family in map(FAMILIES.get, ("gpt", "mixture")):
        front = [row for row in rows(study, family.name) if row["on_front"]]
        with RunContext.open(config, out, SILENT) as context:
            problem = family.problem(context.experiment)
            genomes = [tuple(row["genome"]) for row in front]
            models = family.models(context.experiment, problem, genomes)
            for row, model in zip(front, models, strict=True):
                assert model.stored_bytes == row["stored_bytes"]
                inputs, targets = validation.spread_blocks(row["tokens"])
                nll = model.token_nll(inputs, targets).mean()
                assert nll == pytest.approx(row["validation_loss"], abs=1e-6)


def test_every_generation_is_recorded_for_both_families(study: Run) -> None:
    found = study.pareto_generations.to_pylist()
    for family in ("gpt", "mixture"):
        own = [row for row in found if row["family"] == family]
        assert [row["generation"] for row in own] == [0, 1, 2]
        assert [row["n_evaluated"] for row in own] == [8, 8, 8]
        assert own[-1]["n_front"] == sum(row["on_front"] for row in rows(study, family))
    assert study.manifest["pareto"]["gpt"]["objectives"] == ["loss", "flops"]
    assert set(study.manifest["pareto"]["mixture"]["bounds"]) == {"loss", "stored_bytes", "flops"}


def test_figures_report_and_show_tell_of_it(study: Run, invoke: Invoke) -> None:
    names = {path.stem for path in study.folder.figures.glob("pareto-*.svg")}
    costs = ("stored-bytes", "flops-per-token", "energy-j-per-token")
    assert names == {f"pareto-{family}-{cost}" for family in ("gpt", "mixture") for cost in costs}
    page = report_page(study).html()
    assert "Loss against size and work: crystalline mixture" in page
    assert "no model was chosen by them" in page
    best = min(rows(study, "mixture"), key=lambda row: row["loss"])
    assert best["genome_hash"] in page
    shown = invoke("show", str(study.path))
    assert best["genome_hash"] in shown
    assert "hypervolume" in shown


@pytest.mark.parametrize("where", ["pareto_generations", "front"])
def test_an_interrupted_study_goes_on_to_the_same_front(
    study: Run,
    smoke_yaml: str,
    invoke: Invoke,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
) -> None:
    # another run of the same data set and functions
    arguments = command(smoke_yaml, study.path.parents[1], "--set", f"name=killed-{where}")

    original = Parts.write

    def killed(parts: Parts, part: int, rows: Iterable[Mapping[str, Any]]) -> None:
        if (parts.folder.name, part) == (where, 1):
            raise KeyboardInterrupt
        original(parts, part, rows)

    monkeypatch.setattr(Parts, "write", killed)
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 130, done.output
    monkeypatch.undo()
    invoke(*arguments)
    (path,) = study.path.parent.glob(f"killed-{where}-*")
    for name in ("pareto", "pareto_generations"):
        expected = data_columns(study.table(name).filter(pc.field("family") == "mixture"))
        found = data_columns(load_run(path).table(name))
        assert found.drop_columns(["run_id"]).equals(expected.drop_columns(["run_id"]))


def test_the_same_command_again_measures_nothing_anew(
    study: Run, smoke_yaml: str, invoke: Invoke
) -> None:
    before = rows(study, "mixture")
    invoke(*command(smoke_yaml, study.path.parents[1]))
    again = load_run(study.path)
    assert rows(again, "mixture") == before
    assert len(rows(again, "gpt")) == len(rows(study, "gpt"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--objectives", "loss,size"], "'size' is no objective"),
        (["--objectives", "loss"], "two objectives or more"),
        (["--objectives", "loss,energy"], "no decision of a search reads a meter"),
        (["--family", "gpt", "--set", "families=[mixture]"], "--set families=[gpt]"),
    ],
)
def test_mistakes_are_told_before_any_work(
    tmp_path: Path,
    smoke_yaml: str,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    message: str,
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(command(smoke_yaml, tmp_path, *options))
    assert ended.value.code == 2
    assert message in re.sub(r"\s+", " ", capsys.readouterr().err)
    assert not (tmp_path / "datasets").exists()
