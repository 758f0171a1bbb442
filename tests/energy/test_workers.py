"""The joules that workers report: summed once, whoever reads the counter."""

from __future__ import annotations

import pickle
import warnings

import pytest

from clso.energy import (
    CpuModelMeter,
    DeviceEnergy,
    EnergyMonitor,
    Measurement,
    WorkerEnergy,
    WorkersMeter,
    boot_id,
    process_token,
)


class Counter:
    """A meter of this process that a test moves."""

    def __init__(self, source: str, device: str = "cpu") -> None:
        self.source, self.device, self.estimated = source, device, False
        self.joules = 0.0

    def read_j(self) -> float:
        return self.joules


def report(
    source: str,
    joules: float | None,
    span: tuple[float, float] = (0.0, 1.0),
    *,
    host: str = "another",
    process: str = "a worker",
) -> WorkerEnergy:
    devices = (DeviceEnergy("cpu", joules, source, source == "cpu_model"),)
    return WorkerEnergy(host, process, *span, devices)


def test_counters_of_a_machine_count_once_for_all_its_workers() -> None:
    meter = WorkersMeter()
    meter.add(report("rapl", 100.0, (0.0, 10.0)))
    meter.add(report("rapl", 100.0, (5.0, 15.0), process="another"))  # half of it is known
    meter.add(report("rapl", 40.0, (2.0, 14.0)))  # all of it is known
    meter.add(report("rapl", 30.0, (0.0, 3.0), host="a third"))
    assert meter.read_j() == pytest.approx(180.0)


def test_cpu_seconds_of_two_processes_add_up() -> None:
    meter = WorkersMeter()
    meter.add(report("cpu_model", 3.0))
    meter.add(report("cpu_model", 4.0, process="another"))
    assert (meter.read_j(), meter.source, meter.estimated) == (7.0, "cpu_model", True)


def test_what_the_own_meters_count_is_left_out() -> None:
    meter = WorkersMeter([Counter("rapl")])
    meter.add(report("rapl", 5.0, host=boot_id()))
    assert meter.read_j() == 0.0
    meter.add(report("cpu_model", 5.0, host=boot_id(), process=process_token()))
    assert meter.read_j() == 0.0
    meter.add(report("cpu_model", 5.0, host=boot_id()))
    meter.add(report("rapl", 6.0))
    assert meter.read_j() == 11.0


def test_a_window_without_work_of_workers_has_no_such_device_and_no_warning() -> None:
    monitor = EnergyMonitor([Counter("rapl")])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with monitor.window() as window:
            meter = WorkersMeter(monitor.meters)
            monitor.add(meter)
            own = monitor.meters[0]
            assert isinstance(own, Counter)
            own.joules = 2.0
        with monitor.window() as working:
            meter.add(report("cpu_model", 7.0))
            own.joules = 3.0
    assert [device.device for device in window.measurement.devices] == ["cpu"]
    assert [device.energy_j for device in working.measurement.devices] == [1.0, 7.0]
    total = Measurement.total([window.measurement, working.measurement])
    assert [device.energy_j for device in total.devices] == [3.0, 7.0]
    assert (total.energy_j, total.energy_source) == (10.0, "cpu_model+rapl")


def test_joules_that_one_worker_could_not_read_are_unknown_in_the_windows_of_that_time() -> None:
    meter = WorkersMeter()
    monitor = EnergyMonitor([meter])
    with monitor.window() as outer:
        with monitor.window() as failed:
            with pytest.warns(RuntimeWarning, match="nvml of a worker gives no energy"):
                meter.add(report("nvml", None))
            meter.add(report("cpu_model", 2.0))
        with monitor.window() as idle:
            pass
        with monitor.window() as later:
            meter.add(report("cpu_model", 5.0))
    found = [window.measurement.devices for window in (failed, idle, later, outer)]
    joules = [[device.energy_j for device in devices] for devices in found]
    assert joules == [[None], [], [5.0], [None]]


def test_a_pickled_monitor_is_that_of_the_process_it_comes_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("clso.energy.monitor._serving", None)
    monitor = EnergyMonitor([CpuModelMeter(10.0)])
    assert pickle.loads(pickle.dumps(monitor)).meters == ()
    monitor.serve()
    assert pickle.loads(pickle.dumps(EnergyMonitor())) is monitor
