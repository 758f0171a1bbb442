"""A reporter that interrupts the work it reports."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class Interrupts:
    """Stops the work when a step has been reached."""

    def __init__(self, step: int) -> None:
        self.step = step

    @contextmanager
    def task(self, description: str, total: float | None = None) -> Iterator[Interrupts]:
        yield self

    def update(self, completed: float, note: str = "") -> None:
        if completed >= self.step:
            raise KeyboardInterrupt
