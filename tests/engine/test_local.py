"""When the local engine starts processes, and how they end."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import clso
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


_WORKING = """
import signal
from clso.engine import Shared, open_engine
from tasks import rest
signal.signal(signal.SIGINT, signal.default_int_handler)
with open_engine("local", workers=2) as engine:
    print("begun", flush=True)
    list(engine.map(rest, Shared("nothing", None), [60.0, 60.0], expected_s=100.0))
"""


@pytest.mark.slow
@pytest.mark.parametrize("delay_s", [0.05, 0.2])
def test_ctrl_c_is_for_the_driver_alone_however_young_its_workers_are(delay_s: float) -> None:
    path = [str(Path(clso.__file__).parents[1]), str(Path(__file__).parents[1] / "support")]
    process = subprocess.Popen(
        [sys.executable, "-c", _WORKING],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        time.sleep(delay_s)
        os.killpg(process.pid, signal.SIGINT)
        _, printed = process.communicate(timeout=120)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == -signal.SIGINT
    assert printed.count("Traceback") == 1, printed
