"""Windows, what they record when a meter fails, and which meters a name opens."""

import time
from pathlib import Path
from typing import Never

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clso.energy import (
    DeviceEnergy,
    EnergyMonitor,
    EnergySettings,
    Measurement,
    MeterStatus,
    NvmlMeter,
    RaplMeter,
)
from clso.energy.meter import Unmetered
from clso.errors import ConfigError, MeterError


class ManualMeter:
    """A meter whose joules the test sets."""

    def __init__(self, device: str = "cpu", source: str = "rapl", estimated: bool = False) -> None:
        self.device, self.source, self.estimated = device, source, estimated
        self.energy_j = 7.0
        self.uuids: frozenset[str] = frozenset()
        self.fails = False
        self.closed = False

    def read_j(self) -> float:
        if self.fails:
            raise MeterError("gone")
        return self.energy_j

    def close(self) -> None:
        self.closed = True


class TestWindow:
    def test_records_the_joules_and_seconds_inside(self) -> None:
        meter = ManualMeter()
        with EnergyMonitor([meter]).window() as window:
            meter.energy_j += 3
            time.sleep(0.01)
        measured = window.measurement
        assert measured.energy_j == 3
        assert measured.energy_source == "rapl"
        assert measured.estimated is False
        assert measured.duration_s >= 0.01
        assert measured.mean_power_w == pytest.approx(3 / measured.duration_s)

    def test_sums_devices_and_joins_sources(self) -> None:
        cpu, gpu = ManualMeter(), ManualMeter("gpu0", "nvml")
        with EnergyMonitor([cpu, gpu]).window() as window:
            cpu.energy_j += 1
            gpu.energy_j += 10
        assert window.measurement.energy_j == 11
        assert window.measurement.energy_source == "nvml+rapl"

    def test_a_modelled_device_makes_the_sum_estimated(self) -> None:
        cpu, gpu = ManualMeter(source="cpu_model", estimated=True), ManualMeter("gpu0", "nvml")
        with EnergyMonitor([cpu, gpu]).window() as window:
            cpu.energy_j += 1
            gpu.energy_j += 1
        assert window.measurement.estimated is True
        assert window.measurement.energy_source == "cpu_model+nvml"

    def test_windows_nest_and_overlap(self) -> None:
        meter = ManualMeter()
        monitor = EnergyMonitor([meter])
        outer, inner = monitor.window(), monitor.window()
        first = outer.__enter__()
        meter.energy_j += 1
        second = inner.__enter__()
        meter.energy_j += 10
        outer.__exit__(None, None, None)
        meter.energy_j += 100
        inner.__exit__(None, None, None)
        assert first.measurement.energy_j == 11
        assert second.measurement.energy_j == 110

    def test_can_be_looked_into_while_open(self) -> None:
        meter = ManualMeter()
        with EnergyMonitor([meter]).window() as window:
            meter.energy_j += 1
            early = window.so_far()
            with pytest.raises(RuntimeError, match="still open"):
                _ = window.measurement
            meter.energy_j += 1
        assert early.energy_j == 1
        assert window.measurement.energy_j == 2
        assert window.so_far() is window.measurement

    def test_is_closed_by_an_exception_too(self) -> Never:
        meter = ManualMeter()
        with pytest.raises(KeyError), EnergyMonitor([meter]).window() as window:  # noqa: PT012
            meter.energy_j += 5
            raise KeyError
        assert window.measurement.energy_j == 5

    def test_without_meters_energy_is_null_not_zero(self) -> None:
        with EnergyMonitor().window() as window:
            pass
        measured = window.measurement
        assert measured.energy_j is None
        assert measured.energy_source is None
        assert measured.estimated is None
        assert measured.mean_power_w is None
        assert measured.duration_s >= 0

    def test_a_still_counter_warns_and_is_null(self) -> None:
        meter = ManualMeter()
        with (
            pytest.warns(RuntimeWarning, match="rapl counter of cpu did not move in"),
            EnergyMonitor([meter]).window() as window,
        ):
            time.sleep(0.11)
        assert window.measurement.energy_j is None

    def test_a_window_shorter_than_the_tick_is_null_without_warning(self) -> None:
        with EnergyMonitor([ManualMeter()]).window() as window:
            pass
        assert window.measurement.energy_j is None

    def test_a_meter_that_fails_warns_once_and_the_others_stand(self) -> None:
        cpu, gpu = ManualMeter(), ManualMeter("gpu0", "nvml")
        monitor = EnergyMonitor([cpu, gpu])
        with (
            pytest.warns(RuntimeWarning, match="nvml gives no energy for gpu0.*gone"),
            monitor.window() as window,
        ):
            cpu.energy_j, gpu.fails = 2 + cpu.energy_j, True
        assert window.measurement.energy_j == 2
        assert window.measurement.energy_source == "rapl"
        assert [device.energy_j for device in window.measurement.devices] == [2, None]
        with monitor.window() as again:
            cpu.energy_j += 1
        assert again.measurement.energy_j == 1


class TestNeededGpu:
    """Work on a GPU has no sum of joules without those of that GPU."""

    def work(self, monitor: EnergyMonitor, *meters: ManualMeter) -> Measurement:
        with monitor.window() as window:
            for meter in meters:
                meter.energy_j += 5
            monitor.need_gpu()
            monitor.need_gpu()  # once is enough
        return window.measurement

    def test_without_meter_the_processor_does_not_stand_for_it(self) -> None:
        cpu = ManualMeter()
        monitor = EnergyMonitor([cpu], no_gpu="no permission")
        with pytest.warns(RuntimeWarning, match="no permission"):
            measured = self.work(monitor, cpu)
        assert (measured.energy_j, measured.energy_source, measured.estimated) == (None,) * 3
        assert measured.mean_power_w is None
        assert measured.reason == "no permission"
        assert [device.energy_j for device in measured.devices] == [5, None]
        for again in (
            Measurement.total([measured, Measurement(1.0, measured.devices[:1])]),
            Measurement.from_record(measured.to_record()),
            *measured.split([1, 2]),
        ):
            assert (again.energy_j, again.reason) == (None, "no permission")

    def test_with_meter_it_counts(self) -> None:
        cpu, gpu = ManualMeter(), ManualMeter("gpu0", "nvml")
        assert self.work(EnergyMonitor([cpu, gpu]), cpu, gpu).energy_j == 10

    @pytest.mark.filterwarnings("ignore:nvml gives no energy")
    def test_a_meter_that_fails_is_missing(self) -> None:
        cpu, gpu = ManualMeter(), ManualMeter("gpu0", "nvml")
        gpu.fails = True
        assert self.work(EnergyMonitor([cpu, gpu]), cpu).reason == "gone"

    @pytest.mark.filterwarnings("ignore:n.* gives no energy")
    @pytest.mark.parametrize(("uuid", "joules"), [("aa-1", 10), ("bb-2", None), ("cc-3", None)])
    def test_only_the_gpu_of_the_work_is_needed(
        self, monkeypatch: pytest.MonkeyPatch, uuid: str, joules: float | None
    ) -> None:
        cpu, gpu = ManualMeter(), ManualMeter("gpu0", "nvml")
        gpu.uuids = frozenset({"aa-1"})
        refused = Unmetered("gpu1", "nvml", "no permission", frozenset({"bb-2"}))
        monkeypatch.setattr("clso.energy.monitor.cuda_uuids", lambda: [uuid, "dd-4"])
        assert self.work(EnergyMonitor([cpu, gpu, refused]), cpu, gpu).energy_j == joules

    @pytest.mark.filterwarnings("ignore:none gives no energy")
    def test_auto_says_why_there_is_no_meter(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse() -> Never:
            raise MeterError("NVML refuses gpu0")

        monkeypatch.setattr(NvmlMeter, "available", refuse)
        with EnergySettings().open() as monitor:
            assert self.work(monitor).reason == "NVML refuses gpu0"


class TestMonitor:
    def test_refuses_two_meters_for_one_device(self) -> None:
        with pytest.raises(ValueError, match="two meters"):
            EnergyMonitor([ManualMeter(), ManualMeter(source="cpu_model")])

    def test_closes_its_meters(self) -> None:
        meter = ManualMeter()
        with EnergyMonitor([meter]):
            assert not meter.closed
        assert meter.closed


class TestTotal:
    def measure(
        self, *joules: float, meters: list[ManualMeter] | None = None, source: str = "rapl"
    ) -> Measurement:
        meters = meters or [ManualMeter(f"cpu{i}", source) for i in range(len(joules))]
        with EnergyMonitor(meters).window() as window:
            for meter, energy_j in zip(meters, joules, strict=True):
                meter.energy_j += energy_j
        return window.measurement

    def test_adds_up_by_device(self) -> None:
        total = Measurement.total([self.measure(1, 2), self.measure(10, 20)])
        assert [device.energy_j for device in total.devices] == [11, 22]
        assert total.energy_j == 33

    def test_of_one_part_is_that_part(self) -> None:
        part = self.measure(1, 2)
        assert Measurement.total([part]) == part

    def test_of_nothing_is_no_time_and_no_energy(self) -> None:
        assert Measurement.total([]) == Measurement(0.0)

    def test_nothing_adds_nothing(self) -> None:
        part = self.measure(1)
        assert Measurement.total([Measurement(0.0), part, Measurement(0.0)]) == part

    def test_a_part_without_meter_makes_the_total_unknown(self) -> None:
        total = Measurement.total([self.measure(1), Measurement(5.0)])
        assert total.energy_j is None
        assert total.energy_source is None
        assert total.duration_s >= 5

    def test_parts_with_other_meters_name_them_all(self) -> None:
        modelled = self.measure(1, meters=[ManualMeter("cpu0", source="cpu_model", estimated=True)])
        total = Measurement.total([self.measure(2), modelled])
        assert (total.energy_j, total.energy_source, total.estimated) == (3, "cpu_model+rapl", True)

    @given(
        weights=st.lists(st.integers(0, 1000), min_size=1, max_size=9),
        joules=st.floats(0, 1e6) | st.none(),
    )
    def test_shares_by_tokens_add_up_to_the_whole(
        self, weights: list[int], joules: float | None
    ) -> None:
        device = DeviceEnergy("cpu", joules, "rapl", estimated=False)
        whole = Measurement(2.0, (device,))
        shares = whole.split(weights)
        total = Measurement.total(shares)
        assert total.duration_s == pytest.approx(2.0)
        assert total.energy_j == (None if joules is None else pytest.approx(joules))
        for weight, share in zip(weights, shares, strict=True):
            fraction = weight / sum(weights) if any(weights) else 1 / len(weights)
            assert share.duration_s == pytest.approx(2.0 * fraction)
            assert share.devices[0].source == "rapl"

    def test_record_round_trip(self) -> None:
        total = Measurement.total([self.measure(1, 0), self.measure(10, 20)])
        assert Measurement.from_record(total.to_record()) == total


class TestOpen:
    @pytest.fixture(autouse=True)
    def _bare_machine(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def missing() -> Never:
            raise MeterError("not on this machine")

        monkeypatch.setattr(NvmlMeter, "available", missing)
        monkeypatch.setattr(RaplMeter, "available", missing)

    def sources(self, monitor: EnergyMonitor) -> list[str]:
        return [meter.source for meter in monitor.meters]

    def test_auto_falls_back_to_the_model(self) -> None:
        assert self.sources(EnergySettings().open()) == ["cpu_model"]

    def test_auto_prefers_counters(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(NvmlMeter, "available", lambda: [ManualMeter("gpu0", "nvml")])
        monkeypatch.setattr(RaplMeter, "available", lambda: [ManualMeter()])
        assert self.sources(EnergySettings(meter="auto").open()) == ["nvml", "rapl"]

    def test_auto_never_leaves_the_processor_out(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(NvmlMeter, "available", lambda: [ManualMeter("gpu0", "nvml")])
        assert self.sources(EnergySettings(meter="auto").open()) == ["nvml", "cpu_model"]

    @pytest.mark.parametrize("name", ["nvml", "rapl"])
    def test_a_meter_asked_for_by_name_must_be_there(self, name: str) -> None:
        with pytest.raises(MeterError, match="not on this machine"):
            EnergySettings(meter=name).open()

    def test_by_name_when_there(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(NvmlMeter, "available", lambda: [ManualMeter("gpu0", "nvml")])
        monkeypatch.setattr(RaplMeter, "available", lambda: [ManualMeter()])
        for name in ("nvml", "rapl", "cpu_model"):
            assert self.sources(EnergySettings(meter=name).open()) == [name]

    def test_none_measures_nothing(self) -> None:
        assert EnergySettings(meter="none").open().meters == ()

    def test_replay_needs_a_log(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"energy.replay is missing; name the log"):
            EnergySettings(meter="replay")
        log = tmp_path / "log.jsonl"
        log.write_text(
            '{"elapsed_s": 0, "device": "gpu0", "energy_j": 0}\n'
            '{"elapsed_s": 100, "device": "gpu0", "energy_j": 5000}\n'
        )
        before_s = time.perf_counter()
        with EnergySettings(meter="replay", replay=str(log)).open().window() as window:
            time.sleep(0.01)
        around_s = time.perf_counter() - before_s
        assert window.measurement.energy_source == "replay"
        assert window.measurement.energy_j is not None
        # its readings are taken somewhere between the sleep and what is around the window
        assert 50 * 0.01 <= window.measurement.energy_j <= 50 * around_s

    def test_unknown_name_lists_the_known(self) -> None:
        with pytest.raises(ConfigError, match=r"meter: .*'auto', 'nvml'.*'wattmeter'"):
            EnergySettings(meter="wattmeter")

    def test_describe_says_why_not(self, monkeypatch: pytest.MonkeyPatch) -> None:
        meter = ManualMeter("gpu0", "nvml")
        monkeypatch.setattr(NvmlMeter, "available", lambda: [meter])
        nvml, rapl, model = MeterStatus.of_this_machine()
        assert (nvml.available, nvml.detail) == (True, "gpu0")
        assert (rapl.available, rapl.detail) == (False, "not on this machine")
        assert model.available
        assert meter.closed


def test_this_machine_can_always_be_measured_or_says_so() -> None:
    with EnergySettings(meter="auto").open() as monitor, monitor.window() as window:
        sum(range(100_000))
    assert window.measurement.energy_j is None or window.measurement.energy_j > 0
    assert {status.meter for status in MeterStatus.of_this_machine()} == {
        "nvml",
        "rapl",
        "cpu_model",
    }
