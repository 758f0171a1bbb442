"""Tasks as engines run them; workers import this module."""

from __future__ import annotations

import os
import time
from pathlib import Path
from threading import Lock
from typing import Any

from clso.errors import DataError


class Counted:
    """A value that notes each process that unpickles it."""

    def __init__(self, log: Path) -> None:
        self.log = log

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ = state
        note(self.log, os.getpid())


class Awkward(Exception):
    """An error that cannot be pickled."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.lock = Lock()


def note(log: Path, value: object) -> None:
    with log.open("a") as file:
        file.write(f"{value}\n")


def notes(log: Path) -> list[str]:
    return log.read_text().split() if log.exists() else []


def scaled(value: Any, factor: int) -> float:  # noqa: ANN401 - an array
    return float(value.sum()) * factor


def process(value: object, argument: object) -> int:
    time.sleep(0.05)
    return os.getpid()


def rest(value: object, seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def after(value: object, files: tuple[str, str]) -> None:
    """Wait for the first file, empty for none, then write the second."""
    awaited, written = files
    deadline_s = time.monotonic() + 120.0
    while awaited and not Path(awaited).exists():
        assert time.monotonic() < deadline_s, f"{awaited} never came"
        time.sleep(0.01)
    Path(written).touch()


def burn(value: object, seconds: float) -> float:
    """Work for some CPU seconds, and return how many were spent."""
    began_s = time.process_time()
    while time.process_time() - began_s < seconds:
        pass
    return time.process_time() - began_s


def failing(value: object, kind: str) -> None:
    if kind == "clso":
        raise DataError("the text is empty", remedy="give more text")
    if kind == "awkward":
        raise Awkward("this and that")
    raise ZeroDivisionError("no quotient")


def locked(value: object, argument: object) -> Any:  # noqa: ANN401 - a lock
    return Lock()


def noted(log: Path, argument: int) -> int:
    note(log, argument)
    time.sleep(0.2)
    return argument


def fatal_once(log: Path, argument: int) -> int:
    """Note each start; the first start of argument 2 kills its process."""
    first = str(argument) not in notes(log)
    note(log, argument)
    if argument == 2 and first:
        os.kill(os.getpid(), 9)
    time.sleep(0.2)
    return argument


def fatal(log: Path, argument: int) -> None:
    note(log, argument)
    os.kill(os.getpid(), 9)
