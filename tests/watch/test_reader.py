"""What is new in a run's folder, as points of curves."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from stored_run import baseline_rows, evaluation_rows, generation_rows

from clso.artifacts import Parts, Run, RunFolder
from clso.errors import ArtifactError, ConfigError
from clso.watch import Points, RunReader, Tracker, TrackingSettings, following, forward


class Kept(Tracker):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.settings: dict[str, str] = {}
        self.points: list[Points] = []
        self.files: list[str] = []
        self.failed: bool | None = None

    def log_settings(self, settings: Mapping[str, str]) -> None:
        self.settings |= settings

    def log_points(self, points: Points) -> None:
        self.points.append(points)

    def log_file(self, path: Path) -> None:
        self.files.append(path.name)

    def flush(self) -> None:
        pass

    def close(self, *, failed: bool = False) -> None:
        self.failed = failed


def test_every_row_comes_once_also_when_parts_become_a_table(tmp_path: Path) -> None:
    folder, reader = RunFolder(tmp_path), RunReader(tmp_path)
    rows = generation_rows(evaluation_rows(np.random.default_rng(0), 4, 2))
    sink = folder.sink("gpt")
    assert list(reader.points()) == []
    for row in rows[:3]:
        sink.append("generations", row["generation"], [row])
    first = list(reader.points())
    assert [points.step for points in first] == [0, 1, 2]
    assert {points.part for points in first} == {"search gpt"}
    assert [points.values["best_loss"] for points in first] == [r["best_loss"] for r in rows[:3]]
    sink.append("generations", 2, [rows[2]])  # a resumed search repeats its last generation
    sink.append("generations", 3, [rows[3]])
    folder.compact("generations", "gpt")
    assert [points.step for points in reader.points()] == [3]
    assert list(reader.points()) == []


def test_a_damaged_table_is_named_and_read_when_it_is_whole(tmp_path: Path) -> None:
    folder, reader = RunFolder(tmp_path), RunReader(tmp_path)
    folder.write_rows("baseline", baseline_rows())
    whole = folder.table("baseline").read_bytes()
    folder.table("baseline").write_bytes(whole[:100])
    with pytest.raises(ArtifactError, match=r"baseline\.parquet"):
        list(reader.points())
    folder.table("baseline").write_bytes(whole)
    assert len(list(reader.points())) == len(baseline_rows())


def test_a_finished_run_gives_all_curves_results_and_files(run: Run) -> None:
    kept, reader = Kept(), RunReader(run.path)
    forward(reader, kept)
    parts = {points.part for points in kept.points}
    adamw = "adamw lr=0.002 cosine batch=4 dropout=0 passes=1"
    assert {"", "search gpt", adamw} <= parts
    curve = {p.step: p.values.get("validation_loss") for p in kept.points if p.part == adamw}
    stored = {
        row["step"]: row["validation_loss"] for row in run.baseline.to_pylist() if row["lr"] == 2e-3
    }
    assert curve == stored
    results = {row["model"]: row["test_loss"] for row in run.results.to_pylist()}
    logged = {name: value for p in kept.points if p.part == "" for name, value in p.values.items()}
    assert {model: logged[f"{model}/test_loss"] for model in results} == results
    assert logged["search/cpu/energy_j"] == 190.0
    assert "manifest.json" in {path.name for path in reader.files()}
    assert reader.settings["model.n_layer"] == "2"


def test_a_run_is_followed_to_its_end(make_run: Callable[..., Run], tmp_path: Path) -> None:
    kept = Kept()
    with following(tmp_path / "runs" / "quick-0a1b2c3d", [kept]):
        run = make_run()
    assert kept.failed is False
    assert kept.settings["name"] == "quick"
    assert sum(p.part == "search gpt" for p in kept.points) == run.generations.num_rows
    assert "results.parquet" in kept.files


def test_a_run_that_breaks_off_is_said_to_have_failed(tmp_path: Path) -> None:
    kept = Kept()
    with pytest.raises(KeyboardInterrupt), following(tmp_path, [kept]):
        raise KeyboardInterrupt
    assert kept.failed is True


def test_a_tracker_that_fails_disturbs_neither_the_run_nor_the_others(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Kept):
        def log_points(self, points: Points) -> None:
            raise OSError("the disk is full")

    kept = Kept()
    with caplog.at_level(logging.WARNING), following(run.path, [Broken(), kept]):
        pass
    assert "Broken gets no more curves: the disk is full" in caplog.text
    assert kept.points


@pytest.mark.parametrize("kind", ["tensorboard", "mlflow"])
def test_a_package_that_is_missing_is_named_with_its_extra(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (kind, f"{kind}.summary.writer.event_file_writer"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match="is not installed") as raised:
        TrackingSettings(to=(kind,)).open("mine", tmp_path)
    assert raised.value.remedy == f"pip install 'clso[{kind}]'"


@pytest.mark.parametrize("under_way", [False, True])
def test_each_search_of_a_study_is_a_part_of_its_own(tmp_path: Path, under_way: bool) -> None:
    folder = RunFolder(tmp_path)
    searched = {
        "loss": 4.2,
        "held_back_loss": 4.3,
        "evaluations": 96,
        "predictions": 10,
        "tokens": 1000,
        "duration_s": 1.0,
        "energy_j": None,
        "energy_source": None,
        "estimated": None,
        "surrogate_energy_j": None,
    }
    rows = [
        {"run_id": "r", "seed": seed, "family": "gpt", "arm": arm}
        | searched
        | {"steps": [1], "step_losses": [4.2], "step_energy_j": None}
        for arm in ("unfiltered", "ridge")
        for seed in (0, 1)
    ]
    reader = RunReader(tmp_path)
    if under_way:  # the table is written when the last search has ended
        points = []
        for row in rows:
            part = Parts(folder.state / "savings" / str(row["arm"]), "savings")
            part.write(int(str(row["seed"])), [row])
            points += reader.points()
    else:
        folder.write_rows("savings", rows)
        points = list(reader.points())
    assert len(points) == len({point.part for point in points}) == 4
    assert points[-1].part == "savings gpt ridge seed=1"
    assert points[-1].settings == {"family": "gpt", "arm": "ridge", "seed": "1"}
    assert points[-1].values["held_back_loss"] == 4.3
    assert "energy_j" not in points[-1].values  # not measured
    folder.write_rows("savings", rows)
    assert list(reader.points()) == []  # the parts become a table
    folder.write_rows("savings", [{**rows[0], "loss": 4.1}, *rows[1:]])
    assert [point.values["loss"] for point in reader.points()] == [4.1]
