"""CPU seconds stand beside joules, and need no meter."""

import pytest

from clso.energy import EnergyMonitor, Measurement, WorkerEnergy, WorkersMeter


def test_a_window_counts_the_cpu_seconds_of_its_process_and_its_workers() -> None:
    workers = WorkersMeter()
    with EnergyMonitor([workers]).window() as window:
        sum(range(200_000))
        workers.add(WorkerEnergy("host", "worker", 0.0, 1.0, cpu_s=5.0))
    cpu_s = window.measurement.cpu_s
    assert cpu_s is not None
    assert 5.0 < cpu_s < 15.0
    assert window.measurement.energy_j is None


def test_cpu_seconds_add_up_and_divide_as_joules_do() -> None:
    parts = [Measurement(1.0, cpu_s=2.0), Measurement(3.0, cpu_s=4.0), Measurement(0.0)]
    total = Measurement.total(parts)
    assert total.cpu_s == 6.0
    assert [part.cpu_s for part in total.split([1, 2])] == pytest.approx([2.0, 4.0])
    assert Measurement.total([*parts, Measurement(1.0)]).cpu_s is None
    assert Measurement.total([]).cpu_s is None


def test_cpu_seconds_are_stored_and_older_records_lack_them() -> None:
    measured = Measurement(1.0, cpu_s=2.0)
    assert Measurement.from_record(measured.to_record()) == measured
    assert Measurement.from_record({"duration_s": 1.0, "devices": []}).cpu_s is None
