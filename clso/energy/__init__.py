"""Joules of a piece of work, with the meter they come from: counters where there are any."""

from clso.energy.cpu_model import CpuModelMeter
from clso.energy.measurement import DeviceEnergy, Measurement
from clso.energy.meter import Meter
from clso.energy.monitor import EnergyMonitor, Window
from clso.energy.nvml import NvmlMeter, NvmlPowerMeter, nvml_meters
from clso.energy.rapl import RaplMeter, rapl_meters
from clso.energy.replay import ReplayMeter, replay_meters
from clso.energy.select import EnergySettings, MeterStatus, describe_meters, open_monitor

__all__ = [
    "CpuModelMeter",
    "DeviceEnergy",
    "EnergyMonitor",
    "EnergySettings",
    "Measurement",
    "Meter",
    "MeterStatus",
    "NvmlMeter",
    "NvmlPowerMeter",
    "RaplMeter",
    "ReplayMeter",
    "Window",
    "describe_meters",
    "nvml_meters",
    "open_monitor",
    "rapl_meters",
    "replay_meters",
]
