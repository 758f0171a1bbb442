"""Ray behind an engine: remote tasks as futures, and values in Ray's object store.

Ray hands the task of a dead worker out again (`max_retries`). Without an address, workers are
processes of this machine, for as long as this command runs.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

from clso.engine.cluster import Cluster, FatalTaskError, Machines, environment, without_code
from clso.engine.engine import MOST_RETRIES
from clso.engine.shared import Packed
from clso.engine.worker import Header, greet, run_task
from clso.errors import ClsoError, EngineError, WorkError, first_line

__all__ = ["ray_cluster"]

T = TypeVar("T")

_CONNECT_S = 10.0
_WORKERS_S = 30.0
_START_S = 300.0  # processes that start on a busy machine


def ray_cluster(address: str | None, n_workers: int) -> Cluster:
    """Return the workers of a Ray cluster.

    Args:
        address: such as `10.0.0.1:6379` or `ray://10.0.0.1:10001`; `None`: a cluster of this
            machine.
        n_workers: of a cluster of this machine.

    Raises:
        EngineError: the cluster cannot be reached.
    """
    return _RayCluster(address, n_workers)


class _RayCluster(Cluster):
    name = "ray"

    def __init__(self, address: str | None, n_workers: int) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        # `ray start --head` asks for a token that is there, and Ray reads the mode when imported
        if _has_token():
            os.environ.setdefault("RAY_AUTH_MODE", "token")
        import ray

        self._ray = ray
        self._start_s = _START_S if address is None else _WORKERS_S
        self._where = "this machine" if address is None else address
        own: dict[str, Any] = {"address": address}
        if address is None:
            own = {"address": "local", "num_cpus": n_workers, "include_dashboard": False}
        try:
            _check_listening(address)
            with environment():
                ray.init(**own, log_to_driver=False, logging_level=logging.CRITICAL)
        except Exception as error:  # of names, protocols and versions
            raise EngineError(
                f"no Ray cluster answers at {self._where}: {str(error) or type(error).__name__}",
                remedy="start one with `ray start --head`, or correct runtime.address, such as "
                "10.0.0.1:6379; if it asks for a token, set RAY_AUTH_MODE=token, and copy its "
                "~/.ray/auth_token to here",
            ) from error
        self._task = ray.remote(max_retries=MOST_RETRIES)(run_task)
        self._handed_out: dict[Future[bytes], Any] = {}
        self._n_workers = max(1, int(ray.cluster_resources().get("CPU", 1)))

    @property
    def n_workers(self) -> int:
        return self._n_workers

    def greeted(self, header: Header) -> Machines:
        remote = self._ray.remote(max_retries=MOST_RETRIES)(greet)
        try:
            answer = self._told(lambda: self._ray.get(remote.remote(header), timeout=self._start_s))
        except TimeoutError as error:
            raise EngineError(
                f"the Ray cluster at {self._where} has no free workers",
                remedy="see `ray status`; wait for other work to end, or add a machine with "
                "`ray start --address`",
            ) from error
        machines = Machines.of([answer])
        return Machines(shared=True) if self._n_workers > 1 else machines

    def put(self, packed: Packed) -> Any:  # noqa: ANN401 - a reference of Ray
        return self._told(lambda: self._ray.put(packed))

    def drop(self, reference: Any) -> None:  # noqa: ANN401 - a reference of Ray
        del reference  # Ray counts references

    def submit(self, header: Header, payload: bytes, reference: Any) -> Future[bytes]:  # noqa: ANN401 - a reference of Ray
        answer = self._told(lambda: self._task.remote(header, payload, reference))
        future: Future[bytes] = answer.future()
        self._handed_out[future] = answer
        future.add_done_callback(self._forget)
        return future

    def _told(self, ask: Callable[[], T]) -> T:
        """Return what Ray answers, or raise a sentence.

        Raises:
            TimeoutError: it does not answer in time.
        """
        try:
            return ask()
        except TimeoutError:
            raise
        except Exception as error:
            raise self.explained(error) from error

    def _forget(self, future: Future[bytes]) -> None:
        if not future.cancelled():  # Ray itself does not know of a cancelled future
            self._handed_out.pop(future, None)

    def check(self) -> None:
        if not self._ray.is_initialized():
            raise self._gone("it closed the connection")

    def explained(self, error: Exception) -> Exception:
        if isinstance(error, ClsoError):
            return error
        from ray import exceptions

        match error:
            case exceptions.WorkerCrashedError() | exceptions.NodeDiedError():
                return FatalTaskError(
                    f"a task ended its worker {1 + MOST_RETRIES} times",
                    remedy="too little memory is the usual cause; the same command goes on",
                )
            case exceptions.OutOfMemoryError():
                return FatalTaskError(
                    f"a task ended its worker: {first_line(error)}",
                    remedy="give the machine fewer workers (`ray start --num-cpus`); the same "
                    "command goes on",
                )
            case exceptions.ObjectStoreFullError() | exceptions.OutOfDiskError():
                return WorkError(
                    f"the Ray cluster at {self._where} has no room for the data of a "
                    f"task: {first_line(error)}",
                    remedy="start it with a larger store (`ray start --object-store-memory`); the "
                    "same command goes on",
                )
            case ImportError():
                return without_code(error)
            case RuntimeError() if "failed to import on the worker" in str(error):
                return without_code("Ray cannot import its tasks there")
            case (
                exceptions.LocalRayletDiedError()
                | exceptions.RaySystemError()
                | exceptions.RpcError()
                | OSError()
            ):
                return self._gone(f"{type(error).__name__}: {error}")
        return WorkError(f"Ray failed: {type(error).__name__}: {error}")

    def _gone(self, why: str) -> WorkError:
        return WorkError(
            f"the Ray cluster at {self._where} does not answer any more: {why}",
            remedy="start it again; the same command goes on from what is stored",
        )

    def abandon(self) -> None:
        """Take back what waits, and interrupt what runs."""
        while self._handed_out:
            _, answer = self._handed_out.popitem()
            self._ray.cancel(answer)

    def close(self) -> None:
        self._ray.shutdown()


def _check_listening(address: str | None) -> None:
    """Check that something listens at `host:port`; Ray itself tries for minutes.

    Raises:
        OSError: nothing does.
    """
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=_CONNECT_S).close()


def _has_token() -> bool:
    """Return whether Ray finds a token of its own, as it looks for one."""
    return (
        "RAY_AUTH_TOKEN" in os.environ
        or "RAY_AUTH_TOKEN_PATH" in os.environ
        or (Path.home() / ".ray" / "auth_token").exists()
    )
