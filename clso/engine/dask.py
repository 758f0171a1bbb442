"""Dask behind an engine: `Client.get_executor()` and values scattered to all workers.

The scheduler hands the tasks of a dead worker out again (`distributed.scheduler.allowed-failures`
times), and notices a worker that hangs by its heartbeat. Without an address, workers are processes
of this machine on loopback, for as long as this command runs.
"""

from __future__ import annotations

import asyncio
import logging
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from clso.engine.cluster import (
    Cluster,
    FatalTaskError,
    Lost,
    Machines,
    environment,
    without_code,
)
from clso.engine.shared import Packed
from clso.engine.worker import Header, greet, run_task
from clso.errors import ClsoError, EngineError, WorkError

if TYPE_CHECKING:  # an extra
    from distributed import Client, SpecCluster

__all__ = ["dask_cluster"]

T = TypeVar("T")

_CONNECT_S = 10.0
_WORKERS_S = 30.0
_START_S = 300.0  # processes that start on a busy machine
_LOGGERS = ("distributed.client", "tornado.application")  # of the client, and of its callbacks


def dask_cluster(address: str | None, n_workers: int) -> Cluster:
    """Return the workers of a Dask scheduler.

    Args:
        address: of the scheduler, such as `tcp://10.0.0.1:8786`; `None`: a cluster of this
            machine.
        n_workers: of a cluster of this machine.

    Raises:
        EngineError: the scheduler cannot be reached, or has no workers.
    """
    return _DaskCluster(address, n_workers)


class _DaskCluster(Cluster):
    name = "dask"

    def __init__(self, address: str | None, n_workers: int) -> None:
        self._local: SpecCluster | None = None
        self._header: Header = {}
        self._where = "this machine" if address is None else address
        with _quiet():
            if address is None:
                self._local = _local_cluster(n_workers)
                address = self._local.scheduler_address
            try:
                self._client = self._connected(address)
                try:
                    if self._local is None:
                        self._await_workers(1, _WORKERS_S)
                    else:
                        self._await_workers(n_workers, _START_S)
                except BaseException:
                    self._client.close()
                    raise
            except BaseException:
                self._close_local()
                raise
        self._executor: Executor = self._client.get_executor(pure=False)
        _OWN_RECORDS.begin()

    def _connected(self, address: str) -> Client:
        from distributed import Client

        try:
            return Client(address, timeout=_CONNECT_S, set_as_default=False)
        except Exception as error:  # of comms, names, protocols and versions
            raise EngineError(
                f"no Dask scheduler answers at {address}: {str(error) or type(error).__name__}",
                remedy="start one with `dask scheduler`, or correct runtime.address, such as "
                "tcp://10.0.0.1:8786",
            ) from error

    def _await_workers(self, wanted: int, timeout_s: float) -> None:
        try:
            self._client.wait_for_workers(wanted, timeout=timeout_s)
        except TimeoutError as error:
            raise EngineError(
                f"the Dask scheduler at {self._where} has no workers",
                remedy=f"start some with `dask worker {self._where} --nthreads 1`"
                if self._local is None
                else "see why they do not start: `dask worker --help` must work here",
            ) from error

    @property
    def n_workers(self) -> int:
        return max(1, len(self._told(self._client.nthreads)))

    def greeted(self, header: Header) -> Machines:
        self._header = header
        with _quiet():
            answers = self._told(lambda: self._client.run(greet, header, on_error="return"))
        # a worker that just went away is no mistake
        return Machines.of(one for one in answers.values() if not isinstance(one, OSError))

    def put(self, packed: Packed) -> Any:  # noqa: ANN401 - a future of Dask
        try:
            self._told(lambda: self._await_workers(1, _WORKERS_S))
        except EngineError as error:
            raise WorkError(
                f"{error.message} any more", remedy=f"{error.remedy}; the same command goes on"
            ) from error
        self.greeted(self._header)  # scattering to a later worker without CLSO may never end
        return self._told(lambda: self._client.scatter(packed, broadcast=True, hash=False))

    def drop(self, reference: Any) -> None:  # noqa: ANN401 - a future of Dask
        reference.release()

    def submit(self, header: Header, payload: bytes, reference: Any) -> Future[bytes]:  # noqa: ANN401 - a future of Dask
        return self._told(lambda: self._executor.submit(run_task, header, payload, reference))

    def _told(self, ask: Callable[[], T]) -> T:
        """Return what the scheduler answers, or raise a sentence."""
        try:
            return ask()
        except ClsoError:
            raise
        except Exception as error:
            explained = self.explained(error)
            raise self._gone() if isinstance(explained, Lost) else explained from error

    def check(self) -> None:
        if self._client.status not in ("running", "connecting"):
            raise self._gone()

    def explained(self, error: Exception) -> Exception:
        from concurrent.futures import CancelledError

        from distributed.comm import CommClosedError
        from distributed.scheduler import KilledWorker

        if isinstance(error, KilledWorker):
            return FatalTaskError(
                f"a task ended its worker again and again: {error}",
                remedy="see the workers' logs: too little memory is the usual cause; the same "
                "command goes on",
            )
        deadline = time.monotonic() + _CONNECT_S
        while self._client.status == "connecting" and time.monotonic() < deadline:
            time.sleep(0.1)
        if self._client.status != "running":
            return self._gone()
        # a broken connection may be told before the client knows that it is broken
        if isinstance(error, (CancelledError, CommClosedError)):
            return Lost()
        if isinstance(error, ImportError) or "ModuleNotFoundError" in str(error):
            return without_code(error)
        return WorkError(f"Dask failed: {type(error).__name__}: {error}")

    def _gone(self) -> WorkError:
        return WorkError(
            f"the Dask scheduler at {self._where} does not answer any more",
            remedy="start it again; the same command goes on from what is stored",
        )

    def abandon(self) -> None:
        """Do nothing: futures are cancelled, and a task that runs ends unheard."""

    def close(self) -> None:
        with _quiet():
            try:
                self._client.close(timeout=2)
            finally:
                self._close_local()
                _OWN_RECORDS.end()

    def _close_local(self) -> None:
        if self._local is not None:
            self._local.close(timeout=10)
            self._local = None


def _local_cluster(n_workers: int) -> SpecCluster:
    """Start a scheduler in this process and workers in others; these end when this one dies.

    The workers are started by their command, so the user's script is not run again in them.
    """
    from distributed import Scheduler, SpecCluster
    from distributed.deploy.subprocess import SubprocessWorker

    options = {
        "nthreads": 1,
        "memory_limit": 0,
        "host": "127.0.0.1",
        "dashboard": False,
        "death_timeout": _START_S,
    }
    worker = {"cls": SubprocessWorker, "options": {"worker_kwargs": options}}
    return SpecCluster(
        scheduler={
            "cls": Scheduler,
            "options": {"host": "127.0.0.1", "port": 0, "dashboard_address": "127.0.0.1:0"},
        },
        workers=dict.fromkeys(range(n_workers), worker),
        silence_logs=logging.CRITICAL,
    )


class _ConnectionRecords(logging.Filter):
    """Keeps from the log what the client tells of the end of its connection.

    `explained` tells it, in a sentence. The client and the executor's callback tell it once more:
    that they gave up, or with the traceback of what they were at. Other clients of this process are
    heard again once the last cluster is closed.
    """

    def __init__(self) -> None:
        super().__init__()
        self._n_open = 0
        self._until_s = 0.0
        self._ends: tuple[type[BaseException], ...] = ()

    def begin(self) -> None:
        """Begin with a cluster's client."""
        from distributed.comm import CommClosedError

        self._ends = (CommClosedError, asyncio.CancelledError)
        self._n_open += 1
        for name in _LOGGERS:
            logging.getLogger(name).addFilter(self)

    def end(self) -> None:
        """End with a client, a little later: its own thread may log after it is closed."""
        self._n_open -= 1
        self._until_s = time.monotonic() + _CONNECT_S

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a record tells something else."""
        if self._n_open == 0 and time.monotonic() > self._until_s:
            return True
        if record.exc_info is None:
            return not str(record.msg).startswith("Failed to reconnect to scheduler")
        return not isinstance(record.exc_info[1], self._ends)


_OWN_RECORDS = _ConnectionRecords()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Dask's notes from the terminal."""
    with environment(DASK_LOGGING__DISTRIBUTED="error"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
