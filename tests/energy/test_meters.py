"""Every meter passes one contract; each has its own troubles below."""

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Never

import pynvml
import pytest

from clso.energy import (
    CpuModelMeter,
    EnergyMonitor,
    Measurement,
    MeterStatus,
    NvmlMeter,
    RaplMeter,
    ReplayMeter,
    nvml,
    rapl,
    visible,
)
from clso.energy.meter import Count, Meter, Sampler
from clso.errors import MeterError

MeterAndWork = tuple[Meter, Callable[[], object]]


def make_zone(
    root: Path, folder: str, name: str, energy_uj: object, range_uj: int = 262_143_328_850
) -> Path:
    zone = root / folder
    zone.mkdir(parents=True)
    (zone / "name").write_text(f"{name}\n")
    (zone / "energy_uj").write_text(f"{energy_uj}\n")
    (zone / "max_energy_range_uj").write_text(f"{range_uj}\n")
    return zone


class FakeNvml:
    """Two GPUs; energy in mJ and power in mW, or None where NVML does not support it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.energy_mj: dict[int, float | None] = {0: 1_000, 1: 2_000}
        self.power_mw: dict[int, float | None] = {0: 100_000, 1: 200_000}
        self.uuids = ["GPU-aaaa-1", "GPU-bbbb-2"]
        self._monkeypatch = monkeypatch
        self.forbidden: set[int] = set()
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)
        monkeypatch.setattr(visible, "cuda_uuids", lambda: None)
        for name, function in {
            "nvmlInit": lambda: None,
            "nvmlDeviceGetCount": lambda: 2,
            "nvmlDeviceGetHandleByIndex": self._handle,
            "nvmlDeviceGetUUID": lambda handle: self.uuids[handle],
            "nvmlDeviceGetTotalEnergyConsumption": lambda h: self._value(self.energy_mj[h]),
            "nvmlDeviceGetPowerUsage": lambda h: self._value(self.power_mw[h]),
        }.items():
            monkeypatch.setattr(pynvml, name, function)

    def divide(self, gpu: int, parts: tuple[int, int]) -> None:
        """Divide a GPU of seven parts; NVML shows one slice of it."""
        size = SimpleNamespace(gpuInstanceSliceCount=parts[0], computeInstanceSliceCount=parts[1])
        self.uuids.append("MIG-7777-0")

        def slice_of(handle: int, number: int) -> int:
            if number > 0:
                raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
            return 2

        for name, function in {
            "nvmlDeviceGetMigMode": lambda handle: [int(handle == gpu)] * 2,
            "nvmlDeviceGetMaxMigDeviceCount": lambda handle: 7,
            "nvmlDeviceGetMigDeviceHandleByIndex": slice_of,
            "nvmlDeviceGetAttributes": lambda part: size,
        }.items():
            self._monkeypatch.setattr(pynvml, name, function)

    def _handle(self, index: int) -> int:
        if index in self.forbidden:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NO_PERMISSION)
        return index

    @staticmethod
    def _value(value: float | None) -> float:
        if value is None:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return value


@pytest.fixture
def fake_nvml(monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    return FakeNvml(monkeypatch)


@pytest.fixture
def rapl_clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [10_000.0]
    monkeypatch.setattr(rapl, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


def nvml_clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [10_000.0]
    monkeypatch.setattr(nvml, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    return now


def burn(seconds: float = 0.02) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


class TestContract:
    """Whatever the meter: named, cumulative, and callable from any thread."""

    @pytest.fixture(params=["cpu_model", "rapl", "nvml", "nvml_power", "replay"])
    def meter_and_work(
        self, request: pytest.FixtureRequest, tmp_path: Path, fake_nvml: FakeNvml
    ) -> Iterator[MeterAndWork]:
        if request.param == "cpu_model":
            yield CpuModelMeter(10.0), burn
        elif request.param == "rapl":
            zone = make_zone(tmp_path, "intel-rapl:0", "package-0", 100)
            meter = RaplMeter(zone, "cpu")
            yield meter, lambda: (zone / "energy_uj").write_text("2000100")
            meter.close()
        elif request.param == "nvml":
            yield NvmlMeter(0, 0), lambda: fake_nvml.energy_mj.update({0: 5_000})
        elif request.param == "nvml_power":
            fake_nvml.energy_mj[0] = None
            with EnergyMonitor(NvmlMeter.available()) as monitor:
                yield monitor.meters[0], lambda: time.sleep(0.01)
        else:
            now = [0.0]
            log = tmp_path / "log.jsonl"
            log.write_text(
                '{"elapsed_s": 0, "device": "cpu", "energy_j": 1}\n'
                '{"elapsed_s": 2, "device": "cpu", "energy_j": 5}\n'
            )
            yield ReplayMeter.read_log(log, lambda: now[0])[0], lambda: now.__setitem__(0, 1.5)

    def test_says_what_it_measures_and_how(self, meter_and_work: MeterAndWork) -> None:
        meter, _ = meter_and_work
        assert meter.device
        assert meter.source in {"nvml", "rapl", "cpu_model", "replay"}
        assert meter.estimated is (meter.source in {"cpu_model", "replay"})

    def test_joules_grow_with_work_and_never_fall(self, meter_and_work: MeterAndWork) -> None:
        meter, work = meter_and_work
        readings = [meter.read_j()]
        work()
        readings += [meter.read_j() for _ in range(5)]
        assert readings == sorted(readings)
        assert readings[-1] > readings[0]
        assert all(isinstance(reading, float) for reading in readings)

    def test_reads_from_many_threads(self, meter_and_work: MeterAndWork) -> None:
        meter, work = meter_and_work
        start = meter.read_j()
        work()
        readings = []
        threads = [
            threading.Thread(target=lambda: readings.append(meter.read_j())) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(readings) == 8
        assert min(readings) > start


class TestSampler:
    def test_samples_until_closed(self) -> None:
        calls = []
        sampler = Sampler(lambda: calls.append(1), 0.001)
        deadline = time.monotonic() + 5
        while len(calls) < 3 and time.monotonic() < deadline:
            time.sleep(0.001)
        sampler.close()
        n_calls = len(calls)
        assert n_calls >= 3
        time.sleep(0.01)
        assert len(calls) == n_calls


class TestCpuModel:
    def test_is_watts_times_cpu_seconds(self) -> None:
        one, ten = CpuModelMeter(1.0), CpuModelMeter(10.0)
        before = one.read_j(), ten.read_j()
        burn(0.05)
        after = one.read_j(), ten.read_j()
        assert after[0] - before[0] >= 0.05
        assert (after[1] - before[1]) / (after[0] - before[0]) == pytest.approx(10, rel=0.05)

    def test_sleep_costs_next_to_nothing(self) -> None:
        meter = CpuModelMeter(1.0)
        before = meter.read_j()
        time.sleep(0.1)
        assert meter.read_j() - before < 0.05

    def test_counts_a_finished_child(self) -> None:
        meter = CpuModelMeter(1.0)
        before = meter.read_j()
        subprocess.run(
            [
                sys.executable,
                "-c",
                "import time\nwhile time.process_time() < 0.2: pass",
            ],
            check=True,
        )
        assert meter.read_j() - before > 0.15

    @pytest.mark.parametrize("power_w", [0.0, -1.0, float("nan"), float("inf")])
    def test_refuses_impossible_power(self, power_w: float) -> None:
        with pytest.raises(MeterError, match="W per busy core, expected a positive number"):
            CpuModelMeter(power_w)


class TestRapl:
    def test_goes_on_past_the_wrap_around(self, tmp_path: Path) -> None:
        zone = make_zone(tmp_path, "intel-rapl:0", "package-0", 900_000, range_uj=1_000_000)
        meter = RaplMeter(zone, "cpu")
        (zone / "energy_uj").write_text("100000")
        assert meter.read_j() == pytest.approx(0.2)
        (zone / "energy_uj").write_text("300000")
        assert meter.read_j() == pytest.approx(0.4)
        meter.close()

    def test_the_background_reading_sees_a_round_nobody_asked_for(self, tmp_path: Path) -> None:
        zone = make_zone(tmp_path, "intel-rapl:0", "package-0", 900_000, range_uj=1_000_000)
        meter = RaplMeter(zone, "cpu", read_every_s=0.002)
        for energy_uj in (100_000, 950_000, 50_000):
            # Replaced, not rewritten: the thread must never see an empty file.
            (zone / "new").write_text(str(energy_uj))
            os.replace(zone / "new", zone / "energy_uj")
            time.sleep(0.05)
        meter.close()
        assert meter.read_j() == pytest.approx(0.2 + 0.85 + 0.1)

    def test_a_counter_that_begins_anew_is_not_measured_and_then_goes_on(
        self, tmp_path: Path, rapl_clock: list[float]
    ) -> None:
        zone = make_zone(tmp_path, "intel-rapl:0", "package-0", 10_000_000_000)
        monitor = EnergyMonitor([RaplMeter(zone, "cpu", read_every_s=1000)])
        with monitor, monitor.window() as outer:
            with pytest.warns(RuntimeWarning, match="began anew"), monitor.window() as inner:
                (zone / "energy_uj").write_text("500000")
            with monitor.window() as after:
                (zone / "energy_uj").write_text("3500000")
        for window in (outer, inner):
            (device,) = window.measurement.devices
            assert device.energy_j is None
            assert "252144 J in" in device.reason
        assert after.measurement.energy_j == pytest.approx(3.0)

    def test_one_lost_counter_leaves_no_sum_over_the_others(
        self, tmp_path: Path, rapl_clock: list[float]
    ) -> None:
        zone = make_zone(tmp_path, "intel-rapl:0", "package-0", 10_000_000_000)
        memory = make_zone(tmp_path, "intel-rapl:0:0", "dram", 0)
        monitor = EnergyMonitor(RaplMeter.available(tmp_path))
        with pytest.warns(RuntimeWarning, match="cpu"), monitor, monitor.window() as window:  # noqa: PT031
            (zone / "energy_uj").write_text("0")
            (memory / "energy_uj").write_text("1000000")
        assert [device.energy_j for device in window.measurement.devices] == [None, 1.0]
        assert window.measurement.energy_j is None
        assert Measurement.total([window.measurement]).energy_j is None

    @pytest.mark.parametrize(("elapsed_s", "possible"), [(10.0, False), (60.0, True)])
    def test_time_decides_if_a_wrap_around_is_possible(
        self, tmp_path: Path, rapl_clock: list[float], elapsed_s: float, possible: bool
    ) -> None:
        zone = make_zone(tmp_path, "intel-rapl:0", "package-0", 242_143_328_850)
        with EnergyMonitor([RaplMeter(zone, "cpu", read_every_s=1000)]) as monitor:
            (meter,) = monitor.meters
            rapl_clock[0] += elapsed_s
            (zone / "energy_uj").write_text("1000000")  # 20,001 J further, if it wrapped around
            assert meter.read_j() == pytest.approx(20_001.0 if possible else 0.0)
            assert Count.of(meter).n_failures == (not possible)

    def test_a_clock_that_goes_back_credits_and_loses_nothing(
        self, tmp_path: Path, rapl_clock: list[float]
    ) -> None:
        zone = make_zone(tmp_path, "intel-rapl:0", "package-0", 0)
        with EnergyMonitor([RaplMeter(zone, "cpu", read_every_s=1000)]) as monitor:
            (meter,) = monitor.meters
            rapl_clock[0] -= 3600
            (zone / "energy_uj").write_text("5000000000")
            assert meter.read_j() == 5000.0
            rapl_clock[0] -= 3600
            (zone / "energy_uj").write_text("0")
            assert meter.read_j() == 5000.0
            assert "clock went back" in Count.of(meter).reason
            rapl_clock[0] += 1
            (zone / "energy_uj").write_text("7000000")
            assert meter.read_j() == 5007.0

    def test_a_step_that_no_device_takes_is_lost(
        self, tmp_path: Path, rapl_clock: list[float]
    ) -> None:
        zone = make_zone(tmp_path, "intel-rapl:0", "package-0", 0)
        with EnergyMonitor([RaplMeter(zone, "cpu", read_every_s=1000)]) as monitor:
            (meter,) = monitor.meters
            rapl_clock[0] += 1
            (zone / "energy_uj").write_text("50000000000")
            assert meter.read_j() == 0
            assert "cannot be" in Count.of(meter).reason

    def test_takes_packages_and_memory_and_nothing_twice(self, tmp_path: Path) -> None:
        make_zone(tmp_path, "intel-rapl:0", "package-0", 0)
        make_zone(tmp_path, "intel-rapl:0:0", "core", 0)
        make_zone(tmp_path, "intel-rapl:0:1", "dram", 0)
        make_zone(tmp_path, "intel-rapl:1", "package-1", 0)
        make_zone(tmp_path, "intel-rapl:2", "psys", 0)
        make_zone(tmp_path, "intel-rapl-mmio:0", "package-0", 0)
        (tmp_path / "intel-rapl:9").mkdir()
        meters = RaplMeter.available(tmp_path)
        assert [meter.device for meter in meters] == ["cpu0", "cpu1", "dram"]
        for meter in meters:
            meter.close()

    def test_one_package_is_the_cpu(self, tmp_path: Path) -> None:
        make_zone(tmp_path, "intel-rapl:0", "package-0", 0)
        (meter,) = RaplMeter.available(tmp_path)
        assert meter.device == "cpu"
        meter.close()

    def test_says_when_there_is_no_counter(self, tmp_path: Path) -> None:
        with pytest.raises(MeterError, match=r"no RAPL counter under .*\n.*cpu_model"):
            RaplMeter.available(tmp_path / "absent")

    def test_names_the_counter_it_may_not_read(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        zone = make_zone(tmp_path, "intel-rapl:0", "package-0", 0)
        make_zone(tmp_path, "intel-rapl:1", "package-1", 0)
        read_text = type(zone).read_text

        def refuse(path: Path, *args: object, **kwargs: object) -> str:
            if path.name == "energy_uj" and path.parent.name == "intel-rapl:1":
                raise PermissionError(13, "Permission denied", str(path))
            return read_text(path, *args, **kwargs)

        monkeypatch.setattr(type(zone), "read_text", refuse)
        with pytest.raises(MeterError, match=r"no permission to read .*energy_uj\n.*chmod"):
            RaplMeter.available(tmp_path)

    def test_says_when_the_counter_holds_no_number(self, tmp_path: Path) -> None:
        zone = make_zone(tmp_path, "intel-rapl:0", "package-0", "x")
        with pytest.raises(MeterError, match="cannot read the RAPL counter"):
            RaplMeter(zone, "cpu")

    def test_the_watch_survives_a_counter_that_goes_away(self, tmp_path: Path) -> None:
        zone = make_zone(tmp_path, "intel-rapl:0", "package-0", 1)
        meter = RaplMeter(zone, "cpu", read_every_s=0.001)
        (zone / "energy_uj").unlink()
        time.sleep(0.02)
        meter.close()
        with pytest.raises(MeterError, match="cannot read the RAPL counter"):
            meter.read_j()


class TestNvml:
    def test_reads_joules_of_every_gpu(self, fake_nvml: FakeNvml) -> None:
        meters = NvmlMeter.available()
        assert [(meter.device, meter.read_j()) for meter in meters] == [
            ("gpu0", 1.0),
            ("gpu1", 2.0),
        ]

    @pytest.mark.parametrize(
        ("setting", "devices"),
        [
            ("1", ["gpu1"]),
            ("1,0", ["gpu0", "gpu1"]),
            ("0,-1,1", ["gpu0"]),
            ("GPU-bbbb", ["gpu1"]),
            (" 0 , GPU-bbbb-2", ["gpu0", "gpu1"]),
        ],
    )
    def test_meters_what_cuda_sees(
        self, fake_nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch, setting: str, devices: list[str]
    ) -> None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", setting)
        assert [meter.device for meter in NvmlMeter.available()] == devices

    @pytest.mark.parametrize("setting", ["", "-1", "7", "GPU-", "MIG-x"])
    def test_says_when_cuda_sees_none(
        self, fake_nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch, setting: str
    ) -> None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", setting)
        with pytest.raises(MeterError, match="2 GPUs and CUDA_VISIBLE_DEVICES leaves none"):
            NvmlMeter.available()

    def test_sums_power_where_there_is_no_counter(self, fake_nvml: FakeNvml) -> None:
        fake_nvml.energy_mj[1] = None
        first, second = NvmlMeter.available()
        assert isinstance(first, NvmlMeter)
        assert not isinstance(second, NvmlMeter)
        with EnergyMonitor([first, second]):
            start_s, start_j = time.perf_counter(), second.read_j()
            time.sleep(0.05)
            energy_j, around_s = second.read_j() - start_j, time.perf_counter() - start_s
        assert 200 * 0.05 <= energy_j <= 200 * around_s

    def test_gpu_that_tells_nothing_stands_beside_the_others(self, fake_nvml: FakeNvml) -> None:
        fake_nvml.energy_mj[1] = fake_nvml.power_mw[1] = None
        first, second = NvmlMeter.available()
        assert first.read_j() == 1.0
        with pytest.raises(MeterError, match="gpu1 tells neither energy nor power"):
            second.read_j()

    def test_no_gpu_that_tells_anything_is_an_error_and_leaves_no_thread(
        self, fake_nvml: FakeNvml
    ) -> None:
        fake_nvml.energy_mj = fake_nvml.power_mw = {0: None, 1: None}
        threads = threading.active_count()
        with pytest.raises(MeterError, match="gpu1 tells neither energy nor power"):
            NvmlMeter.available()
        assert threading.active_count() == threads

    @pytest.mark.parametrize("forbidden", [0, 1])
    def test_a_forbidden_gpu_is_named_and_the_other_metered(
        self, fake_nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch, forbidden: int
    ) -> None:
        fake_nvml.forbidden.add(forbidden)
        with EnergyMonitor(NvmlMeter.available()) as monitor:
            with pytest.warns(RuntimeWarning, match=f"NVML refuses gpu{forbidden}"):
                counts = monitor.read()
            assert [count.energy_j is None for count in counts] == [forbidden == 0, forbidden == 1]
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", str(1 - forbidden))
        assert [meter.device for meter in NvmlMeter.available()] == [f"gpu{1 - forbidden}"]
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", str(forbidden))
        with pytest.raises(MeterError, match=f"NVML refuses gpu{forbidden}"):
            NvmlMeter.available()

    @pytest.mark.parametrize(
        ("parts", "metered"), [((1, 1), False), ((7, 4), False), ((7, 7), True)]
    )
    def test_a_slice_counts_as_its_gpu_only_if_it_has_all_parts(
        self,
        fake_nvml: FakeNvml,
        monkeypatch: pytest.MonkeyPatch,
        parts: tuple[int, int],
        metered: bool,
    ) -> None:
        fake_nvml.divide(1, parts)
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,MIG-77")
        whole, part = NvmlMeter.available()
        assert (whole.device, whole.read_j(), part.device) == ("gpu0", 1.0, "gpu1")
        if metered:
            assert part.read_j() == 2.0
        else:
            with pytest.raises(MeterError, match="a slice has no counter"):
                part.read_j()

    def test_doctor_names_the_forbidden_gpu(self, fake_nvml: FakeNvml) -> None:
        fake_nvml.forbidden.add(1)
        status = MeterStatus.of_this_machine()[0]
        assert status.available
        assert re.match("gpu0, not gpu1: NVML refuses gpu1: .*ermission", status.detail)

    def test_power_sampling_survives_a_lost_gpu(
        self, fake_nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(nvml, "_SAMPLE_EVERY_S", 0.001)
        fake_nvml.energy_mj[0] = None
        with EnergyMonitor(NvmlMeter.available()) as monitor:
            fake_nvml.power_mw[0] = None
            time.sleep(0.02)
        with pytest.raises(MeterError, match="gpu0 tells neither"):
            monitor.meters[0].read_j()

    @pytest.mark.parametrize("power_mw", [-1.0, float("nan"), float("inf"), 10_000_001.0])
    @pytest.mark.filterwarnings("ignore:nvml gives no energy")
    def test_power_that_cannot_be_is_refused_and_sampling_goes_on(
        self, fake_nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch, power_mw: float
    ) -> None:
        monkeypatch.setattr(nvml, "_SAMPLE_EVERY_S", 1000.0)
        now = nvml_clock(monkeypatch)
        fake_nvml.energy_mj[0] = None
        with EnergyMonitor(NvmlMeter.available()[:1]) as monitor, monitor.window() as outer:
            fake_nvml.power_mw[0] = power_mw
            with monitor.window() as inner:
                now[0] += 1
            fake_nvml.power_mw[0] = 100_000
            monitor.read()
            with monitor.window() as after:
                now[0] += 1
        for window in (outer, inner):
            assert window.measurement.energy_j is None
            assert "gpu0 tells a power of" in (window.measurement.reason or "")
        assert after.measurement.energy_j == pytest.approx(100.0)

    @pytest.mark.parametrize("power_mw", [-1.0, float("nan"), 10_000_001.0])
    def test_a_gpu_whose_power_cannot_be_from_the_start_has_no_meter(
        self, fake_nvml: FakeNvml, power_mw: float
    ) -> None:
        fake_nvml.energy_mj[1], fake_nvml.power_mw[1] = None, power_mw
        with pytest.raises(MeterError, match="gpu1 tells a power of"):
            NvmlMeter.available()[1].read_j()

    @pytest.mark.parametrize("counter_mj", [-1.0, float("nan"), 0.0, 50_000_000.0])
    @pytest.mark.filterwarnings("ignore:nvml gives no energy")
    def test_a_counter_that_cannot_be_is_refused(
        self, fake_nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch, counter_mj: float
    ) -> None:
        now = nvml_clock(monkeypatch)
        monitor = EnergyMonitor(NvmlMeter.available()[:1])
        with monitor.window() as window:
            now[0] += 1
            fake_nvml.energy_mj[0] = counter_mj
        assert window.measurement.energy_j is None
        assert "cannot be" in (window.measurement.reason or "")
        fake_nvml.energy_mj[0] = max(counter_mj, 1_000) if counter_mj > 0 else 1_000
        monitor.read()
        with monitor.window() as after:
            now[0] += 1
            fake_nvml.energy_mj[0] += 70_000
        assert after.measurement.energy_j == pytest.approx(70.0)

    def test_a_clock_that_goes_back_credits_and_takes_nothing(
        self, fake_nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(nvml, "_SAMPLE_EVERY_S", 1000.0)
        now = nvml_clock(monkeypatch)
        fake_nvml.energy_mj[1] = None
        with EnergyMonitor(NvmlMeter.available()) as monitor:
            counter, power = monitor.meters
            now[0] -= 3600
            fake_nvml.energy_mj[0] += 5_000
            assert (counter.read_j(), power.read_j()) == (6.0, 0.0)
            assert "clock went back" in Count.of(power).reason
            now[0] += 1
            assert power.read_j() == pytest.approx(200.0)

    def test_says_when_there_is_no_driver(
        self, fake_nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def missing() -> Never:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

        monkeypatch.setattr(pynvml, "nvmlInit", missing)
        with pytest.raises(MeterError, match="NVML finds no NVIDIA driver"):
            NvmlMeter.available()


class TestReplay:
    def write(self, path: Path, *rows: dict[str, Any]) -> Path:
        path.write_text("\n".join(map(json.dumps, rows)) + "\n\n")
        return path

    def row(self, elapsed_s: float, energy_j: float, device: str = "cpu") -> dict[str, Any]:
        return {"elapsed_s": elapsed_s, "device": device, "energy_j": energy_j}

    def test_plays_each_device_on_its_own_line(self, tmp_path: Path) -> None:
        log = self.write(
            tmp_path / "log",
            self.row(0, 0),
            self.row(0, 100, "gpu0"),
            self.row(4, 8),
            self.row(2, 300, "gpu0"),
        )
        now = [1.0]
        cpu, gpu = ReplayMeter.read_log(log, lambda: now[0])
        assert (cpu.read_j(), gpu.read_j()) == (2.0, 200.0)
        now[0] = 3.0
        assert cpu.read_j() == 6.0
        with pytest.raises(MeterError, match="recording ends after 2 s"):
            gpu.read_j()

    def test_begins_when_opened(self, tmp_path: Path) -> None:
        log = self.write(tmp_path / "log", self.row(0, 0), self.row(1000, 1000))
        (meter,) = ReplayMeter.read_log(log)
        assert meter.read_j() < 100

    def test_missing_log(self, tmp_path: Path) -> None:
        with pytest.raises(MeterError, match=r"cannot read the energy log .*absent"):
            ReplayMeter.read_log(tmp_path / "absent")

    def test_empty_log(self, tmp_path: Path) -> None:
        with pytest.raises(MeterError, match="is empty"):
            ReplayMeter.read_log(self.write(tmp_path / "log"))

    @pytest.mark.parametrize(
        "bad",
        [
            "not json",
            "[]",
            '{"device": "cpu"}',
            '{"device": 3, "elapsed_s": 0, "energy_j": 0}',
            '{"device": "cpu", "elapsed_s": 0, "energy_j": NaN}',
        ],
    )
    def test_names_the_bad_line(self, tmp_path: Path, bad: str) -> None:
        (tmp_path / "log").write_text(json.dumps(self.row(0, 0)) + "\n" + bad)
        with pytest.raises(MeterError, match="line 2 is no energy reading"):
            ReplayMeter.read_log(tmp_path / "log")

    def test_refuses_a_single_reading(self, tmp_path: Path) -> None:
        with pytest.raises(MeterError, match="'cpu' has 1 readings, expected 2"):
            ReplayMeter.read_log(self.write(tmp_path / "log", self.row(0, 0)))

    @pytest.mark.parametrize("second", [(0, 5), (1, -1)])
    def test_refuses_falling_readings(self, tmp_path: Path, second: tuple[float, float]) -> None:
        log = self.write(tmp_path / "log", self.row(0, 0), self.row(*second))
        with pytest.raises(MeterError, match="log: the readings of device 'cpu' fall"):
            ReplayMeter.read_log(log)
