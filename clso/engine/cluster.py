"""What an engine needs of the processes behind it: a `concurrent.futures` executor, and values."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, Self

from clso.energy import boot_id
from clso.engine.shared import Packed
from clso.engine.worker import REMEDY, Header
from clso.errors import EngineError, WorkError

__all__ = ["Cluster", "FatalTaskError", "Lost", "Machines", "environment", "without_code"]


class FatalTaskError(WorkError):
    """A task that ended every worker that took it.

    Attributes:
        index: of its argument in `Engine.map`.
    """

    index: int | None = None


class Lost(Exception):
    """A shared value that no worker has any more; it must be put again."""


@dataclass(frozen=True)
class Machines:
    """The machines of the workers.

    Attributes:
        shared: two workers, or a worker and the driver, are on one machine.
    """

    shared: bool

    @classmethod
    def of(cls, answers: Iterable[object]) -> Self:
        """Read what `greet` has returned, or raised, on each worker.

        Raises:
            EngineError: a worker cannot be used.
        """
        hosts = [boot_id()]
        for answer in answers:
            if not isinstance(answer, dict):
                raise without_code(answer)
            if answer["problem"]:
                raise EngineError(answer["problem"], remedy=answer["remedy"])
            hosts.append(answer["host"])
        return cls(len(set(hosts)) < len(hosts))


def without_code(answer: object) -> EngineError:
    """Return the error for a worker that cannot import what it is asked for."""
    return EngineError(f"a worker does not have this command's code: {answer}", remedy=REMEDY)


class Cluster(Protocol):
    """The processes behind an engine.

    Attributes:
        name: the value of `runtime.engine`.
    """

    name: str

    @property
    def n_workers(self) -> int:
        """Tasks that run at once."""

    def greeted(self, header: Header) -> Machines:
        """Ask the workers who they are.

        Raises:
            EngineError: one of them cannot be used.
        """

    def put(self, packed: Packed) -> Any:  # noqa: ANN401 - a reference of its own kind
        """Bring a value to the workers, and return what stands for it in `submit`."""

    def drop(self, reference: Any) -> None:  # noqa: ANN401 - as `put` returns it
        """Free a value."""

    def submit(self, header: Header, payload: bytes, reference: Any) -> Future[bytes]:  # noqa: ANN401 - as `put` returns it
        """Let a worker call `run_task`; a task whose worker dies is handed out again."""

    def check(self) -> None:
        """Check that the processes can still be reached.

        Raises:
            WorkError: they cannot.
        """

    def explained(self, error: Exception) -> Exception:
        """Return a `ClsoError`, or `Lost`, for an error of a future, which no task has raised."""

    def abandon(self) -> None:
        """Stop what runs, after an error or an interruption; the next `submit` may begin anew."""

    def close(self) -> None:
        """Free everything."""


@contextmanager
def environment(**variables: str) -> Iterator[None]:
    """Set variables for the processes that start in the block; they import what this one can."""
    variables["PYTHONPATH"] = os.pathsep.join(sys.path)
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
