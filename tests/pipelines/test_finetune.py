"""`clso finetune` on a finished run: what it writes, reuses, leaves alone and refuses."""

import json
import shutil
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pytest
from typer.testing import CliRunner

from clso.artifacts import Run, load_run, read_json
from clso.data import Dataset
from clso.data.corpus import PackageCorpus
from clso.errors import ArtifactError, ClsoError, ConfigError, DataError
from clso.finetune.books import book_task
from clso.finetune.fit import FitInputs
from pipelines.cli import app
from pipelines.config import RunConfig
from pipelines.studies.finetune import finetune

QUICK = {
    "finetune.learning_rates": [1e-3, 1e-2],
    "finetune.epochs": 1,
    "finetune.batch_size": 8,
    "finetune.seeds": 2,
    "runtime.workers": 1,
}


@pytest.fixture
def own(smoke: Run, tmp_path: Path) -> Run:
    """A copy of the smoke run beside a link to its data set."""
    out = tmp_path / "out"
    (out / "runs").mkdir(parents=True)
    (out / "datasets").symlink_to(smoke.path.parents[1] / "datasets")
    shutil.copytree(smoke.path, out / "runs" / smoke.run_id)
    return load_run(out / "runs" / smoke.run_id)


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    """A folder with a task that words decide."""
    folder = tmp_path / "reviews"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name, count in (("train", 40), ("dev", 20)):
        rows = [
            {"sentence": f"{('evil', 'good')[n % 2]} {rng.integers(99)}", "label": n % 2}
            for n in range(count)
        ]
        text = "".join(f"{json.dumps(row)}\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text)
    return folder


def files(run: Run) -> dict[str, str]:
    """Return a digest of every file that fine-tuning leaves as it is."""
    return {
        str(path.relative_to(run.path)): sha256(path.read_bytes()).hexdigest()
        for path in run.path.rglob("*")
        if path.is_file() and not {"state", "figures"} & {*path.relative_to(run.path).parts}
        if path.name not in ("finetunings.parquet", "manifest.json")
    }


def data_columns(run: Run) -> list[dict[str, Any]]:
    apart = {"duration_s", "energy_j", "energy_source", "estimated"}
    return [
        {name: value for name, value in row.items() if name not in apart}
        for row in run.finetunings.to_pylist()
    ]


def test_every_start_has_a_fit_per_seed_and_the_run_stays(own: Run, reviews: Path) -> None:
    before = files(own)
    table = finetune(own, [str(reviews)], QUICK).finetunings
    assert files(own) == before
    found = {(row["start"], row["seed"]): row for row in table.to_pylist() if not row["chooses"]}
    starts = ("gpt", "adamw", "random")
    floors = {("majority", 0), ("bag_of_words", 0)}
    assert found.keys() == {(start, seed) for start in starts for seed in (0, 1)} | floors
    for row in found.values():
        right = np.array(row["expected"]) == np.array(row["predicted"])
        assert row["accuracy"] == pytest.approx(right.mean())
        assert len(right) == 20
        assert row["energy_j"] > 0
    assert found["bag_of_words", 0]["accuracy"] == 1.0
    note = read_json(own.path / "manifest.json")["finetunings"]["reviews"]
    assert note["metric"] == "accuracy"
    for start in starts:
        own_choices = [r for r in table.to_pylist() if r["chooses"] and r["start"] == start]
        assert {row["lr"] for row in own_choices} == {1e-3, 1e-2}
        assert {len(row["predicted"]) for row in own_choices} == {8}
        best = min(own_choices, key=lambda row: (-row["accuracy"], row["loss"], row["lr"]))
        assert note["rates"][start] == best["lr"] == found[start, 0]["lr"]


def test_finished_fits_are_kept(own: Run, reviews: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []
    original = FitInputs.fitted

    def fitted(inputs: FitInputs, fit: Any) -> Any:  # noqa: ANN401
        if len(made) == 5:
            raise KeyboardInterrupt
        made.append(fit)
        return original(inputs, fit)

    monkeypatch.setattr(FitInputs, "fitted", fitted)
    with pytest.raises(KeyboardInterrupt):
        finetune(own, [str(reviews)], QUICK)
    assert not own.has("finetunings")
    first, made[:] = [*made], []
    monkeypatch.setattr(FitInputs, "fitted", lambda *a: made.append(a[1]) or original(*a))
    whole = finetune(own, [str(reviews)], QUICK)
    assert len(made) == 12 - len(first)
    assert not {*made} & {*first}
    made.clear()
    assert data_columns(finetune(own, [str(reviews)], QUICK)) == data_columns(whole)
    assert made == []
    finetune(own, [str(reviews)], QUICK | {"finetune.seeds": 3})
    assert len(made) == 3
    other = finetune(own, [str(reviews)], QUICK | {"finetune.train_examples": 30})
    assert len(made) == 3 + 12
    assert {*other.finetunings["task"].to_pylist()} == {"reviews"}
    assert max(other.finetunings["train_examples"].to_pylist()) == 30


def test_the_command_prints_the_comparison_and_the_report_has_it(own: Run, reviews: Path) -> None:
    out = str(own.path.parents[1])
    options = [text for name, value in QUICK.items() for text in ("--set", f"{name}={value}")]
    arguments = ["finetune", own.run_id, "kjv_books", str(reviews), "--out", out, *options]
    done = CliRunner().invoke(
        app, [*arguments, "--set", "finetune.labels=2"], catch_exceptions=False
    )
    assert done.exit_code == 0, done.output
    text = " ".join(done.output.split())
    assert "Fine-tuning: kjv_books" in text
    assert "Fine-tuning: reviews" in text
    assert "which no model has read and by which nothing was chosen" in text
    shown = CliRunner().invoke(app, ["show", own.run_id, "--out", out], catch_exceptions=False)
    assert "Fine-tuning: reviews" in shown.output
    CliRunner().invoke(app, ["report", own.run_id, "--out", out], catch_exceptions=False)
    page = (own.path / "report.html").read_text()
    assert "Fine-tuning: reviews" in page
    assert "Fine-tuning: kjv_books" in page
    assert (own.path / "figures" / "finetune-kjv_books.svg").exists()


def test_no_passage_to_report_on_is_of_a_chapter_that_a_model_has_read(smoke: Run) -> None:
    config = RunConfig.model_validate(smoke.config)
    path = smoke.path.parents[1] / "datasets" / smoke.manifest["data_fingerprint"]
    dataset = Dataset.load(path, block_size=config.data.block_size)
    budget = dataset.budget(config.data.train_tokens)
    task = book_task(
        PackageCorpus.Settings(), dataset, budget, labels=2, verses=2, held_out=0.3, seed=0
    )

    def text_of(*names: str) -> str:
        streams = (dataset.splits[name].stream for name in names)
        return "".join(dataset.tokenizer.decode(s.slice(0, len(s)).tolist()) for s in streams)

    read_by_models, unread = text_of("train", "tune", "validation"), text_of("test")
    assert all(passage in unread for (passage,) in task.reported.texts)
    # two psalms share verses: what stands in two chapters is told
    repeated = sum(passage in read_by_models for (passage,) in task.reported.texts)
    assert repeated > 0
    assert f"{repeated} of these {len(task.reported)} passages stand" in task.about[0]
    assert not {*task.reported.documents.tolist()} & {
        *(d for name in ("train", "tune", "validation") for d in dataset.splits[name].document_ids)
    }
    within = "".join(
        dataset.tokenizer.decode(budget[name].stream.slice(0, budget[name].n_tokens + 1).tolist())
        for name in ("train", "tune")
    )
    for (passage,) in task.train.texts:
        assert passage in within
    held_out = {*task.train.documents[task.held_out].tolist()}
    assert not held_out & {*task.train.documents[~task.held_out].tolist()}


@pytest.mark.parametrize(
    ("task", "changes", "error", "said"),
    [
        ("kjv_book", {}, ConfigError, "no task 'kjv_book'.*\n.*did you mean kjv_books"),
        ("kjv_books", {"finetune.labels": 60}, DataError, "finetune.labels is 60"),
        ("kjv_books", {"finetune.max_length": 64}, ConfigError, "have 32 positions"),
        ("kjv_books", {"seed": 1}, ConfigError, "seed is a setting of the run, which is finished"),
        ("kjv_books", {"finetune.epoch": 1}, ConfigError, "did you mean 'epochs'"),
        ("kjv_books", {"finetune.labels": 2, "finetune.batch_size": 5000}, ConfigError, "batch"),
        (
            "mine",
            {"finetune.tasks": {"mine": {"train": "no.tsv", "dev": "no.tsv"}}},
            DataError,
            "there is no file no.tsv",
        ),
    ],
)
def test_mistakes_are_told_before_any_work(
    smoke: Run, task: str, changes: dict[str, Any], error: type[ClsoError], said: str
) -> None:
    with pytest.raises(error, match=said) as caught:
        finetune(smoke, [task], changes)
    assert caught.value.exit_status == 2
    assert not smoke.has("finetunings")


def test_a_run_without_a_crystalline_gpt_is_refused(own: Run) -> None:
    shutil.rmtree(own.folder.model("gpt"))
    with pytest.raises(ArtifactError, match=r"has no model 'gpt'\n.*it has adamw"):
        finetune(own)


def test_a_task_on_other_text_is_refused(own: Run) -> None:
    config = {**own.config, "data": {**own.config["data"], "source": "hub"}}
    own.folder.write_manifest({**own.manifest, "config": config})
    with pytest.raises(ConfigError, match="kjv_books is about the King James text"):
        finetune(load_run(own.path), ["kjv_books"])


def test_rows_of_other_tasks_stay(own: Run, reviews: Path) -> None:
    finetune(own, [str(reviews)], QUICK)
    shutil.copytree(reviews, reviews.with_name("others"))
    table = finetune(own, [str(reviews.with_name("others"))], QUICK).finetunings
    counts = {row["values"]: row["counts"] for row in pc.value_counts(table["task"]).to_pylist()}
    assert counts == {"reviews": 14, "others": 14}
