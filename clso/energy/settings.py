"""Which meters a run uses, and why other meters cannot be used on this machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import model_validator

from clso.energy.cpu_model import CpuModelMeter
from clso.energy.meter import Meter, Unmetered
from clso.energy.monitor import EnergyMonitor
from clso.energy.nvml import NvmlMeter
from clso.energy.rapl import RaplMeter
from clso.energy.replay import ReplayMeter
from clso.errors import MeterError
from clso.section import NotNegative, Positive, Section

__all__ = ["EnergySettings", "MeterStatus"]


class EnergySettings(Section):
    """How joules are measured.

    Attributes:
        meter: `auto` takes NVML and RAPL where present and the CPU model otherwise.
        cpu_power_w: for the CPU model, watts per busy core.
        idle_power_w: for the CPU model, watts of the machine while a run works, whatever its cores
            do; 0: not counted. Workers of an engine do not count it again.
        replay: for `replay`, a recorded log (JSON lines of `elapsed_s`, `device`, `energy_j`).
    """

    meter: Literal["auto", "nvml", "rapl", "cpu_model", "replay", "none"] = "auto"
    cpu_power_w: Positive = 10.0
    idle_power_w: NotNegative = 0.0
    replay: str | None = None

    @model_validator(mode="after")
    def _replay_given(self) -> EnergySettings:
        if self.meter == "replay" and self.replay is None:
            raise ValueError("meter is 'replay' but energy.replay is missing; name the log")
        return self

    def open(self) -> EnergyMonitor:
        """Open the meters that these settings name.

        `auto` takes NVML for GPUs if there are any. For the processor it takes RAPL, or the CPU
        model if the RAPL counter cannot be read; it never fails. `none` measures durations only.

        Raises:
            MeterError: a meter that is named cannot be used, or its log cannot be read.
        """
        match self.meter:
            case "auto":
                gpus, no_gpu = _if_available(NvmlMeter.available)
                processor = _if_available(RaplMeter.available)[0] or [self._cpu_model()]
                return EnergyMonitor([*gpus, *processor], no_gpu=no_gpu)
            case "nvml":
                return EnergyMonitor(NvmlMeter.available())
            case "rapl":
                return EnergyMonitor(RaplMeter.available())
            case "cpu_model":
                return EnergyMonitor([self._cpu_model()])
            case "replay":
                assert self.replay is not None, "the settings check this"
                return EnergyMonitor(ReplayMeter.read_log(Path(self.replay)))
            case "none":
                return EnergyMonitor()

    def _cpu_model(self) -> CpuModelMeter:
        return CpuModelMeter(self.cpu_power_w, self.idle_power_w)


class MeterStatus(NamedTuple):
    """Whether a kind of meter can be used on this machine; one line of `clso doctor`.

    Attributes:
        meter: the value of `energy.meter` that selects the kind.
        available: it can be used now.
        detail: the devices that it measures, or why it cannot be used.
    """

    meter: str
    available: bool
    detail: str

    @classmethod
    def of_this_machine(cls) -> list[MeterStatus]:
        """Try all kinds of meters, best first."""
        return [
            cls._tried("nvml", NvmlMeter.available),
            cls._tried("rapl", RaplMeter.available),
            cls("cpu_model", True, "an estimate: watts per busy core x CPU seconds"),
        ]

    @classmethod
    def _tried(cls, name: str, available: Callable[[], Sequence[Meter]]) -> MeterStatus:
        try:
            monitor = EnergyMonitor(available())
        except MeterError as error:
            return cls(name, False, error.message)
        with monitor:
            return cls(name, True, ", ".join(map(_shown, monitor.meters)))


def _shown(meter: Meter) -> str:
    return f"not {meter.device}: {meter.reason}" if isinstance(meter, Unmetered) else meter.device


def _if_available(available: Callable[[], Sequence[Meter]]) -> tuple[Sequence[Meter], str]:
    """Return the meters, or why there are none."""
    try:
        return available(), ""
    except MeterError as error:
        return [], error.message
