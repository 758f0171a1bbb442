"""How long work tells of itself without knowing who listens (a terminal, Prefect, nobody)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

__all__ = ["SILENT", "ProgressTask", "Reporter", "SilentReporter"]


class ProgressTask(Protocol):
    """One piece of work under way."""

    def update(self, completed: float, note: str = "") -> None:
        """Say how much of the total is done, with a short note such as `"best 5.31"`."""


class Reporter(Protocol):
    """Receives the progress of long work."""

    def task(
        self, description: str, total: float | None = None
    ) -> AbstractContextManager[ProgressTask]:
        """Open a piece of work; `total` in the units that `update` counts, `None` if unknown."""


class _SilentTask:
    def update(self, completed: float, note: str = "") -> None:
        pass


class SilentReporter:
    """Listens to nothing; the default of every long function."""

    @contextmanager
    def task(self, description: str, total: float | None = None) -> Iterator[ProgressTask]:
        """Open a piece of work that nobody watches."""
        yield _SilentTask()


SILENT = SilentReporter()
