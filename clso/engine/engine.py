"""An engine: hands tasks out to the processes of a cluster, and gives back results as they end.

A task is a pure function of a shared value and an argument. So neither the number of workers, nor
the order in which they end, nor a task that is done again changes a result.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any, TypeVar

import cloudpickle

from clso.energy import EnergyMonitor, EnergySettings, WorkersMeter, process_token
from clso.engine.cluster import Cluster, FatalTaskError, Lost
from clso.engine.code import code_of_process
from clso.engine.shared import Packed, Shared
from clso.engine.worker import Header, outcome_of
from clso.errors import EngineError, WorkError

__all__ = ["MOST_RETRIES", "Engine", "Task"]

V = TypeVar("V")
A = TypeVar("A")
R = TypeVar("R")

Task = Callable[[V, A], R]

MOST_RETRIES = 3  # of a task whose worker has died
_MOST_VALUES = 3
_CHECK_EVERY_S = 2.0


class Engine:
    """Hands tasks out to workers.

    Args:
        cluster: the processes.
        monitor: its open windows get the joules of the workers; `None`: they are not counted.
        energy: how workers measure.

    Raises:
        EngineError: the workers have other code, or lack a meter.
    """

    def __init__(
        self,
        cluster: Cluster,
        *,
        monitor: EnergyMonitor | None = None,
        energy: EnergySettings | None = None,
    ) -> None:
        self._cluster = cluster
        self._monitor = EnergyMonitor() if monitor is None else monitor
        self._meter: WorkersMeter | None = None
        self._values: OrderedDict[str, Any] = OrderedDict()
        energy = EnergySettings(meter="none") if energy is None else energy
        self._header: Header = {
            "code": code_of_process(),
            "energy": energy.model_dump(),
            "shares_machine": True,
            "driver": process_token(),
        }
        self._header["shares_machine"] = cluster.greeted(self._header).shared

    @property
    def name(self) -> str:
        """The value of `runtime.engine`."""
        return self._cluster.name

    @property
    def is_local(self) -> bool:
        """Whether the workers are processes of this machine that the engine starts at need."""
        return False

    @property
    def shares_machine(self) -> bool:
        """Whether two workers, or a worker and this process, are on one machine."""
        return bool(self._header["shares_machine"])

    @property
    def n_workers(self) -> int:
        """Tasks that run at once."""
        return self._cluster.n_workers

    def map(
        self,
        task: Task[V, A, R],
        shared: Shared[V],
        arguments: Sequence[A],
        *,
        expected_s: float = 0.0,
    ) -> Generator[tuple[int, R], None, None]:
        """Yield `(index, task(shared.value, arguments[index]))` in the order of completion.

        A task whose worker dies is handed out again. When the iterator is closed, or a task raises,
        what was handed out is taken back.

        Args:
            task: a function of a module, or another picklable callable.
            shared: reaches each worker once and stays there.
            arguments: one for each task, picklable.
            expected_s: seconds that a task is likely to take; the local engine starts no processes
                for tasks that are shorter than the start. 0: not known.

        Raises:
            EngineError: a value or a result cannot be pickled, or a worker has other code.
            WorkError: the workers cannot be reached any more, or a task ended one after the other.
            Exception: of a task, with its class and message.
        """
        del expected_s  # the workers are there already
        yield from self._handed_out(task, shared, dict(enumerate(arguments)))

    def close(self) -> None:
        """Free the workers."""
        self._cluster.close()

    def __reduce__(self) -> tuple[Any, ...]:
        from clso.engine.local import local_engine  # late: it is built on this

        return local_engine, (1,)  # in a worker, tasks run in the worker itself

    def _handed_out(
        self, task: Task[V, A, R], shared: Shared[V], arguments: dict[int, A]
    ) -> Generator[tuple[int, R], None, None]:
        payloads = {
            index: _pickled((task, argument), "a task") for index, argument in arguments.items()
        }
        header = self._header | {"fingerprint": shared.fingerprint}
        lost: Counter[int] = Counter()
        waiting: dict[Future[bytes], tuple[int, Any]] = {}

        def submit(index: int) -> None:
            reference = self._reference(shared)
            waiting[self._cluster.submit(header, payloads[index], reference)] = index, reference

        try:
            self._count_joules()
            for index in payloads:
                submit(index)
            while waiting:
                done, _ = wait(waiting, timeout=_CHECK_EVERY_S, return_when=FIRST_COMPLETED)
                if not done:
                    self._cluster.check()
                for future in sorted(done, key=lambda ended: waiting[ended][0]):
                    index, reference = waiting.pop(future)
                    try:
                        answer = self._answer(future, shared.fingerprint, reference)
                    except FatalTaskError as error:
                        error.index = index
                        raise
                    if answer is not None:
                        yield index, self._result(answer)
                        continue
                    if lost[index] == MOST_RETRIES:
                        raise WorkError(
                            f"the workers of {self.name} lost the data of a task again and again",
                            remedy="see in their logs why they end; the same command goes on",
                        )
                    lost[index] += 1
                    submit(index)
        finally:
            for future in waiting:
                future.cancel()
            if waiting:
                self._cluster.abandon()

    def _answer(self, future: Future[bytes], fingerprint: str, reference: Any) -> bytes | None:  # noqa: ANN401 - of the cluster
        """Return what a worker has returned; `None` if the shared value was lost."""
        try:
            return future.result()
        except Exception as error:  # `CancelledError` is one
            explained = self._cluster.explained(error)
            if isinstance(explained, Lost):
                if self._values.get(fingerprint) is reference:  # else it was put again already
                    del self._values[fingerprint]
                return None
            if explained is error:
                raise
            raise explained from error

    def _result(self, answer: bytes) -> Any:  # noqa: ANN401 - of the task
        outcome = outcome_of(answer)
        if self._meter is not None:
            self._meter.add(outcome.energy)
        if outcome.error is not None:
            raise outcome.error
        return outcome.result

    def _reference(self, shared: Shared[Any]) -> Any:  # noqa: ANN401 - of the cluster
        """Return what stands for a value on the workers, bringing it there if it is new."""
        if shared.fingerprint not in self._values:
            while len(self._values) >= _MOST_VALUES:
                _, oldest = self._values.popitem(last=False)
                self._cluster.drop(oldest)
            try:
                packed = Packed.of(shared)
            except Exception as error:
                raise _cannot_be_sent("the data of a task", error) from error
            self._values[shared.fingerprint] = self._cluster.put(packed)
        self._values.move_to_end(shared.fingerprint)
        return self._values[shared.fingerprint]

    def _count_joules(self) -> None:
        """Give the monitor a meter of the workers, with the first tasks that are handed out."""
        if self._meter is None:
            self._meter = WorkersMeter(self._monitor.meters)
            self._monitor.add(self._meter)


def _pickled(value: object, what: str) -> bytes:
    try:
        return bytes(cloudpickle.dumps(value, protocol=5))
    except Exception as error:
        raise _cannot_be_sent(what, error) from error


def _cannot_be_sent(what: str, error: Exception) -> EngineError:
    return EngineError(
        f"{what} cannot be sent to a worker: {type(error).__name__}: {error}",
        remedy="make it picklable, or set runtime.engine to local",
    )
