"""Which meters a run uses, and why others are not there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from clso.energy.cpu_model import CpuModelMeter
from clso.energy.meter import Meter
from clso.energy.monitor import EnergyMonitor
from clso.energy.nvml import nvml_meters
from clso.energy.rapl import rapl_meters
from clso.energy.replay import replay_meters
from clso.errors import MeterError

__all__ = ["MeterStatus", "describe_meters", "open_monitor"]


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


def open_monitor(
    meter: str = "auto", *, cpu_power_w: float = 10.0, replay: Path | str | None = None
) -> EnergyMonitor:
    """Open the meters that a name stands for.

    `auto` takes NVML for GPUs where there are any, and for the processor RAPL or, where its
    counter cannot be read, the CPU model; it never fails. `none` measures durations only.

    Args:
        meter: `auto`, `nvml`, `rapl`, `cpu_model`, `replay` or `none`.
        cpu_power_w: watts per busy core, for the CPU model.
        replay: the recorded log, for `replay`.

    Raises:
        MeterError: a meter asked for by name is not there, or the name is unknown.
    """
    if meter == "auto":
        gpus: Sequence[Meter] = _if_there(nvml_meters)
        processor: Sequence[Meter] = _if_there(rapl_meters) or [CpuModelMeter(cpu_power_w)]
        return EnergyMonitor([*gpus, *processor])
    if meter == "nvml":
        return EnergyMonitor(nvml_meters())
    if meter == "rapl":
        return EnergyMonitor(rapl_meters())
    if meter == "cpu_model":
        return EnergyMonitor([CpuModelMeter(cpu_power_w)])
    if meter == "replay":
        if replay is None:
            raise MeterError(
                "meter is 'replay' but no log is given", remedy="set energy.replay to its path"
            )
        return EnergyMonitor(replay_meters(Path(replay)))
    if meter == "none":
        return EnergyMonitor()
    raise MeterError(
        f"there is no meter {meter!r}",
        remedy="choose one of auto, nvml, rapl, cpu_model, replay, none",
    )


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
