"""When the local engine starts processes."""

import pytest

from clso.energy import EnergyMonitor
from clso.engine import local
from clso.engine.local import _LocalEngine, local_engine


class Counter:
    """A meter that reads nothing."""

    device, estimated = "cpu", False

    def __init__(self, source: str) -> None:
        self.source = source

    def read_j(self) -> float:
        return 0.0


@pytest.mark.parametrize(
    ("n_left", "mean_cpu_s", "busy", "pays"),
    [
        (9, 1.0, 1.0, True),  # 4.5 s saved
        (7, 1.0, 1.0, False),  # 3.5 s saved, and 4 s spent
        (1, 60.0, 1.0, False),  # one task has one process
        (9, 60.0, 2.0, False),  # a task uses both cores already
        (9, 1.0, 0.1, True),  # waiting for a core is no time saved, and none lost
        (9, 0.1, 0.01, False),
    ],
)
def test_processes_start_where_they_save_more_than_their_start(
    monkeypatch: pytest.MonkeyPatch, n_left: int, mean_cpu_s: float, busy: float, pays: bool
) -> None:
    monkeypatch.setattr(local, "_START_S", 4.0)
    engine = local_engine(2)
    assert isinstance(engine, _LocalEngine)
    assert engine._pays(n_left, mean_cpu_s, busy) is pays


@pytest.mark.parametrize(("source", "may"), [("cpu_model", True), ("rapl", False), ("nvml", False)])
def test_with_counters_of_the_machine_tasks_run_one_after_the_other(source: str, may: bool) -> None:
    engine = local_engine(2, monitor=EnergyMonitor([Counter(source)]))
    assert isinstance(engine, _LocalEngine)
    assert engine._may_share is may
