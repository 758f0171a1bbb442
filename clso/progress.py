"""How long work reports its progress, to a terminal, to Prefect or to nobody."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

__all__ = ["SILENT", "ProgressTask", "Reporter"]


class ProgressTask(Protocol):
    """A piece of work in progress."""

    def update(self, completed: float, note: str = "") -> None:
        """Report how much of the total is done, with a short note such as `"best 5.31"`."""


class Reporter(Protocol):
    """Receives the progress of long work."""

    def task(
        self, description: str, total: float | None = None
    ) -> AbstractContextManager[ProgressTask]:
        """Begin a piece of work; `total` has the unit of `update`, `None` if it is unknown."""


class _SilentTask:
    def update(self, completed: float, note: str = "") -> None:
        pass


class _SilentReporter:
    """Ignores all progress; the default of every long function."""

    @contextmanager
    def task(self, description: str, total: float | None = None) -> Iterator[ProgressTask]:
        yield _SilentTask()


SILENT = _SilentReporter()
