"""Two commands at once: each does its work or says why not, and nothing is lost."""

import subprocess
import sys
from pathlib import Path

import pytest

from clso.artifacts import load_run, load_runs

pytestmark = pytest.mark.slow  # each command is a process of its own
TUNE = "tune={trials:3,seeds:2,check_seeds:2,budget:{evaluations:60}}"


def begun(*arguments: str, out: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "pipelines", *arguments, "--out", str(out)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, error = process.communicate(timeout=600)
    assert "Traceback" not in error, error
    assert process.returncode in (0, 1, 2)
    return process.returncode, error


def test_two_processes_begin_one_study(tmp_path: Path, smoke_yaml: str) -> None:
    command = ("tune", smoke_yaml, "--no-prefect", "--set", TUNE)
    both = [begun(*command, out=tmp_path) for _ in range(2)]
    assert [ended(process)[0] for process in both] == [0, 0]
    assert load_run(tmp_path / "studies" / "smoke").trials.num_rows == 3


def test_runs_deletions_and_reports_at_once_lose_nothing(tmp_path: Path, smoke_yaml: str) -> None:
    command = ("run", smoke_yaml, "--no-prefect")
    runs = [begun(*command, out=tmp_path) for _ in range(2)]
    while any(run.poll() is None for run in runs):
        others = [("rm", "smoke", "--yes"), ("report", "smoke"), ("ls",), ("show", "smoke")]
        for status, error in map(ended, [begun(*other, out=tmp_path) for other in others]):
            assert status == 0 or error.startswith("error: ")
    for status, error in map(ended, runs):
        assert status == 0 or "another process works in" in error
    assert ended(begun(*command, out=tmp_path))[0] == 0
    assert load_runs(tmp_path)["status"].to_pylist() == ["finished"]


def test_a_report_is_asked_for_while_a_run_begins_anew(tmp_path: Path, smoke_yaml: str) -> None:
    command = ("run", smoke_yaml, "--no-prefect")
    assert ended(begun(*command, out=tmp_path))[0] == 0
    anew = begun(*command, "--fresh", out=tmp_path)
    while anew.poll() is None:
        for status, error in [
            ended(begun(name, "smoke", out=tmp_path)) for name in ("report", "show")
        ]:
            assert status == 0 or error.startswith("error: ")
    assert ended(anew)[0] == 0
    assert load_runs(tmp_path)["status"].to_pylist() == ["finished"]


def test_two_processes_begin_one_study_anew(tmp_path: Path, smoke_yaml: str) -> None:
    command = ("tune", smoke_yaml, "--no-prefect", "--set", TUNE)
    assert ended(begun(*command, out=tmp_path))[0] == 0
    both = [begun(*command, "--fresh", out=tmp_path) for _ in range(2)]
    for status, error in map(ended, both):
        assert status == 0 or error.startswith("error: ")
    assert ended(begun(*command, out=tmp_path))[0] == 0
    assert load_run(tmp_path / "studies" / "smoke").trials.num_rows >= 3


def test_a_study_is_read_and_pruned_while_it_grows(tmp_path: Path, smoke_yaml: str) -> None:
    command = ("tune", smoke_yaml, "--no-prefect", "--set", TUNE)
    study = begun(*command, out=tmp_path)
    folder = str(tmp_path / "studies" / "smoke")
    while study.poll() is None:
        others = [("report", folder), ("show", folder), ("prune",)]
        for status, error in map(ended, [begun(*other, out=tmp_path) for other in others]):
            assert status == 0 or error.startswith("error: ")
    assert ended(study)[0] == 0
    assert load_run(tmp_path / "studies" / "smoke").trials.num_rows == 3
