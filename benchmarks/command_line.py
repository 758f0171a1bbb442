"""What the command line costs: its cold start, and Prefect around a small run."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.timing import Comparison, in_turn

_SMOKE = "configs/smoke.yaml"
_CLSO = (sys.executable, "-m", "pipelines")
_IMPORT_GPT2 = (sys.executable, "-c", "import transformers.models.gpt2.modeling_gpt2")


def _command(*arguments: str, status: int = 0) -> Callable[[], object]:
    def work() -> None:
        done = subprocess.run(arguments, check=False, capture_output=True)
        if done.returncode != status:
            raise SystemExit(f"{' '.join(arguments)} ended with status {done.returncode}")

    return work


def _smoke(*options: str) -> Callable[[], object]:
    def work() -> None:
        with tempfile.TemporaryDirectory() as out:
            _command(*_CLSO, "run", _SMOKE, "--out", out, *options)()

    return work


def _shown() -> Comparison:
    with tempfile.TemporaryDirectory() as out:
        _command(*_CLSO, "run", _SMOKE, "--out", out, "--no-prefect")()
        return in_turn(
            "show a run",
            ("clso show", _command(*_CLSO, "show", "latest", "--out", out)),
            ("import torch", _command(sys.executable, "-c", "import torch")),
            repeats=5,
        )


def run() -> list[Comparison]:
    if not Path(_SMOKE).exists():
        raise SystemExit("run the benchmarks from the project's folder")
    return [
        in_turn(
            "cold start",
            ("clso --help", _command(*_CLSO, "--help")),
            ("import torch", _command(sys.executable, "-c", "import torch")),
            repeats=5,
        ),
        in_turn(
            "a mistake in a configuration",
            (
                "clso run --set seed=x",
                _command(*_CLSO, "run", _SMOKE, "--no-prefect", "--set", "seed=x", status=2),
            ),
            ("import transformers.models.gpt2.modeling_gpt2", _command(*_IMPORT_GPT2)),
            repeats=3,
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
