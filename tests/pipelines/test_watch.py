"""The live view of a run."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from filelock import FileLock
from rich.console import Console
from stored_run import make_run  # noqa: F401 - a fixture

from clso.artifacts import Parts, Run, load_run, read_sealed, write_sealed
from pipelines.watch import RunView, sparkline, watch_run


def shown(run: Run, *, terminal: bool = False) -> str:
    console = Console(file=io.StringIO(), width=80, force_terminal=terminal, color_system=None)
    watch_run(run, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def note_stages(run: Run, **statuses: str) -> Run:
    path = run.folder.manifest_path
    manifest = read_sealed(path)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    manifest["stages"] = {name: {"status": to, "at": now} for name, to in statuses.items()}
    write_sealed(path, manifest)
    return load_run(run.path)


@contextmanager
def at_work(run: Run) -> Iterator[FileLock]:
    """Hold the lock of the process that works on a run."""
    with FileLock(run.path.parents[1] / ".locks" / f"{run.path.name}.lock") as lock:
        yield lock


def beat(begun: Path, belongs_to: str = "") -> None:
    """Write the cost of a stage so far."""
    cost = {"duration_s": 12.5, "devices": []}
    write_sealed(begun, {"needs": {}, "attempts": [cost], "started": 1}, belongs_to=belongs_to)


def test_a_finished_run_is_shown_once_in_80_columns(make_run: Callable[..., Run]) -> None:  # noqa: F811
    run = note_stages(make_run(), prepare="done", search="done", analyze="done")
    for terminal in (False, True):
        text = shown(run, terminal=terminal)
        assert max(map(len, text.splitlines())) <= 80
        for word in (run.run_id, "analyze", "search gpt", "generation 11", "adamw lr=0.002", "▁"):
            assert word in text
        assert text.count("prepare") == 1


def test_a_run_under_way_is_shown_until_it_ends(
    make_run: Callable[..., Run],  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = note_stages(make_run(), prepare="done", search="running")
    beaten = run.path / "stages" / "search.begun.json"
    beat(beaten)
    naps = []

    def nap(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 3:
            beaten.unlink()
            note_stages(run, prepare="done", search="done", analyze="done")
            lock.release()

    monkeypatch.setattr("pipelines.watch.time.sleep", nap)
    with at_work(run) as lock:
        text = shown(run, terminal=True)
    assert len(naps) == 3
    assert "running" in text
    assert "12.5" in text
    assert text.rindex("done") > text.rindex("running")
    assert "stopped" not in text


@pytest.mark.parametrize("stage", ["prepare", "search"])
def test_a_run_whose_process_was_killed_is_not_waited_for(
    make_run: Callable[..., Run],  # noqa: F811
    stage: str,
) -> None:
    run = note_stages(make_run(), **{stage: "running"})
    beat(run.path / "stages" / f"{stage}.begun.json")
    assert not RunView(run).working
    assert "stopped" in shown(run, terminal=True)


def test_without_a_terminal_a_run_under_way_is_shown_once(make_run: Callable[..., Run]) -> None:  # noqa: F811
    run = note_stages(make_run(), search="running")
    with at_work(run):
        assert RunView(run).working
        assert shown(run).count("search gpt") == 1


def test_a_stage_whose_outcome_runs_share_works_as_long_as_the_process(
    make_run: Callable[..., Run],  # noqa: F811
) -> None:
    run = note_stages(make_run(), prepare="running")
    shared = {"prepare": "datasets/51c2d9e08c1f44aa"}
    run.folder.write_manifest({**run.manifest, "shared": shared})
    beat(run.path.parents[1] / "datasets" / ".51c2d9e08c1f44aa.prepare.json", "51c2d9e08c1f44aa")
    with at_work(run):
        text = shown(run)
    assert "running" in text
    assert "12.5" in text


def test_a_study_on_a_finished_run_is_watched_while_it_works(
    make_run: Callable[..., Run],  # noqa: F811
) -> None:
    run = note_stages(make_run(), prepare="done", search="done", analyze="done")
    row = {"run_id": run.run_id, "seed": 3, "family": "gpt", "method": "greedy", "evaluations": 7}
    parts = Parts(run.folder.state / "rivals-0a1b" / "greedy", "rivals")
    with at_work(run):
        parts.write(3, [{**row, "loss": 4.25, "held_back_loss": 4.5}])
        assert RunView(run).working
        text = shown(run)
    assert "rivals gpt greedy seed=3" in text
    assert "4.250" in text
    for seed in range(4, 20):
        parts.write(seed, [{**row, "seed": seed, "loss": 4.0 + seed, "held_back_loss": 4.5}])
    text = shown(run)
    assert [f"seed={seed}" in text for seed in (3, 13, 14, 19)] == [True, False, True, True]
    assert "10 earlier of rivals" in text
    assert "23.00" in text


@pytest.mark.parametrize(
    ("values", "line"),
    [([], ""), ([5.0], "▁"), ([3.0, 2.0, 1.0], "█▅▁"), ([1.0] * 30, "▁" * 16)],
)
def test_a_sparkline_has_a_bar_for_each_value_or_each_stretch(
    values: list[float], line: str
) -> None:
    assert sparkline(values) == line
