"""The whole road in its smallest form."""

import html
import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch
from data_columns import data_columns
from transformers import AutoModelForCausalLM, AutoTokenizer
from typer.testing import CliRunner

from clso.artifacts import Run, load_run, remove, write_table
from clso.data import Dataset
from clso.errors import DataError
from clso.progress import SILENT
from clso.report.run import report_page
from pipelines.cli import app
from pipelines.config import load_config
from pipelines.console import _Lines
from pipelines.context import RunContext
from pipelines.stages.data import PREPARE


def dataset_of(run: Run) -> Dataset:
    fingerprint = run.manifest["data_fingerprint"]
    return Dataset.load(run.path.parents[1] / "datasets" / fingerprint, block_size=32)


def test_every_stage_is_done_and_every_table_readable(smoke: Run) -> None:
    assert {stage["status"] for stage in smoke.manifest["stages"].values()} == {"done"}
    models = smoke.results["model"].to_pylist()
    assert set(models) == {"uniform", "unigram", "bigram", "kneser_ney", "gpt", "adamw"}
    for name in ("evaluations", "generations", "baseline", "comparisons", "scores", "energy"):
        assert smoke.table(name).num_rows > 0, name
    assert not (smoke.path / "parts").exists() or not any((smoke.path / "parts").rglob("*.parquet"))


def test_every_model_writes_a_text_after_the_same_words(smoke: Run) -> None:
    rows = smoke.samples.to_pylist()
    assert {row["model"] for row in rows} == set(smoke.results["model"].to_pylist())
    assert len({(row["prompt"], row["followed_by"]) for row in rows}) == 1
    assert len({row["text"] for row in rows}) == len(rows)
    validation = dataset_of(smoke).splits["validation"].blocks(slice(0, 2))[0].ravel()
    tokenizer = dataset_of(smoke).tokenizer
    text = b"".join(tokenizer.token_texts[token] for token in validation).decode(errors="replace")
    assert text.startswith(rows[0]["prompt"] + rows[0]["followed_by"][:20])
    for row in rows:
        assert 0 < row["n_tokens"] <= 48
        assert row["text"]


def test_the_report_stands_without_the_models(smoke: Run, tmp_path: Path) -> None:
    copy = tmp_path / smoke.run_id
    shutil.copytree(smoke.path, copy, ignore=shutil.ignore_patterns("models", "state"))
    text = report_page(load_run(copy)).html()
    assert "What the models write" in text
    assert html.escape(smoke.samples["text"][0].as_py().split()[0], quote=False) in text


def test_the_configuration_beside_the_report_makes_the_same_run(smoke: Run) -> None:
    config = load_config(smoke.path / "config.yaml")
    assert config.run_id(config.recipe.fingerprint) == smoke.run_id


def test_the_results_follow_from_the_stored_scores(smoke: Run) -> None:
    for row in smoke.results.to_pylist():
        test = smoke.scores.filter(
            (pc.field("model") == row["model"]) & (pc.field("split") == "test")
        )
        loss = sum(test["nll"].to_pylist()) / sum(test["n_tokens"].to_pylist())
        assert row["test_loss"] == pytest.approx(loss, abs=1e-12)
        assert row["perplexity"] == pytest.approx(math.exp(loss))
        assert row["ci_low"] < row["test_loss"] < row["ci_high"] or row["model"] == "uniform"
        assert row["test_tokens"] == dataset_of(smoke).splits["test"].n_tokens


def test_the_floors_stand_in_their_order_and_uniform_is_ln_v(smoke: Run) -> None:
    loss = {row["model"]: row["test_loss"] for row in smoke.results.to_pylist()}
    assert loss["uniform"] == pytest.approx(math.log(512))
    assert loss["uniform"] > loss["unigram"] > loss["bigram"] > loss["kneser_ney"]


def test_all_models_learned_from_the_same_budget(smoke: Run) -> None:
    learned = {row["model"]: row["train_tokens"] for row in smoke.results.to_pylist()}
    assert learned.pop("uniform") is None
    (train_tokens,) = set(learned.values())
    assert 16000 - 2 * 32 < train_tokens <= 16000


@pytest.mark.parametrize("model", ["gpt", "adamw"])
def test_a_model_loads_as_a_plain_checkpoint_with_its_test_loss(smoke: Run, model: str) -> None:
    home = smoke.folder.model(model)
    plain = AutoModelForCausalLM.from_pretrained(home)
    tokenizer = AutoTokenizer.from_pretrained(home)
    assert type(plain).__name__ == "GPT2LMHeadModel"
    dataset = dataset_of(smoke)
    assert len(tokenizer) == dataset.vocab_size
    inputs, targets = map(torch.from_numpy, dataset.splits["test"].blocks(slice(0, None)))
    with torch.inference_mode():
        logits = plain(inputs).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
    stored = {row["model"]: row["test_loss"] for row in smoke.results.to_pylist()}[model]
    assert float(loss) == pytest.approx(stored, abs=1e-5)


def test_the_best_genome_was_evaluated_and_is_what_the_model_says(smoke: Run) -> None:
    best = smoke.manifest["best"]["gpt"]
    rows = smoke.evaluations.filter(pc.field("genome_hash") == best["genome_hash"])
    losses = set(rows.filter(pc.field("status") == "evaluated")["evaluated_loss"].to_pylist())
    assert losses == {best["search_loss"]}
    validation = {row["model"]: row["validation_loss"] for row in smoke.results.to_pylist()}
    assert validation["gpt"] == pytest.approx(best["validation_loss"], abs=1e-9)
    optimism = smoke.manifest["optimism"]["gpt"]
    assert optimism["search_loss"] == best["search_loss"]
    assert optimism["validation_minus_search"] == validation["gpt"] - best["search_loss"]


def test_energy_names_its_meter_and_no_missing_joule_is_zero(smoke: Run) -> None:
    assert set(smoke.energy["stage"].to_pylist()) == {
        "prepare",
        "library",
        "search",
        "baseline",
        "analyze",
    }
    for row in smoke.energy.to_pylist():
        assert (row["energy_j"] is None) == (row["energy_source"] is None)
        assert row["energy_j"] is None or row["energy_j"] > 0
    predicted = smoke.evaluations.filter(
        (pc.field("status") == "predicted") | (pc.field("status") == "cached")
    )
    assert predicted.num_rows > 0
    assert predicted["energy_j"].null_count == predicted.num_rows


def test_the_report_asks_nothing_of_any_server(smoke: Run) -> None:
    page = smoke.folder.report_path.read_text()
    assert not re.search(r"""(?:src|href)\s*=\s*["']?(?:https?:)?//""", page)
    assert "@import" not in page
    assert page.count("<svg") >= 4
    assert {path.suffix for path in smoke.folder.figures.iterdir()} == {".svg"}


def test_the_same_command_again_reuses_everything(
    smoke: Run, out: Path, smoke_yaml: str, invoke: Callable[..., str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in smoke.path.glob("*.parquet")}
    printed = invoke("run", smoke_yaml, "--no-prefect", "--out", str(out))
    assert printed.count("reused") == 5
    after = {path: path.stat().st_mtime_ns for path in smoke.path.glob("*.parquet")}
    # Energy is put together anew from the stages' accounts; everything else stays untouched.
    assert {path.name for path in before if before[path] != after[path]} == {"energy.parquet"}


def test_a_change_of_the_baseline_reuses_data_and_library_of_the_other_run(
    smoke: Run, out: Path, smoke_yaml: str, invoke: Callable[..., str]
) -> None:
    changed = ["--set", "baseline.enabled=false", "--set", "name=other"]
    invoke("analyze", smoke_yaml, "--no-prefect", "--out", str(out), *changed)
    (path,) = (out / "runs").glob("other-*")
    other = load_run(path)
    reused = {row["stage"]: row["reused"] for row in other.energy.to_pylist()}
    assert reused == {"prepare": True, "library": True, "search": False, "analyze": False}
    shared = {row["stage"]: row["energy_j"] for row in smoke.energy.to_pylist()}
    for row in other.energy.to_pylist():
        if row["reused"]:
            assert row["energy_j"] == shared[row["stage"]]
    assert set(other.results["model"].to_pylist()) == {
        "uniform",
        "unigram",
        "bigram",
        "kneser_ney",
        "gpt",
    }
    assert same_search(smoke, other)


def same_search(one: Run, other: Run) -> bool:
    tables = [
        data_columns(run.evaluations).drop_columns(["run_id"]).combine_chunks()
        for run in (one, other)
    ]
    return bool(tables[0].equals(tables[1]))


@pytest.mark.parametrize("workers", [1, 3])
def test_the_number_of_workers_does_not_change_a_bit(
    smoke: Run, tmp_path: Path, workers: int, smoke_yaml: str, invoke: Callable[..., str]
) -> None:
    command = ["search", smoke_yaml, "--no-prefect", "--out", str(tmp_path)]
    invoke(*command, "--set", f"runtime.workers={workers}")
    (path,) = (tmp_path / "runs").iterdir()
    assert path.name == smoke.run_id
    assert same_search(smoke, load_run(path))


@pytest.mark.slow
def test_a_run_that_was_interrupted_anywhere_ends_like_an_unbroken_one(
    smoke: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    smoke_yaml: str,
    invoke: Callable[..., str],
) -> None:
    left = 0
    update = _Lines.update

    def interrupting(lines: _Lines, completed: float, note: str = "") -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        update(lines, completed, note)

    monkeypatch.setattr(_Lines, "update", interrupting)
    statuses: list[int] = []
    while 0 not in statuses:
        # Each attempt gets further than the one before, and breaks off somewhere else.
        left = 5 + 7 * len(statuses)
        done = CliRunner().invoke(app, ["run", smoke_yaml, "--no-prefect", "--out", str(tmp_path)])
        statuses.append(done.exit_code)
    assert len(statuses) > 3
    assert set(statuses) == {0, 130}
    (path,) = (tmp_path / "runs").iterdir()
    resumed = load_run(path)
    assert same_search(smoke, resumed)
    for name in ("results", "scores", "comparisons", "baseline"):
        assert data_columns(resumed.table(name)).equals(data_columns(smoke.table(name))), name


def test_text_that_changes_during_a_run_is_refused(tmp_path: Path, smoke_yaml: str) -> None:
    text = tmp_path / "text.txt"
    text.write_text("In the beginning was the word. " * 400)
    sets = ["data.source=files", f"data.files.train={text}", "data.train_tokens=null"]
    sets += ["data.fractions={train: 0.7, tune: 0.1, validation: 0.1, test: 0.1}"]
    config = load_config(smoke_yaml, [*sets, "tokenizer.vocab_size=300"])
    with RunContext.open(config, tmp_path, SILENT) as run:
        text.write_text("And the word was changed soon after. " * 400)
        with pytest.raises(DataError, match="changed since the command began"):
            PREPARE.run(run)
        assert run.manifest["stages"]["prepare"]["status"] == "failed"
    assert config.run_id(config.recipe.fingerprint) != run.run_id


def copy_of(run: Run, tmp_path: Path) -> Path:
    """Copy a run with the data set and library that it shares, and return the output folder."""
    shutil.copytree(run.path.parents[1], tmp_path, dirs_exist_ok=True)
    for other in (tmp_path / "runs").iterdir():
        if other.name != run.run_id:
            shutil.rmtree(other)
    return tmp_path / "runs" / run.run_id


def test_what_is_built_on_a_stage_that_is_done_anew_is_done_anew(
    smoke: Run, tmp_path: Path, smoke_yaml: str, invoke: Callable[..., str]
) -> None:
    run = copy_of(smoke, tmp_path)
    halved = smoke.scores.to_pydict()
    halved["nll"] = [nll / 2 for nll in halved["nll"]]
    write_table(run / "scores.parquet", pa.table(halved, schema=smoke.scores.schema), "scores")
    (run / "stages" / "search.done.json").unlink()
    printed = invoke("run", smoke_yaml, "--no-prefect", "--out", str(tmp_path))
    assert printed.count("reused") == 3  # prepare, library and baseline
    again = load_run(run)
    assert same_search(smoke, again)
    assert data_columns(again.results).equals(data_columns(smoke.results))


@pytest.mark.parametrize(
    "gone",
    [
        "evaluations.parquet",
        "results.parquet",
        "models/gpt",
        pytest.param("models/adamw", marks=pytest.mark.slow),
        "manifest.json",
    ],
)
def test_what_is_gone_is_made_again(
    smoke: Run, tmp_path: Path, smoke_yaml: str, invoke: Callable[..., str], gone: str
) -> None:
    run = copy_of(smoke, tmp_path)
    remove(run / gone)
    invoke("run", smoke_yaml, "--no-prefect", "--out", str(tmp_path))
    assert (run / gone).exists()
    again = load_run(run)
    assert same_search(smoke, again)
    assert data_columns(again.results).equals(data_columns(smoke.results))
    assert again.manifest["best"] == smoke.manifest["best"]


@pytest.mark.slow
def test_a_fresh_start_takes_nothing_over_and_says_whose_joules_are_whose(
    smoke: Run, tmp_path: Path, smoke_yaml: str, invoke: Callable[..., str]
) -> None:
    run = copy_of(smoke, tmp_path)
    (run / "mine.txt").touch()
    invoke("search", smoke_yaml, "--no-prefect", "--fresh", "--out", str(tmp_path))
    again = load_run(run)
    assert not (run / "mine.txt").exists()
    assert not again.has("results")
    assert again.manifest["uid"] != smoke.manifest["uid"]
    assert same_search(smoke, again)
    invoke("run", smoke_yaml, "--no-prefect", "--out", str(tmp_path))
    reused = {row["stage"]: row["reused"] for row in load_run(run).energy.to_pylist()}
    assert reused["prepare"]
    assert reused["library"]
    assert not reused["search"]
