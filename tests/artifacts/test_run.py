import importlib.util
import json
import os
from pathlib import Path

import pytest

from clso.artifacts import Run, load_run, table_from_rows
from clso.errors import ArtifactError


def test_a_growing_table_reads_the_same_before_and_after_compaction(run: Run) -> None:
    growing = run.table("evaluations")
    assert growing.num_rows == 6
    assert growing["generation"].to_pylist() == [0, 0, 0, 1, 1, 1]
    run.folder.compact("evaluations")
    assert run.folder.table("evaluations").exists()
    assert not run.folder.parts("evaluations").folder.exists()
    assert run.evaluations.equals(growing)


def test_a_generation_written_twice_counts_once(run: Run) -> None:
    rows = run.evaluations.slice(3, 3).to_pylist()
    run.folder.sink("gpt").append("evaluations", 1, rows)
    assert run.table("evaluations").equals(run.evaluations)


def test_a_stage_that_has_not_run_is_told_with_its_command(run: Run) -> None:
    assert not run.has("baseline")
    with pytest.raises(ArtifactError, match="quick-0001 has no baseline yet") as caught:
        _ = run.baseline
    assert "clso baseline CONFIG" in caught.value.remedy


def test_a_table_that_no_run_has_is_refused(run: Run) -> None:
    with pytest.raises(ArtifactError, match="no table 'trees'"):
        run.table("trees")


def test_a_search_without_rows_is_an_empty_table(run: Run) -> None:
    run.folder.sink("gpt").append("generations", 0, [])
    run.folder.sink("gpt").append("generations", 1, [])
    assert run.generations.equals(table_from_rows([], "generations"))


def test_manifest_gives_config_and_name(run: Run) -> None:
    assert run.run_id == "quick-0001"
    assert run.config == {"seed": 1, "data": {"train_tokens": 1000}}
    assert run.manifest["schema_version"] == 2


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="holds no run") as caught:
        load_run(tmp_path)
    assert "clso ls" in caught.value.remedy


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is damaged"),
        ("[]", "is not the manifest of a run"),
        ("{}", "is not the manifest of a run"),
        ('{"run_id": "a", "schema_version": 7}', "schema version 7, this CLSO reads version 2"),
    ],
)
def test_a_damaged_or_foreign_manifest_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(ArtifactError, match=message):
        load_run(tmp_path)


def test_frames_hold_the_same_rows(run: Run) -> None:
    pandas = run.to_pandas("evaluations")
    polars = run.to_polars("evaluations")
    assert pandas["evaluated_loss"].tolist() == polars["evaluated_loss"].to_list()
    assert [list(genome) for genome in pandas["genome"]] == polars["genome"].to_list()


@pytest.mark.parametrize("package", ["pandas", "polars"])
def test_a_missing_frame_library_is_told(
    run: Run, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ArtifactError, match=f"{package} is not installed") as caught:
        getattr(run, f"to_{package}")("results")
    assert caught.value.remedy == f"pip install {package}"


def test_runs_are_listed_oldest_first_and_damaged_ones_too(runs: Path) -> None:
    for age, name in enumerate(("quick-0002", "quick-0001")):
        os.utime(runs / name / "manifest.json", (1000 + age, 1000 + age))
    (runs / "not-a-run").mkdir()
    (runs / "damaged").mkdir()
    (runs / "damaged" / "manifest.json").write_text("{")
    names = [path.name for path in Run.folders(runs)]
    assert names == ["quick-0002", "quick-0001", "damaged"]
    assert Run.folders(runs / "nowhere") == []


def test_the_manifest_is_plain_json(run: Run) -> None:
    assert json.loads(run.folder.manifest_path.read_text())["run_id"] == run.run_id
