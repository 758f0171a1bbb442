"""Which meters a run uses, and why others are not there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import model_validator

from clso.energy.cpu_model import CpuModelMeter
from clso.energy.meter import Meter
from clso.energy.monitor import EnergyMonitor
from clso.energy.nvml import nvml_meters
from clso.energy.rapl import rapl_meters
from clso.energy.replay import replay_meters
from clso.errors import MeterError
from clso.section import Positive, Section

__all__ = ["EnergySettings", "MeterStatus", "describe_meters", "open_monitor"]


class EnergySettings(Section):
    """How joules are measured.

    Attributes:
        meter: `auto` takes NVML and RAPL where present and the CPU model otherwise.
        cpu_power_w: for the CPU model, watts per busy core.
        replay: for `replay`, a recorded log (JSON lines of `elapsed_s`, `device`, `energy_j`).
    """

    meter: Literal["auto", "nvml", "rapl", "cpu_model", "replay", "none"] = "auto"
    cpu_power_w: Positive = 10.0
    replay: str | None = None

    @model_validator(mode="after")
    def _replay_given(self) -> EnergySettings:
        if self.meter == "replay" and self.replay is None:
            raise ValueError("meter is 'replay' but energy.replay is missing; name the log")
        return self


@dataclass(frozen=True, slots=True)
class MeterStatus:
    """One line for `clso doctor`.

    Attributes:
        meter: the value of `energy.meter` that asks for it.
        available: it can be used here and now.
        detail: the devices it measures, or why it is not available.
    """

    meter: str
    available: bool
    detail: str


def open_monitor(settings: EnergySettings | None = None) -> EnergyMonitor:
    """Open the meters that settings name.

    `auto` takes NVML for GPUs where there are any, and for the processor RAPL or, where its
    counter cannot be read, the CPU model; it never fails. `none` measures durations only.

    Raises:
        MeterError: a meter asked for by name is not there, or its log cannot be read.
    """
    settings = settings or EnergySettings()
    match settings.meter:
        case "auto":
            gpus: Sequence[Meter] = _if_there(nvml_meters)
            processor = _if_there(rapl_meters) or [CpuModelMeter(settings.cpu_power_w)]
            return EnergyMonitor([*gpus, *processor])
        case "nvml":
            return EnergyMonitor(nvml_meters())
        case "rapl":
            return EnergyMonitor(rapl_meters())
        case "cpu_model":
            return EnergyMonitor([CpuModelMeter(settings.cpu_power_w)])
        case "replay":
            assert settings.replay is not None, "the settings check this"
            return EnergyMonitor(replay_meters(Path(settings.replay)))
        case "none":
            return EnergyMonitor()


def describe_meters() -> list[MeterStatus]:
    """Try the meters of this machine, best first."""
    return [
        _status("nvml", nvml_meters),
        _status("rapl", rapl_meters),
        MeterStatus("cpu_model", True, "an estimate: watts per busy core x CPU seconds"),
    ]


def _if_there(find: Callable[[], Sequence[Meter]]) -> Sequence[Meter]:
    try:
        return find()
    except MeterError:
        return []


def _status(name: str, find: Callable[[], Sequence[Meter]]) -> MeterStatus:
    try:
        monitor = EnergyMonitor(find())
    except MeterError as error:
        return MeterStatus(name, False, error.message)
    with monitor:
        return MeterStatus(name, True, ", ".join(meter.device for meter in monitor.meters))
