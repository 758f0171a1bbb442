"""What a lost value costs."""

from __future__ import annotations

from concurrent.futures import CancelledError, Future

from clso.engine import Engine, Shared
from clso.engine.cluster import Cluster, Lost, Machines
from clso.engine.shared import Packed
from clso.engine.worker import Header, run_task


class Forgetful(Cluster):
    """Runs tasks in this process; the first `n_lost` find their value gone."""

    name = "forgetful"

    def __init__(self, n_lost: int) -> None:
        self.n_lost, self.n_puts = n_lost, 0

    @property
    def n_workers(self) -> int:
        return 1

    def greeted(self, header: Header) -> Machines:
        return Machines(shared=True)

    def put(self, packed: Packed) -> Packed:
        self.n_puts += 1
        return packed

    def submit(self, header: Header, payload: bytes, reference: Packed) -> Future[bytes]:
        future: Future[bytes] = Future()
        self.n_lost -= 1
        if self.n_lost >= 0:
            future.set_exception(CancelledError())
        else:
            future.set_result(run_task(header, payload, reference))
        return future

    def explained(self, error: Exception) -> Exception:
        return Lost()


def _sum(value: int, argument: int) -> int:
    return value + argument


def test_a_value_that_many_tasks_lose_is_put_once_again() -> None:
    cluster = Forgetful(n_lost=8)
    results = dict(Engine(cluster).map(_sum, Shared("value", 10), range(8)))
    assert results == {index: 10 + index for index in range(8)}
    assert cluster.n_puts == 2
