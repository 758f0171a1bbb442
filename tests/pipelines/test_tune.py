"""The study that tunes a search, on a library of a few functions."""

import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.compute as pc
import pytest
import yaml
from filelock import FileLock

from clso.artifacts import Run, load_run
from clso.errors import ConfigError
from clso.studies.tuning import Check
from clso.watch.settings import TrackingSettings
from pipelines import tune
from pipelines.cli import main
from pipelines.config import load_config
from pipelines.families.gpt import GPT
from pipelines.studies.tuned import TunedSearch
from search.settings import SearchSettings
from search.tuning import Choices
from search.validated import Halves, ValidatedLoss

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
    "tune={trials: 5, seeds: 2, check_seeds: 3, budget: {evaluations: 16}, space: "
    "{population: {low: 6, high: 10}, surrogate: {kind: [ridge, none], start: 1}, "
    "groups: [cache_half_lives], slots: [2, 3]}}",
]


def options(*more: str) -> list[str]:
    return [part for value in (*TINY, *more) for part in ("--set", value)]


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    assert ended.value.code == 2
    return " ".join(capsys.readouterr().err.split())


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, smoke_yaml: str, invoke: Invoke) -> Run:
    out = tmp_path_factory.mktemp("tune")
    printed = " ".join(
        invoke("tune", smoke_yaml, "--no-prefect", "--out", str(out), *options()).split()
    )
    assert "Best settings" in printed
    assert "seeds" in printed
    return load_run(out / "studies" / "smoke")


def test_a_study_reads_neither_tests_nor_makes_a_run(study: Run) -> None:
    assert not (study.path.parents[1] / "runs").exists()
    assert not study.has("results")


def test_trials_have_a_row_each_with_typed_values(study: Run) -> None:
    rows = study.table("trials").to_pylist()
    assert len(rows) == 5
    for row in rows:
        params = json.loads(row["params"])
        assert isinstance(params["population"], int)
        assert isinstance(params["mixture.library.cache_half_lives"], bool)
        assert row["energy_source"] is not None
        assert row["state"] in ("complete", "pruned")
    best = [row for row in rows if row["is_best"]]
    losses = [row["loss"] for row in rows if row["loss"] is not None]
    assert [row["loss"] for row in best] == [min(losses)]
    # the searches select by one half and are judged by the other
    assert all(row["seed_losses"] != row["search_losses"] for row in best)


def test_the_check_is_on_seeds_that_tuned_nothing_at_the_same_budget(study: Run) -> None:
    checks, note = study.table("checks"), study.manifest["tune"]
    assert set(checks["seed"].to_pylist()) == set(note["check_seeds"])
    assert not set(note["check_seeds"]) & set(note["seeds"])
    assert set(checks["evaluations"].to_pylist()) == {16}
    check = Check.of(checks)
    assert check is not None
    losses = {
        arm: pc.mean(checks.filter(pc.field("arm") == arm)["loss"]).as_py()
        for arm in ("tuned", "default")
    }
    assert check.difference.mean == pytest.approx(losses["tuned"] - losses["default"])


def test_the_tuned_configuration_loads_and_is_the_best_trials(study: Run, smoke_yaml: str) -> None:
    config = load_config(smoke_yaml, TINY)
    found = load_config(study.path / "best.yaml")
    note = study.manifest["tune"]
    assert found.mixture.search is not None
    search = found.mixture.search.model_dump()
    for name, value in note["tuned"].items():
        section, _, field = name.rpartition(".")
        if not name.startswith("mixture."):
            assert (search[section] if section else search)[field] == value
    assert search["max_evaluations"] == 16
    assert found.mixture.slots == note["tuned"]["mixture.slots"]
    kept = bool(found.mixture.library.cache_half_lives)
    assert kept == note["tuned"]["mixture.library.cache_half_lives"]
    assert found.data == config.data
    assert found.tune is None
    assert (study.path / "best.yaml").read_text().startswith("# Purpose:")


def test_the_report_stands_alone_and_shows_the_figures(study: Run, invoke: Invoke) -> None:
    page = study.folder.report_path.read_text()
    assert "src=" not in page
    assert page.count("<figure>") == len(list(study.folder.figures.glob("*.svg"))) >= 3
    assert "population" in invoke("show", str(study.path))
    invoke("report", str(study.path))
    assert study.folder.report_path.read_text() == page


def test_the_same_command_finds_all_done(
    study: Run, smoke_yaml: str, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("a search was run again")

    monkeypatch.setattr(Halves, "search", never)
    out = str(study.path.parents[1])
    invoke("tune", smoke_yaml, "--no-prefect", "--out", out, *options())
    again = load_run(study.path)
    for table in ("trials", "importances", "checks"):
        assert again.table(table).equals(study.table(table))


def test_another_study_does_not_take_the_place_of_one(
    study: Run, smoke_yaml: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", str(study.path.parents[1])]
    other = refused(capsys, "tune", smoke_yaml, "--no-prefect", *out, *options("seed=3"))
    assert "another configuration" in other
    space = refused(capsys, "tune", smoke_yaml, "--no-prefect", *out, *options("tune.seeds=3"))
    assert "it differs in seeds" in space
    assert "--fresh" in space


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["families=[gpt, mixture]"], "a study tunes one of them"),
        (["tune.family=gpt"], "tune.family is gpt, but families has only mixture"),
        (["tune.space.groups=[functions]"], "mixture.library.functions, but there is none"),
        (["tune.space.shares={block_sparse: [1, 2]}"], "this study tunes the mixture's"),
        (["tune.budget.evaluations=9"], "ends within the first generation"),
        (["tune.objectives=[loss, energy_j]", "energy.meter=none"], "energy.meter is none"),
        (["tune.storage=sqlite:////nowhere/at/all.db"], "cannot be opened"),
        (["tune.storage=journal:/nowhere/at/all"], "there is no folder /nowhere/at"),
    ],
)
def test_what_does_not_fit_is_refused(
    study: Run,
    smoke_yaml: str,
    capsys: pytest.CaptureFixture[str],
    values: list[str],
    message: str,
) -> None:
    out = str(study.path.parents[1])
    printed = refused(
        capsys, "tune", smoke_yaml, "--no-prefect", "--out", out, *options("name=other", *values)
    )
    assert message in printed


@pytest.mark.parametrize("trials", [0, -1])
def test_no_trials_are_refused_from_python(smoke_yaml: str, tmp_path: Path, trials: int) -> None:
    with pytest.raises(ConfigError, match=f"a study of {trials} trials"):
        tune(smoke_yaml, {"families": ["mixture"]}, out=tmp_path, trials=trials)
    assert not list(tmp_path.iterdir())


def test_a_storage_is_refused_before_a_study_is_deleted_for_it(
    study: Run, smoke_yaml: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", str(study.path.parents[1])]
    wrong = ["--fresh", "--storage", "journal:/nowhere/at/all"]
    assert "there is no folder" in refused(capsys, "tune", smoke_yaml, *out, *wrong, *options())
    assert load_run(study.path).has("trials")


def test_a_study_that_another_process_works_on_is_not_deleted(
    study: Run, smoke_yaml: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = study.path.parents[1]
    arguments = ["tune", smoke_yaml, "--no-prefect", "--out", str(out), "--fresh", *options()]
    with FileLock(out / ".locks" / f"study-{study.path.name}.process-other.lock"):
        assert "another process works in" in refused(capsys, *arguments)
    assert load_run(study.path).has("trials")


def test_a_study_stays_until_its_trackers_are_open(
    study: Run,
    smoke_yaml: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> None:
        raise ConfigError("no such store")

    monkeypatch.setattr(TrackingSettings, "open", refuse)
    out = ["--no-prefect", "--out", str(study.path.parents[1]), "--fresh"]
    tracked = options("runtime.tracking.to=[tensorboard]")
    assert "no such store" in refused(capsys, "tune", smoke_yaml, *out, *tracked)
    assert load_run(study.path).has("trials")


@pytest.mark.parametrize(
    ("meter", "parallel", "engine", "shares_machine", "fits"),
    [
        ("rapl", 2, "dask", True, False),
        ("replay", 2, "ray", False, False),
        ("rapl", 2, "dask", False, True),  # each worker has a machine of its own
        ("rapl", 1, "dask", True, True),
        ("rapl", 2, "local", True, True),  # which judges one after the other
        ("auto", 2, "dask", True, True),  # with the CPU model
    ],
)
def test_workers_that_cannot_tell_the_joules_of_trials_are_refused(
    smoke_yaml: str, meter: str, parallel: int, engine: str, shares_machine: bool, fits: bool
) -> None:
    values = [f"tune={{parallel: {parallel}, objectives: [loss, energy_j]}}"]
    values += [f"energy.meter={meter}", *(["energy.replay=log"] if meter == "replay" else [])]
    tuned = TunedSearch.of(load_config(smoke_yaml, values))
    workers: Any = SimpleNamespace(
        name=engine, is_local=engine == "local", shares_machine=shares_machine
    )
    with nullcontext() if fits else pytest.raises(ConfigError, match="that run at once"):
        tuned.check_engine(workers)


@pytest.mark.slow
def test_two_commands_that_begin_a_study_together_both_end_well(
    smoke_yaml: str, tmp_path: Path
) -> None:
    arguments = ["tune", smoke_yaml, "--no-prefect", "--out", str(tmp_path), *options()]
    commands = [
        subprocess.Popen(
            [sys.executable, "-m", "pipelines", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(2)
    ]
    try:
        outputs = [command.communicate(timeout=900)[0] for command in commands]
    finally:
        for command in commands:
            command.kill()
            command.wait()
    assert [command.returncode for command in commands] == [0, 0], outputs
    assert all("Best settings" in " ".join(output.split()) for output in outputs)
    run = load_run(tmp_path / "studies" / "smoke")
    rows = run.table("trials").to_pylist()
    assert [row["number"] for row in rows] == list(range(5))
    assert {row["state"] for row in rows} <= {"complete", "pruned"}


def test_an_interruption_ends_with_130_and_the_study_goes_on(
    study: Run, smoke_yaml: str, monkeypatch: pytest.MonkeyPatch, invoke: Invoke
) -> None:
    calls = count(1)
    search = Halves.search

    def interrupted(halves: Halves, *arguments: Any, **named: Any) -> ValidatedLoss:  # noqa: ANN401 - handed on
        if next(calls) == 3:
            raise KeyboardInterrupt
        return search(halves, *arguments, **named)

    monkeypatch.setattr(Halves, "search", interrupted)
    arguments = [
        "tune",
        smoke_yaml,
        "--no-prefect",
        "--out",
        str(study.path.parents[1]),
        "--trials",
        "2",
    ]
    arguments += options("name=again", "tune.pruner=none")
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 130
    invoke(*arguments)
    rows = load_run(study.path.parent / "again").table("trials").to_pylist()
    assert [row["state"] for row in rows] == ["complete", "fail", "complete"]


@pytest.mark.slow
def test_the_gpts_search_and_shares_are_tuned_for_two_objectives(
    tmp_path: Path, smoke_yaml: str, invoke: Invoke
) -> None:
    tune = (
        "tune={trials: 4, seeds: 1, check_seeds: 2, budget: {energy_j: 0.5}, objectives: "
        "[loss, energy_j], space: {population: [6], surrogate: {kind: none}, "
        "shares: {block_sparse: {low: 0.5, high: 2, log: true}}}}"
    )
    printed = invoke("tune", smoke_yaml, "--no-prefect", "--out", str(tmp_path), "--set", tune)
    assert "Pareto set" in printed
    found = load_run(tmp_path / "studies" / "smoke")
    assert (found.folder.figures / "pareto.svg").exists()
    assert found.manifest["tune"]["pruner"] == "none"
    best = load_config(found.path / "best.yaml")
    share = best.gpt.library.families[0].share
    assert share == found.manifest["tune"]["tuned"]["gpt.library.block_sparse"]
    assert best.search.max_evaluations is None


def test_a_mixture_without_a_search_of_its_own_keeps_the_one_it_had(smoke_yaml: str) -> None:
    budget = "tune.budget.evaluations=9"
    config = load_config(smoke_yaml, ["families=[gpt, mixture]", budget])
    tuned = TunedSearch(config, GPT).best_config({}, SearchSettings())
    assert tuned.mixture.search == config.search
    assert tuned.search.max_evaluations == 9
    assert yaml.safe_load(yaml.safe_dump(tuned.model_dump(mode="json")))["name"] == "smoke-tuned"


def test_shares_are_not_tuned_where_matrices_are_fitted_to_the_data(smoke_yaml: str) -> None:
    shares = "tune.space.shares={block_sparse: [1, 2]}"
    config = load_config(smoke_yaml, [shares])
    space = TunedSearch(config, GPT).space()
    assert space.dimensions["gpt.library.block_sparse"] == Choices((1.0, 2.0))
    assert GPT.library(config)["gpt.library.block_sparse"] == 1.0
    fitted = load_config(smoke_yaml, [shares, "gpt.spectral.enabled=true"])
    with pytest.raises(ConfigError, match="another library in every trial"):
        TunedSearch(fitted, GPT).space()
