"""Deleting runs, and what no run uses."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from clso.artifacts import Run, read_sealed, write_sealed
from clso.artifacts.schemas import SCHEMA_VERSION
from clso.errors import ArtifactError, ClsoError
from pipelines.disposal import Leftovers, discard, folder_size, remove_run, run_folder
from pipelines.inspect import find_run

Invoke = Callable[..., str]


def written(path: Path, text: str = "1234567890") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def manifest(folder: Path, **values: object) -> Path:
    write_sealed(folder / "manifest.json", {"run_id": folder.name, **values})
    return folder


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """Two data sets and two libraries; a run uses one of each, and an arm of it another."""
    for home in ("datasets/d1", "datasets/d2", "libraries/l1", "libraries/l2", "libraries/l3"):
        stage = "prepare" if home.startswith("d") else "library"
        written(tmp_path / home / "file")
        written(tmp_path / home / "stages" / f"{stage}.done.json")
    run = manifest(
        tmp_path / "runs" / "quick-1",
        data_fingerprint="d1",
        stages={"prepare": {"status": "done"}},
        shared={"prepare": "datasets/d1", "library": "libraries/l1"},
        config={"data": {"source": "hub"}},
    )
    arm = run / "state" / "arms" / "a1"
    manifest(arm, stages={"library": {}}, shared={"library": "libraries/l3"})
    return tmp_path


def found(out: Path) -> list[str]:
    leftovers = Leftovers(out)
    return sorted(str(leftover.path.relative_to(out)) for leftover in leftovers.find())


def test_what_a_run_or_its_arms_use_stays(made: Path) -> None:
    assert found(made) == ["datasets/d2", "libraries/l2"]


def test_a_deleted_run_frees_what_it_alone_used(made: Path) -> None:
    run = run_folder("quick", made)
    size = folder_size(run)
    assert remove_run(run, made) == size > 0
    assert not run.exists()
    assert list((made / "runs").iterdir()) == []
    freed = [*(made / "datasets").glob("*"), *(made / "libraries").glob("*")]
    assert found(made) == sorted(str(path.relative_to(made)) for path in freed)


def test_arms_that_a_study_no_longer_has_are_remains(made: Path) -> None:
    run = made / "runs" / "quick-1"
    values = read_sealed(run / "manifest.json")
    manifest(run, **{**values, "arms": {"ablations/gpt": ["a2"]}})
    assert found(made) == [
        "datasets/d2",
        "libraries/l2",
        "libraries/l3",
        "runs/quick-1/state/arms/a1",
    ]


def test_downloads_stay_while_a_data_set_from_the_hub_is_unfinished(made: Path) -> None:
    written(made / "hub-cache" / "blob")
    assert "hub-cache" in found(made)
    values = read_sealed(made / "runs" / "quick-1" / "manifest.json")
    values["stages"]["prepare"]["status"] = "interrupted"
    manifest(made / "runs" / "quick-1", **values)
    assert "hub-cache" not in found(made)


def test_remains_of_killed_processes_are_found_in_shared_folders_and_in_runs(made: Path) -> None:
    remains = [
        ".trash/5f",
        ".hub-cache.77-ab.old/blob",
        "runs/.quick-0.77-ab.old/manifest.json",
        "datasets/.d3.partial/text",
        "datasets/d1/.file.77-ab.tmp",
        "libraries/.l1.77-ab.old/x",
        "runs/quick-1/models/.gpt.77-ab.tmp/model",
    ]
    for name in remains:
        written(made / name)
    leftovers = Leftovers(made)
    for leftover in leftovers.find():
        assert leftovers.delete(leftover)
    assert found(made) == []
    assert not any((made / name).exists() for name in remains)
    assert (made / "runs/quick-1/manifest.json").exists()
    assert (made / "datasets/d1/file").exists()


@pytest.mark.parametrize("text", [None, "{torn"])
def test_while_a_run_does_not_say_what_it_uses_shared_folders_stay(
    made: Path, text: str | None
) -> None:
    written(made / "hub-cache" / "blob")
    broken = made / "runs" / "old-2"
    broken.mkdir()
    if text:
        written(broken / "manifest.json", text)
    leftovers = Leftovers(made)
    assert leftovers.find() == []
    assert leftovers.unknown == [f"{broken} has no manifest that can be read"]
    manifest(broken, stages={"search": {"status": "done"}})
    assert "does not say what it uses" in Leftovers(made).unknown[0]
    manifest(broken)
    assert Leftovers(made).unknown == []


def test_what_a_process_works_with_stays(made: Path) -> None:
    leftovers = Leftovers(made)
    dataset, library = leftovers.find()
    with FileLock(made / "datasets" / ".d2.prepare.lock"):
        assert not leftovers.delete(dataset)
    manifest(made / "runs" / "new-3", shared={"library": "libraries/l2"}, stages={"library": {}})
    assert not leftovers.delete(library)
    assert dataset.path.exists()
    assert library.path.exists()
    assert leftovers.delete(dataset)


@pytest.mark.parametrize(
    ("folder", "lock"),
    [("runs/quick-1", "quick-1.lock"), ("studies/t", "study-t.process-5f.lock")],
)
def test_a_run_or_study_that_a_process_works_in_is_not_deleted(
    made: Path, folder: str, lock: str
) -> None:
    manifest(made / folder)
    (made / ".locks").mkdir()
    path = run_folder(str(made / folder), made)
    with (
        FileLock(made / ".locks" / lock),
        pytest.raises(ArtifactError, match=f"another process works in .*{folder}"),
    ):
        remove_run(path, made)
    remove_run(path, made)
    assert not (made / folder).exists()


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("slow", "there is no run 'slow'"),
        ("", "there is no run ''"),
        ("quick-", r"'quick-' could be .*quick-1, .*quick-2"),
        (".", "is no folder of a run or study"),
        ("latest", "there is no run 'latest'"),
    ],
)
def test_only_one_run_by_its_own_name_is_meant(made: Path, name: str, match: str) -> None:
    manifest(made / "runs" / "quick-2")
    with pytest.raises(ArtifactError, match=match):
        run_folder(name, made)


def test_a_run_without_a_manifest_is_listed_and_can_be_deleted(
    smoke: Run, tmp_path: Path, invoke: Invoke
) -> None:
    shutil.copytree(smoke.path, tmp_path / "runs" / "bare-1")
    (tmp_path / "runs" / "bare-1" / "manifest.json").unlink()
    listed = " ".join(invoke("ls", "--out", str(tmp_path)).split())
    assert "bare-1" in listed
    assert "manifest.json is missing" in listed
    told = invoke("rm", "bare", "--yes", "--out", str(tmp_path))
    assert "bare-1: " in told
    assert " freed" in told
    assert not (tmp_path / "runs" / "bare-1").exists()


def test_nothing_that_a_finished_run_uses_is_pruned_and_a_dry_run_deletes_nothing(
    smoke: Run, out: Path, invoke: Invoke
) -> None:
    shared = smoke.manifest["shared"]
    assert sorted(shared) == ["library", "prepare"]
    stray = out / "libraries" / "0123456789abcdef"
    written(stray / "library.parquet")
    try:
        told = invoke("prune", "--dry-run", "--out", str(out))
        assert "10\N{NO-BREAK SPACE}B would be deleted, no run uses it" in told
        assert stray.exists()
        assert "10\N{NO-BREAK SPACE}B freed" in invoke("prune", "--out", str(out))
        assert not stray.exists()
    finally:
        shutil.rmtree(stray, ignore_errors=True)
    assert all((out / home).is_dir() for home in shared.values())


@pytest.mark.parametrize("kind", ["datasets", "libraries", "hub-cache"])
def test_what_a_linked_folder_leads_to_stays(made: Path, tmp_path: Path, kind: str) -> None:
    manifest(made / "runs" / "quick-1", stages={})  # uses nothing
    elsewhere = tmp_path / "elsewhere"
    written(made / kind / "d7" / "file")
    (made / kind).rename(elsewhere)
    (made / kind).symlink_to(elsewhere)
    leftovers = Leftovers(made)
    assert leftovers.linked == [f"{made / kind} is a link, so what it leads to stays"]
    assert not [other for other in leftovers.find() if other.path.is_relative_to(made / kind)]


def test_of_linked_runs_and_data_sets_only_the_link_is_deleted(made: Path, tmp_path: Path) -> None:
    for name in ("runs/quick-1", "datasets/d2"):
        (made / name).rename(tmp_path / "real")
        (made / name).symlink_to(tmp_path / "real")
        if name.startswith("runs"):
            remove_run(run_folder("quick-1", made), made)
        else:
            leftovers = Leftovers(made)
            (dataset,) = (o for o in leftovers.find() if o.path.name == "d2")
            assert leftovers.delete(dataset)
        assert not (made / name).is_symlink()
        assert list((tmp_path / "real").iterdir())
        shutil.rmtree(tmp_path / "real")


def test_a_run_is_deleted_on_the_disk_where_it_lies(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename

    def within_a_folder(path: Path, target: Path) -> Path:
        assert path.parent == target.parent
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", within_a_folder)
    remove_run(made / "runs" / "quick-1", made)
    assert not list((made / "runs").iterdir())


def test_what_two_processes_delete_at_once_is_deleted(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rmtree, run = shutil.rmtree, made / "runs" / "quick-1"
    tries = []

    def meets_another(path: Path) -> None:
        tries.append(path)
        if len(tries) == 1:
            (path / "manifest.json").unlink()
            raise FileNotFoundError
        rmtree(path)

    monkeypatch.setattr(shutil, "rmtree", meets_another)
    remove_run(run, made)
    assert len(tries) == 2
    assert not list((made / "runs").iterdir())
    discard(run)


def test_a_dry_run_names_what_is_in_use_and_makes_no_file(made: Path, invoke: Invoke) -> None:
    partial = written(made / "datasets" / ".d9.partial" / "text").parent
    temporary = written(made / "libraries" / "..l1.library.json.77-ab.tmp")
    locks = [made / "datasets" / ".d9.lock", made / "libraries" / ".l1.library.lock"]
    with FileLock(locks[0]), FileLock(locks[1]):
        before = sorted(made.rglob("*"))
        told = invoke("prune", "--dry-run", "--out", str(made))
        assert sorted(made.rglob("*")) == before
        for path in (partial, temporary):
            assert f"{path}: in use now, stays" in told
        assert "in use now" not in told.partition("d2: ")[2].partition("\n")[0]
        invoke("prune", "--out", str(made))
        assert partial.exists()
        assert temporary.exists()


def test_what_vanishes_has_no_size(tmp_path: Path) -> None:
    assert folder_size(tmp_path / "gone") == 0


def test_a_folder_of_a_runs_name_does_not_hide_the_run(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here" / "quick").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    assert run_folder("quick", made).name == "quick-1"
    manifest(made / "runs" / "quick-1", schema_version=SCHEMA_VERSION)
    assert find_run("quick", made).path.name == "quick-1"
    with pytest.raises(ArtifactError, match="holds no run"):
        find_run("./quick", made)


def test_rm_asks_or_is_told_not_to(
    made: Path, monkeypatch: pytest.MonkeyPatch, invoke: Invoke
) -> None:
    with pytest.raises(ClsoError, match="add --yes"):
        invoke("rm", "quick", "--out", str(made))
    monkeypatch.setattr("pipelines.storage_commands._has_terminal", lambda: True)
    monkeypatch.setattr("typer.confirm", lambda text: False)
    assert "nothing was deleted" in invoke("rm", "quick-1", "--out", str(made))
    assert (made / "runs" / "quick-1").exists()
    monkeypatch.setattr("typer.confirm", lambda text: True)
    assert "`clso prune` frees" in invoke("rm", "quick-1", "--out", str(made))
    assert not (made / "runs" / "quick-1").exists()
