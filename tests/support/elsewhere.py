"""An engine without processes, whose workers get copies of everything."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from moved import moved

from clso.engine import Shared, Task


class Elsewhere:
    """Ends tasks in reverse order, as workers may, and counts them.

    Attributes:
        arguments: those of all tasks that were handed out.
    """

    name, is_local, n_workers = "elsewhere", False, 2

    def __init__(self) -> None:
        self.arguments: list[Any] = []

    def map(
        self, task: Task[Any, Any, Any], shared: Shared[Any], arguments: Sequence[Any]
    ) -> Iterator[tuple[int, Any]]:
        """Yield index and result of each task; see `clso.engine.Engine.map`."""
        value = moved(shared).value
        self.arguments += arguments
        for index in reversed(range(len(arguments))):
            yield index, moved(task(value, moved(arguments[index])))
