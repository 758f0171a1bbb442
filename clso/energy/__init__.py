"""Joules of a piece of work, from hardware counters if there are any, with the meter's name."""

from clso.energy.cpu_model import CpuModelMeter
from clso.energy.measurement import DeviceEnergy, Measurement
from clso.energy.meter import Meter
from clso.energy.monitor import EnergyMonitor, Window
from clso.energy.nvml import NvmlMeter
from clso.energy.rapl import RaplMeter
from clso.energy.replay import ReplayMeter
from clso.energy.settings import EnergySettings, MeterStatus
from clso.energy.workers import WorkerEnergy, WorkersMeter, boot_id, process_token

__all__ = [
    "CpuModelMeter",
    "DeviceEnergy",
    "EnergyMonitor",
    "EnergySettings",
    "Measurement",
    "Meter",
    "MeterStatus",
    "NvmlMeter",
    "RaplMeter",
    "ReplayMeter",
    "Window",
    "WorkerEnergy",
    "WorkersMeter",
    "boot_id",
    "process_token",
]
