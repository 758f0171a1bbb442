"""Commands that are killed anywhere: the same command again ends with the data of an unbroken one.

`CLSO_KILLS=100` tries so many lives of each command, and `CLSO_KILLS_SEED=1` other moments.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from fault_process import Ended, Faults, attempt
from tiny_run import COMMANDS, difference, tables, write_config

pytestmark = pytest.mark.slow

_LIVES = {"run": 6, "tune": 4, "ablate": 3, "savings": 3, "pareto": 3}
_MOST_KILLS = 3


def _lives(command: str) -> int:
    return int(os.environ.get("CLSO_KILLS") or _LIVES[command])


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_config(tmp_path_factory.mktemp("config") / "tiny.yaml")


def _seed() -> str:
    return os.environ.get("CLSO_KILLS_SEED", "0")


def _broken(
    rng: random.Random, arguments: list[str], unbroken: Ended, log: Path
) -> tuple[int, list[str]]:
    """Begin a command, kill it once or more, and let it end; returns kills and what went wrong."""
    kills, wrong = 0, []
    for _ in range(rng.choice([1, 1, 1, 2, _MOST_KILLS])):
        faults = Faults.kill(rng, unbroken.life_s, unbroken.changes)
        ended = attempt(arguments, log, faults)
        kills += ended.status == -signal.SIGKILL
        if ended.status not in (0, -signal.SIGKILL):
            wrong.append(f"{faults}: status {ended.status}: {ended.error[-2000:]}")
        if ended.left:
            wrong.append(f"{faults}: processes went on without it")
    ended = attempt(arguments, log)
    if ended.status:
        wrong.append(f"resumed: status {ended.status}: {ended.error[-2000:]}")
    return kills, wrong


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_that_was_killed_anywhere_ends_like_an_unbroken_one(
    command: str, config: Path, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    def arguments(out: Path) -> list[str]:
        return [command, str(config), "--no-prefect", "--out", str(out), *COMMANDS[command]]

    attempt(["--version"], tmp_path / "log")  # so that no life begins with the imports
    unbroken = attempt(arguments(tmp_path / "unbroken"), tmp_path / "log")
    assert unbroken.status == 0, unbroken.error
    assert not unbroken.left
    expected = tables(tmp_path / "unbroken")
    rng = random.Random(f"{command} {_seed()}")
    wrong: dict[int, list[str]] = {}
    n_kills, lives = 0, _lives(command)
    for life in range(lives):
        out = tmp_path / "broken"
        kills, faults = _broken(rng, arguments(out), unbroken, tmp_path / "log")
        n_kills += kills
        faults += [text for text in [not faults and difference(tables(out), expected)] if text]
        if faults:
            wrong[life] = faults
        shutil.rmtree(out, ignore_errors=True)
    record_property(
        "faults", f"{command}: {n_kills} kills in {lives} lives, {lives - len(wrong)} held"
    )
    assert not wrong


@pytest.mark.parametrize("command", ["run", "savings"])
def test_a_flow_that_was_killed_anywhere_ends_like_an_unbroken_one(
    command: str, config: Path, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    def flow(out: Path, killed_after_s: float | None = None) -> tuple[int, str, float]:
        line = [sys.executable, "-m", "pipelines", command, str(config), "--out", str(out)]
        process = subprocess.Popen(
            [*line, *COMMANDS[command]],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        began_s = time.monotonic()
        try:
            _, error = process.communicate(timeout=killed_after_s or 300)
        except subprocess.TimeoutExpired:
            process.kill()
            _, error = process.communicate()
        return process.returncode, error, time.monotonic() - began_s

    # without Prefect it has the same data
    plain = [command, str(config), "--no-prefect", "--out", str(tmp_path / "unbroken")]
    assert attempt([*plain, *COMMANDS[command]], tmp_path / "log").status == 0
    expected = tables(tmp_path / "unbroken")
    status, error, life_s = flow(tmp_path / "whole")
    assert status == 0, error
    assert not difference(tables(tmp_path / "whole"), expected)
    rng = random.Random(f"flow {command} {_seed()}")
    wrong, lives = [], max(1, _lives(command) // 5)
    for _ in range(lives):
        out = tmp_path / "broken"
        after_s = rng.uniform(0.3 * life_s, life_s)  # the beginning is imports
        status, error, _ = flow(out, after_s)
        assert status in (0, -signal.SIGKILL), error
        status, error, _ = flow(out)
        differs = error if status else difference(tables(out), expected)
        if differs:
            wrong.append(f"killed after {after_s:.1f} s: {differs}")
        with suppress(OSError):
            shutil.rmtree(out)
    record_property("faults", f"flow {command}: {lives} kills, {lives - len(wrong)} held")
    assert not wrong
