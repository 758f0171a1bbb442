"""NVIDIA management library: the energy counter of a GPU, or its power integrated over time.

Notation: the counter is in millijoules since the driver was loaded (Volta and newer); power is
in milliwatts. Source: NVML API reference, nvmlDeviceGetTotalEnergyConsumption.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import pynvml

from clso.energy.meter import Sampler
from clso.errors import MeterError

__all__ = ["NvmlMeter"]

_SAMPLE_EVERY_S = 0.1
_REMEDY = "use energy.meter=auto or energy.meter=cpu_model"


class NvmlMeter:
    """The energy counter of the GPU with number `index` in NVML's order (that of the PCI bus).

    Raises:
        MeterError: the GPU has no such counter.
    """

    source = "nvml"
    estimated = False

    def __init__(self, index: int, handle: Any) -> None:  # noqa: ANN401 - an opaque C pointer
        self.device = f"gpu{index}"
        self._handle = handle
        self.read_j()

    @classmethod
    def available(cls) -> Sequence[NvmlMeter | _NvmlPowerMeter]:
        """Return a meter per GPU that CUDA may use (`CUDA_VISIBLE_DEVICES`, else all).

        A GPU without an energy counter is metered by its power.

        Raises:
            MeterError: no driver, no visible GPU, or a GPU that gives neither energy nor power.
        """
        try:
            pynvml.nvmlInit()
            indices = range(pynvml.nvmlDeviceGetCount())
            handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in indices]
            uuids = [str(pynvml.nvmlDeviceGetUUID(handle)) for handle in handles]
        except pynvml.NVMLError as error:
            raise MeterError(f"NVML finds no NVIDIA driver: {error}", remedy=_REMEDY) from error
        visible = _visible(os.environ.get("CUDA_VISIBLE_DEVICES"), uuids)
        if not visible:
            raise MeterError(
                f"NVML sees {len(handles)} GPUs and CUDA_VISIBLE_DEVICES leaves none",
                remedy=_REMEDY,
            )
        with ExitStack() as opened:
            meters: list[NvmlMeter | _NvmlPowerMeter] = []
            for index in visible:
                try:
                    meters.append(cls(index, handles[index]))
                except MeterError:
                    power_meter = _NvmlPowerMeter(index, handles[index])
                    opened.callback(power_meter.close)
                    meters.append(power_meter)
            opened.pop_all()
        return meters

    def read_j(self) -> float:
        """Return the joules since the driver was loaded."""
        query = pynvml.nvmlDeviceGetTotalEnergyConsumption
        return _answer(query, self._handle, f"{self.device} has no energy counter") / 1e3


class _NvmlPowerMeter:
    r"""The power of one GPU, integrated by the trapezoidal rule: E = sum (P_i + P_{i+1}) / 2 dt.

    Raises:
        MeterError: the GPU does not give its power either.
    """

    source = "nvml"
    estimated = False

    def __init__(self, index: int, handle: Any) -> None:  # noqa: ANN401 - an opaque C pointer
        self.device = f"gpu{index}"
        self._handle = handle
        self._lock = threading.Lock()
        self._energy_j = 0.0
        self._power_w = self._read_w()
        self._time_s = time.perf_counter()
        self._sampler = Sampler(self.read_j, _SAMPLE_EVERY_S)

    def _read_w(self) -> float:
        query = pynvml.nvmlDeviceGetPowerUsage
        return _answer(query, self._handle, f"{self.device} tells neither energy nor power") / 1e3

    def read_j(self) -> float:
        """Take a sample and return the joules since the meter was made."""
        with self._lock:
            power_w, time_s = self._read_w(), time.perf_counter()
            self._energy_j += (self._power_w + power_w) / 2 * (time_s - self._time_s)
            self._power_w, self._time_s = power_w, time_s
            return self._energy_j

    def close(self) -> None:
        """End the sampling thread."""
        self._sampler.close()


def _answer(query: Callable[[Any], int], handle: Any, failure: str) -> float:  # noqa: ANN401
    try:
        return float(query(handle))
    except pynvml.NVMLError as error:
        raise MeterError(f"{failure}: {error}", remedy=_REMEDY) from error


def _visible(setting: str | None, uuids: list[str]) -> list[int]:
    """Parse `CUDA_VISIBLE_DEVICES` as CUDA does: GPUs after an unknown entry are hidden."""
    if setting is None:
        return list(range(len(uuids)))
    indices: list[int] = []
    for entry in (part.strip() for part in setting.split(",")):
        if entry.isdecimal() and int(entry) < len(uuids):
            indices.append(int(entry))
            continue
        matches = [i for i, uuid in enumerate(uuids) if entry and uuid.startswith(entry)]
        if len(matches) != 1:
            break
        indices.append(matches[0])
    return sorted(set(indices))
