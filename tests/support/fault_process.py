"""A command as a process of its own that is killed, limited or misled, and how it ended.

The processes are forked from one that has imported everything, so an attempt costs its work alone.
They lead sessions of their own, so that what they leave running is found, and ended.
"""

from __future__ import annotations

import errno
import multiprocessing
import os
import random
import resource
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Ended", "Faults", "attempt"]

_PRELOADED = (
    "pipelines.cli",
    "pipelines",
    "pipelines.studies.tune",
    "pipelines.studies.ablate",
    "pipelines.studies.savings",
    "pipelines.studies.pareto",
    "clso.report.run",
    "scipy.stats",
    "sklearn.ensemble",
    "sklearn.gaussian_process",
    "matplotlib.figure",
    "transformers.models.gpt2.modeling_gpt2",
    "datasets",
    "tokenizers",
)
_MOST_S = 300.0
# read when torch and the tokenizers are loaded, which is before the command sets them
os.environ.setdefault("GOMP_SPINCOUNT", "2000")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(list(_PRELOADED))
_CHANGES = frozenset({"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate"})


@dataclass(frozen=True)
class Faults:
    """What befalls a process.

    Attributes:
        killed_after_s: SIGKILL so long after it began.
        killed_at_change: SIGKILL at this change of a file or folder, counted from 1.
        full_at_change: from this change on there is no space for another file or folder.
        file_bytes: no file may grow larger.
        memory_bytes: of address space, beyond what it has when it begins.
        clock_back: at this reading of the clock, counted from 1, it jumps back by an hour.
    """

    killed_after_s: float | None = None
    killed_at_change: int | None = None
    full_at_change: int | None = None
    file_bytes: int | None = None
    memory_bytes: int | None = None
    clock_back: int | None = None

    @classmethod
    def kill(cls, rng: random.Random, life_s: float, changes: int) -> Faults:
        """Draw a kill: a moment of an undisturbed life, or one of its changes of files."""
        if rng.random() < 0.5:
            return cls(killed_after_s=rng.uniform(0.0, life_s))
        return cls(killed_at_change=rng.randint(1, changes))


@dataclass(frozen=True)
class Ended:
    """How a process ended.

    Attributes:
        status: of its exit; negative: the signal.
        left: processes of its session that went on, and were ended.
        changes: of files and folders.
    """

    status: int
    output: str
    error: str
    life_s: float
    changes: int
    left: tuple[int, ...] = field(default=())


def attempt(arguments: Sequence[str], log: Path, faults: Faults | None = None) -> Ended:
    """Run `clso` with arguments in a process of its own, until it ends or a fault ends it."""
    log.mkdir(parents=True, exist_ok=True)
    faults = faults or Faults()
    changes = _CONTEXT.Value("q", 0)
    process = _CONTEXT.Process(target=_work, args=(list(arguments), log, faults, changes))
    began_s = time.monotonic()
    process.start()
    process.join(_MOST_S if faults.killed_after_s is None else faults.killed_after_s)
    life_s = time.monotonic() - began_s
    if process.is_alive():
        if faults.killed_after_s is None:
            _end_session(process.pid or 0)
            raise TimeoutError(f"{arguments} took more than {_MOST_S} s")
        process.kill()
    process.join()
    left = _end_session(process.pid or 0)
    texts = [(log / name).read_text(errors="replace") for name in ("stdout", "stderr")]
    assert process.exitcode is not None
    return Ended(process.exitcode, texts[0], texts[1], life_s, changes.value, left)


def _end_session(session: int) -> tuple[int, ...]:
    """End what a process that led a session has left running after a while, and return it."""
    for _ in range(50):
        left = tuple(_in_session(session))
        if not left:
            return ()
        time.sleep(0.1)
    for pid in left:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return left


def _in_session(session: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, _, own = path.read_text().rpartition(")")[2].split()[:4]
            if int(own) == session and state != "Z":
                found.append(int(path.parent.name))
    return found


def _work(arguments: list[str], log: Path, faults: Faults, changes: Any) -> None:  # noqa: ANN401
    os.setsid()
    for number, name in ((1, "stdout"), (2, "stderr")):
        # the limit of a file's size holds for it too, and only the error is short
        is_lost = name == "stdout" and faults.file_bytes is not None
        (log / name).touch()
        descriptor = os.open(
            os.devnull if is_lost else log / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600
        )
        os.dup2(descriptor, number)
        os.close(descriptor)
    _count_changes(changes, faults)
    if faults.file_bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (faults.file_bytes, resource.RLIM_INFINITY))
    if faults.memory_bytes is not None:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + faults.memory_bytes
        resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))
    if faults.clock_back is not None:
        _turn_back(faults.clock_back)
    from pipelines.__main__ import main

    main(arguments)


def _count_changes(changes: Any, faults: Faults) -> None:  # noqa: ANN401
    own = os.getpid()
    full_at = faults.full_at_change or sys.maxsize

    def count(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            if not isinstance(arguments[2], int) or not arguments[2] & (os.O_WRONLY | os.O_RDWR):
                return
        elif event not in _CHANGES:
            return
        if os.getpid() != own:
            return
        changes.value += 1
        if changes.value == faults.killed_at_change:
            os.kill(own, signal.SIGKILL)
        if changes.value >= full_at and (
            event == "os.mkdir" or (event == "open" and arguments[2] & os.O_CREAT)
        ):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), arguments[0])

    sys.addaudithook(count)


def _turn_back(reading: int) -> None:
    """Let the wall clock jump back at one of its readings; the monotonic clocks go on."""
    import datetime as module

    real_time, real_ns, real_datetime = time.time, time.time_ns, module.datetime
    readings = 0

    def behind_s() -> int:
        nonlocal readings
        readings += 1
        return 3600 if readings >= reading else 0

    class Turned(real_datetime):
        @classmethod
        def now(cls, tz: module.tzinfo | None = None) -> Turned:
            return cls.fromtimestamp(real_time() - behind_s(), tz)

    time.time = lambda: real_time() - behind_s()
    time.time_ns = lambda: real_ns() - behind_s() * 10**9
    for loaded in list(sys.modules.values()):
        if getattr(loaded, "datetime", None) is real_datetime:
            loaded.datetime = Turned  # type: ignore[attr-defined]
