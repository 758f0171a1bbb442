"""TensorBoard's event files and MLflow's store, read back."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from clso.artifacts import Run
from clso.errors import ConfigError
from clso.watch import MlflowTracker, RunReader, TensorBoardTracker, TrackingSettings, following
from search import SearchSettings, minimize

pytestmark = pytest.mark.slow  # both packages take seconds to import, and are extras


def scalars(folder: Path, tag: str) -> dict[int, float]:
    """Return a curve of TensorBoard's event files."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    return {event.step: event.value for event in events.Scalars(tag)}


@pytest.mark.parametrize("times", [1, 2])
def test_tensorboard_has_every_curve_of_a_run_once(run: Run, tmp_path: Path, times: int) -> None:
    others = [
        tmp_path / "mine" / folder / "events.out.tfevents.1.host.2.3"
        for folder in (".", "search gpt")
    ]
    for path in others:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    for _ in range(times):  # a second time replaces the first
        with following(run.path, [TensorBoardTracker(tmp_path / "mine")]):
            pass
    best = scalars(tmp_path / "mine" / "search gpt", "best_loss")
    stored = {row["generation"]: row["best_loss"] for row in run.generations.to_pylist()}
    assert best == pytest.approx(stored)
    curve = scalars(
        tmp_path / "mine" / "adamw lr=0.002 cosine batch=4 dropout=0 passes=1", "train_loss"
    )
    assert len(curve) == 25
    assert scalars(tmp_path / "mine", "gpt/test_loss") == pytest.approx(
        {0: {r["model"]: r["test_loss"] for r in run.results.to_pylist()}["gpt"]}
    )
    assert len(list((tmp_path / "mine").glob("events.out.tfevents.*.clso"))) == 1
    assert all(path.exists() for path in others)  # another program's


def test_mlflow_has_a_run_with_a_nested_run_for_each_part(run: Run, tmp_path: Path) -> None:
    settings = TrackingSettings(to=("mlflow",), folder=str(tmp_path))
    for _ in range(2):  # the second time goes on with the first
        with following(run.path, settings.open(run.run_id, tmp_path / "elsewhere")):
            pass
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mlflow import MlflowClient

        client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'mlflow' / 'mlflow.db'}")
        experiment = client.get_experiment_by_name("clso")
        assert experiment is not None
        runs = {one.info.run_name: one for one in client.search_runs([experiment.experiment_id])}
        parent, search = runs[run.run_id], runs["search gpt"]
        history = client.get_metric_history(search.info.run_id, "best_loss")
        files = {file.path for file in client.list_artifacts(parent.info.run_id)}
    assert search.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert {metric.step: metric.value for metric in history} == {
        row["generation"]: row["best_loss"] for row in run.generations.to_pylist()
    }
    assert len(history) == run.generations.num_rows
    assert parent.data.params["model.n_layer"] == "2"
    assert parent.info.status == "FINISHED"
    results = {row["model"]: row["test_loss"] for row in run.results.to_pylist()}
    assert parent.data.metrics["adamw/test_loss"] == results["adamw"]
    assert {"manifest.json", "results.parquet"} <= files
    assert len(runs) == 2 + 3


def test_a_search_of_ones_own_logs_its_generations(tmp_path: Path) -> None:
    losses: list[float] = []
    settings = SearchSettings(population=8, generations=4, surrogate={"kind": "none"})
    with (
        TensorBoardTracker(tmp_path / "board") as board,
        MlflowTracker("mine", tmp_path / "mlflow") as store,
    ):
        best = minimize(
            lambda genome: float(sum(genome)),
            [4] * 5,
            settings=settings,
            callbacks=[
                board.log_generation,
                store.log_generation,
                lambda row, incumbent: losses.append(row["best_loss"]),
            ],
        )
    assert scalars(tmp_path / "board", "best_loss") == pytest.approx(dict(enumerate(losses)))
    assert losses[-1] == best.loss


@pytest.mark.parametrize("uri", ["nothing://here", "databricks", "file:./mlruns", "postgresql:x"])
def test_a_store_that_cannot_be_opened_is_refused_and_is_no_folder(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=f"store {uri} cannot be opened"):
        TrackingSettings(to=("mlflow",), mlflow_uri=uri).open("mine", tmp_path)
    assert list(tmp_path.rglob("*.db")) == []


def test_a_run_without_artifacts_has_no_points(tmp_path: Path) -> None:
    assert list(RunReader(tmp_path / "none").points()) == []
