"""The live view of a run."""

from __future__ import annotations

import io
import json
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.console import Console
from stored_run import make_run  # noqa: F401 - a fixture

from clso.artifacts import Run, load_run
from pipelines.watch import RunView, sparkline, watch_run


def shown(run: Run, *, terminal: bool = False) -> str:
    console = Console(file=io.StringIO(), width=80, force_terminal=terminal, color_system=None)
    watch_run(run, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def note_stages(run: Run, **statuses: str) -> Run:
    path = run.folder.manifest_path
    manifest = json.loads(path.read_text())
    now = datetime.now(UTC).isoformat(timespec="seconds")
    manifest["stages"] = {name: {"status": to, "at": now} for name, to in statuses.items()}
    path.write_text(json.dumps(manifest))
    return load_run(run.path)


def beat(run: Run, stage: str, *, age_s: float = 0.0) -> Path:
    path = run.path / "stages" / f"{stage}.begun.json"
    path.parent.mkdir(exist_ok=True)
    cost = {"duration_s": 12.5, "devices": []}
    path.write_text(json.dumps({"needs": {}, "attempts": [cost], "started": 1}))
    os.utime(path, (time.time() - age_s,) * 2)
    return path


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
    beaten = beat(run, "search")
    naps = []

    def nap(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 3:
            beaten.unlink()
            note_stages(run, prepare="done", search="done", analyze="done")

    monkeypatch.setattr("pipelines.watch.time.sleep", nap)
    text = shown(run, terminal=True)
    assert len(naps) == 3
    assert "running" in text
    assert "12.5" in text
    assert text.rindex("done") > text.rindex("running")


def test_a_run_whose_process_was_killed_is_not_waited_for(make_run: Callable[..., Run]) -> None:  # noqa: F811
    run = note_stages(make_run(), search="running")
    beat(run, "search", age_s=600.0)
    assert not RunView(run).working
    assert "stopped" in shown(run, terminal=True)


def test_without_a_terminal_a_run_under_way_is_shown_once(make_run: Callable[..., Run]) -> None:  # noqa: F811
    run = note_stages(make_run(), search="running")
    beat(run, "search")
    assert RunView(run).working
    assert shown(run).count("search gpt") == 1


@pytest.mark.parametrize(
    ("values", "line"),
    [([], ""), ([5.0], "▁"), ([3.0, 2.0, 1.0], "█▅▁"), ([1.0] * 30, "▁" * 24)],
)
def test_a_sparkline_has_a_bar_for_each_value_or_each_stretch(
    values: list[float], line: str
) -> None:
    assert sparkline(values) == line
