"""A Dask scheduler and workers as processes, which end with the test."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import clso

_ROOT = Path(clso.__file__).parents[1]
_DEADLINE_S = 120.0


class DaskProcesses:
    """Starts processes of Dask's own commands; as a context manager it ends them."""

    def __init__(self, folder: Path, host: str = "127.0.0.1") -> None:
        self.address = ""
        self._folder = folder
        self._host = host
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        file = self._folder / "scheduler.json"
        command = ["dask_scheduler", "--host", self._host, "--port", "0", "--no-dashboard"]
        self.scheduler = self._start([*command, "--scheduler-file", str(file)])
        deadline = time.monotonic() + _DEADLINE_S
        while not file.exists() or not file.read_text():
            assert self.scheduler.poll() is None, self._log(0)
            assert time.monotonic() < deadline, self._log(0)
            time.sleep(0.1)
        self.address = json.loads(file.read_text())["address"]
        return self

    def add_worker(
        self, *, cwd: Path | None = None, code: Path = _ROOT, within: Sequence[str] = ()
    ) -> subprocess.Popen[bytes]:
        """Start a worker with the packages in `code`, by a command such as `ip netns exec N`."""
        command = ["dask_worker", self.address, "--nthreads", "1", "--no-dashboard"]
        local = ["--local-directory", str(self._folder), "--memory-limit", "0"]
        return self._start([*command, *local], cwd=cwd, code=code, within=within)

    def _start(
        self,
        command: Sequence[str],
        *,
        cwd: Path | None = None,
        code: Path = _ROOT,
        within: Sequence[str] = (),
    ) -> subprocess.Popen[bytes]:
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(code), str(Path(__file__).parent)]),
        }
        with (self._folder / f"{len(self._processes)}.log").open("wb") as log:
            process = subprocess.Popen(
                [*within, sys.executable, "-m", f"distributed.cli.{command[0]}", *command[1:]],
                cwd=cwd or self._folder,  # the command imports from there first
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._processes.append(process)
        return process

    def _log(self, number: int) -> str:
        return (self._folder / f"{number}.log").read_text()

    def __exit__(self, *exception: object) -> None:
        for process in self._processes:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        for process in self._processes:
            process.wait()
