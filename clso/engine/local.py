"""The local engine: processes of this machine, started when they are worth their start.

Processes are forked by a server process that has no threads (multiprocessing's *forkserver*): torch
hangs in a process that is forked from one in which it has computed. They are no children of this
process, so its own CPU seconds do not contain theirs. Each has an executor of its own, so a process
that dies takes no other task along.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import context, resource_tracker
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

from clso.energy import EnergyMonitor, EnergySettings
from clso.energy.cpu_model import cpu_seconds
from clso.energy.meter import MACHINE_WIDE
from clso.engine.cluster import Cluster, FatalTaskError, Machines
from clso.engine.engine import MOST_RETRIES, A, Engine, R, Task, V
from clso.engine.shared import Packed, Shared
from clso.engine.worker import Header, run_task, start_local
from clso.errors import EngineError

__all__ = ["local_engine"]

# Importing CLSO and torch in a new process, on a machine whose cores all do so.
_START_S = 4.0


def local_engine(
    n_workers: int,
    *,
    monitor: EnergyMonitor | None = None,
    energy: EnergySettings | None = None,
) -> Engine:
    """Return the engine of this machine; see `Engine`."""
    return _LocalEngine(_Processes(n_workers), monitor=monitor, energy=energy)


class _LocalEngine(Engine):
    """Runs tasks in this process until those that are left are worth the start of others.

    Counters of the whole machine cannot tell the joules of two tasks that run at once, so with
    them tasks run one after the other. So they do if they cannot be pickled.
    """

    _cluster: _Processes

    @property
    def is_local(self) -> bool:
        return True

    def map(
        self,
        task: Task[V, A, R],
        shared: Shared[V],
        arguments: Sequence[A],
        *,
        expected_s: float = 0.0,
    ) -> Generator[tuple[int, R], None, None]:
        left = dict(enumerate(arguments))
        wall_s = cpu_s = 0.0
        may_share = self._may_share
        while left:
            ended = len(arguments) - len(left)
            mean_cpu_s = cpu_s / ended if ended else expected_s
            busy = cpu_s / wall_s if wall_s else 1.0
            if may_share and self._pays(len(left), mean_cpu_s, busy):
                try:
                    for index, result in self._handed_out(task, shared, dict(left)):
                        del left[index]
                        yield index, result
                    return
                except EngineError:
                    may_share = False
            index = next(iter(left))
            began_s, began_cpu_s = time.perf_counter(), cpu_seconds()
            result = task(shared.value, left.pop(index))
            wall_s += time.perf_counter() - began_s
            cpu_s += cpu_seconds() - began_cpu_s
            yield index, result

    @property
    def _may_share(self) -> bool:
        sources = {meter.source for meter in self._monitor.meters}
        return self.n_workers > 1 and not sources & (MACHINE_WIDE | {"replay"})

    def _pays(self, n_left: int, mean_cpu_s: float, busy: float) -> bool:
        """Return whether `n_left` tasks end sooner in several processes of one thread each.

        One took `mean_cpu_s` CPU seconds here, with `busy` cores at work on average. CPU seconds,
        because a task that only waited for a core gains nothing from more processes.
        """
        if n_left < 2:
            return False
        saved = 1.0 / max(1.0, busy) - 1.0 / min(n_left, self.n_workers)
        return n_left * mean_cpu_s * saved > (0.0 if self._cluster.started else _START_S)


class _Processes(Cluster):
    """Processes of this machine, one task each."""

    name = "local"

    def __init__(self, n_workers: int) -> None:
        self._n_workers = n_workers
        self._crew: _Crew | None = None
        self._files: TemporaryDirectory[str] | None = None
        self._n_files = 0

    @property
    def n_workers(self) -> int:
        return self._n_workers

    @property
    def started(self) -> bool:
        """Whether processes are there already."""
        return self._crew is not None

    def greeted(self, header: Header) -> Machines:
        del header
        return Machines(shared=True)

    def put(self, packed: Packed) -> str:
        if self._files is None:
            self._files = TemporaryDirectory(prefix="clso-", ignore_cleanup_errors=True)
        self._n_files += 1
        path = Path(self._files.name) / str(self._n_files)
        try:
            packed.write(path)
        except OSError as error:
            raise EngineError(
                f"the data of a task cannot be written to {path}: {error}",
                remedy="make room there, or name another folder in TMPDIR",
            ) from error
        return str(path)

    def drop(self, reference: str) -> None:
        Path(reference).unlink(missing_ok=True)  # processes that have mapped it keep it

    def submit(self, header: Header, payload: bytes, reference: str) -> Future[bytes]:
        if self._crew is None:
            self._crew = _Crew(self._n_workers)
        return self._crew.threads.submit(self._crew.run, header, payload, reference)

    def check(self) -> None:
        """Do nothing: a process that dies is noticed at once."""

    def explained(self, error: Exception) -> Exception:
        return error

    def abandon(self) -> None:
        """End all processes in mid-task; they hold nothing that is not stored elsewhere."""
        crew, self._crew = self._crew, None
        if crew is not None:
            crew.end()

    def close(self) -> None:
        self.abandon()
        if self._files is not None:
            self._files.cleanup()
            self._files = None


class _Crew:
    """Threads of this process, each with a process that works for it."""

    def __init__(self, n_workers: int) -> None:
        self.threads = ThreadPoolExecutor(n_workers, "clso-engine")
        self._own = threading.local()
        self._context = _Context()
        self._pools: list[ProcessPoolExecutor] = []

    def run(self, header: Header, payload: bytes, reference: str) -> bytes:
        """Run a task in the process of this thread; one that dies is replaced."""
        for _ in range(1 + MOST_RETRIES):
            pool: ProcessPoolExecutor | None = getattr(self._own, "pool", None)
            if pool is None:
                pool = ProcessPoolExecutor(1, mp_context=self._context, initializer=start_local)
                self._own.pool = pool
                self._pools.append(pool)
            try:
                return pool.submit(run_task, header, payload, reference).result()
            except BrokenProcessPool:
                self._own.pool = None
                if self._context.ended:
                    raise
        raise FatalTaskError(
            f"a task ended its process {1 + MOST_RETRIES} times",
            remedy="the kernel ends processes when memory is short: lower runtime.workers; the "
            "same command goes on",
        )

    def end(self) -> None:
        """End all processes, and wait for the threads."""
        self._context.end()
        self.threads.shutdown(wait=True, cancel_futures=True)
        for pool in self._pools:
            pool.shutdown(wait=True, cancel_futures=True)


class _Process(context.ForkServerProcess):
    """A process that does not run the user's own script, as other ones of multiprocessing do."""

    owner: _Context

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "owner"}

    @staticmethod
    def _Popen(process_obj: Any) -> Any:  # noqa: ANN401 - as multiprocessing has it
        resource_tracker.ensure_running()  # it unblocks signals when it starts
        with _launching:
            main, sys.modules["__main__"] = sys.modules["__main__"], ModuleType("__main__")
            # Until `start_local`, Ctrl-C would interrupt the imports of a new process.
            before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                handle = context.ForkServerProcess._Popen(process_obj)
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
                sys.modules["__main__"] = main
            if process_obj.owner.ended:
                handle.kill()
            return handle


class _Context(context.ForkServerContext):
    """Makes the processes of a crew, and ends them."""

    def __init__(self) -> None:
        self.ended = False
        self._started: list[_Process] = []

    def Process(self, *args: Any, **kwargs: Any) -> _Process:  # type: ignore[override] # noqa: ANN401 - as multiprocessing has it
        process = _Process(*args, **kwargs)
        process.owner = self
        self._started.append(process)
        return process

    def end(self) -> None:
        """Kill all processes, and those that are about to start."""
        with _launching:
            self.ended = True
            for process in self._started:
                if process.is_alive():
                    process.kill()


_launching = threading.Lock()
