"""What the command line costs: its cold start, and Prefect around a small run."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.timing import Comparison, in_turn

_SMOKE = "configs/smoke.yaml"


def _command(*arguments: str) -> Callable[[], object]:
    def work() -> None:
        subprocess.run(arguments, check=True, capture_output=True)

    return work


def _smoke(*options: str) -> Callable[[], object]:
    def work() -> None:
        with tempfile.TemporaryDirectory() as out:
            command = (sys.executable, "-m", "pipelines", "run", _SMOKE, "--out", out, *options)
            subprocess.run(command, check=True, capture_output=True)

    return work


def _shown() -> Comparison:
    with tempfile.TemporaryDirectory() as out:
        clso = (sys.executable, "-m", "pipelines")
        _command(*clso, "run", _SMOKE, "--out", out, "--no-prefect")()
        return in_turn(
            "show a run",
            ("clso show", _command(*clso, "show", "latest", "--out", out)),
            ("import torch", _command(sys.executable, "-c", "import torch")),
            repeats=5,
        )


def run() -> list[Comparison]:
    if not Path(_SMOKE).exists():
        raise SystemExit("run the benchmarks from the project's folder")
    return [
        in_turn(
            "cold start",
            ("clso --help", _command(sys.executable, "-m", "pipelines", "--help")),
            ("import torch", _command(sys.executable, "-c", "import torch")),
            repeats=5,
        ),
        _shown(),
        in_turn(
            "smoke run, all stages",
            ("with --no-prefect", _smoke("--no-prefect")),
            ("with Prefect's embedded server", _smoke()),
            repeats=2,
            warm_up=False,
        ),
    ]
