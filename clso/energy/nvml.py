"""NVIDIA management library: the energy counter of a GPU, or its power integrated over time.

Notation: the counter is in millijoules since the driver was loaded (Volta and newer); power is
in milliwatts. Source: NVML API reference, nvmlDeviceGetTotalEnergyConsumption.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import pynvml

from clso.energy import visible
from clso.energy.meter import MOST_POWER_W, CountingMeter, Sampler, Unmetered
from clso.energy.visible import Gpu, Slice, Visible, visible_gpus
from clso.errors import MeterError

__all__ = ["NvmlMeter"]

_SAMPLE_EVERY_S = 0.1
_REMEDY = "use energy.meter=auto or energy.meter=cpu_model"


class _GpuMeter(CountingMeter):
    """What both meters of a GPU have in common."""

    source = "nvml"
    estimated = False

    def __init__(
        self,
        index: int,
        handle: Any,  # noqa: ANN401 - an opaque C pointer
        uuids: frozenset[str] = frozenset(),
    ) -> None:
        super().__init__(f"gpu{index}")
        self.uuids = uuids
        self._handle = handle


class NvmlMeter(_GpuMeter):
    """The energy counter of the GPU with number `index` in NVML's order (that of the PCI bus).

    Raises:
        MeterError: the GPU has no such counter.
    """

    def __init__(
        self,
        index: int,
        handle: Any,  # noqa: ANN401 - an opaque C pointer
        uuids: frozenset[str] = frozenset(),
    ) -> None:
        super().__init__(index, handle, uuids)
        self._last_j, self._time_s = self._counter_j(), time.perf_counter()
        self._joules.total_j = self._last_j

    @classmethod
    def available(cls) -> Sequence[NvmlMeter | _NvmlPowerMeter | Unmetered]:
        """Return a meter per GPU that CUDA may use (`CUDA_VISIBLE_DEVICES`, else all).

        A GPU without an energy counter is metered by its power. One that cannot be metered, such as
        a forbidden one, stands beside the others with the reason.

        Raises:
            MeterError: no driver, no visible GPU, or none that can be metered.
        """
        gpus = _gpus()
        seen = visible_gpus(gpus, os.environ, visible.cuda_uuids())
        if not seen:
            raise MeterError(
                f"NVML sees {len(gpus)} GPUs and CUDA_VISIBLE_DEVICES leaves none",
                remedy=_REMEDY,
            )
        with ExitStack() as opened:
            meters = [_opened(gpu) for gpu in seen]
            for meter in meters:
                if isinstance(meter, _NvmlPowerMeter):
                    opened.callback(meter.close)
            refused = [meter.reason for meter in meters if isinstance(meter, Unmetered)]
            if len(refused) == len(meters):
                raise MeterError("; ".join(dict.fromkeys(refused)), remedy=_REMEDY)
            opened.pop_all()
        return meters

    def read_j(self) -> float:
        """Return the joules since the driver was loaded, without those that were lost."""
        with self._lock:
            now_j, now_s = self._counter_j(), time.perf_counter()
            self._joules.add(now_j - self._last_j, now_s - self._time_s)
            self._last_j, self._time_s = now_j, now_s
            return self._joules.total_j

    def _counter_j(self) -> float:
        query = pynvml.nvmlDeviceGetTotalEnergyConsumption
        counter_j = _answer(query, self._handle, f"{self.device} has no energy counter") / 1e3
        if not 0 <= counter_j < math.inf:
            raise MeterError(
                f"{self.device} has a counter of {counter_j:g} J, which cannot be", remedy=_REMEDY
            )
        return counter_j


class _NvmlPowerMeter(_GpuMeter):
    r"""The power of one GPU, integrated by the trapezoidal rule: E = sum (P_i + P_{i+1}) / 2 dt.

    The joules between two samples are lost if one of them fails or cannot be, or if the clock went
    back.

    Raises:
        MeterError: the GPU does not give its power either.
    """

    def __init__(
        self,
        index: int,
        handle: Any,  # noqa: ANN401 - an opaque C pointer
        uuids: frozenset[str] = frozenset(),
    ) -> None:
        super().__init__(index, handle, uuids)
        self._power_w: float | None = self._read_w()
        self._time_s = time.perf_counter()
        self._sampler = Sampler(self.read_j, _SAMPLE_EVERY_S)

    def _read_w(self) -> float:
        query = pynvml.nvmlDeviceGetPowerUsage
        failure = f"{self.device} tells neither energy nor power"
        power_w = _answer(query, self._handle, failure) / 1e3
        if not 0 <= power_w <= MOST_POWER_W:
            raise MeterError(
                f"{self.device} tells a power of {power_w:g} W, which cannot be", remedy=_REMEDY
            )
        return power_w

    def read_j(self) -> float:
        """Take a sample and return the joules since the meter was made."""
        with self._lock:
            try:
                power_w, time_s = self._read_w(), time.perf_counter()
            except MeterError as error:
                self._power_w = None
                self._joules.lose(error.message)
                raise
            if self._power_w is not None:  # else the failure has been counted
                elapsed_s = time_s - self._time_s
                if elapsed_s < 0:
                    self._joules.lose("the clock went back between two samples of power")
                else:
                    self._joules.add((self._power_w + power_w) / 2 * elapsed_s, elapsed_s)
            self._power_w, self._time_s = power_w, time_s
            return self._joules.total_j

    def close(self) -> None:
        """End the sampling thread."""
        self._sampler.close()


def _opened(seen: Visible) -> NvmlMeter | _NvmlPowerMeter | Unmetered:
    if seen.reason or seen.gpu is None:
        return Unmetered(seen.device, NvmlMeter.source, seen.reason, seen.uuids)
    gpu = seen.gpu
    try:
        return NvmlMeter(gpu.index, gpu.handle, seen.uuids)
    except MeterError:
        try:
            return _NvmlPowerMeter(gpu.index, gpu.handle, seen.uuids)
        except MeterError as error:
            return Unmetered(seen.device, NvmlMeter.source, error.message, seen.uuids)


def _gpus() -> list[Gpu]:
    """Return all GPUs that NVML counts, also those that it refuses.

    Raises:
        MeterError: there is no driver.
    """
    try:
        pynvml.nvmlInit()
        indices = range(pynvml.nvmlDeviceGetCount())
    except pynvml.NVMLError as error:
        raise MeterError(f"NVML finds no NVIDIA driver: {error}", remedy=_REMEDY) from error
    return [_gpu(index) for index in indices]


def _gpu(index: int) -> Gpu:
    try:
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        uuid = str(pynvml.nvmlDeviceGetUUID(handle))
    except pynvml.NVMLError as error:
        return Gpu(index, None, reason=f"NVML refuses gpu{index}: {error}")
    try:
        name = str(pynvml.nvmlDeviceGetName(handle))
    except pynvml.NVMLError:
        name = ""
    return Gpu(index, handle, uuid, name, _slices(handle))


def _slices(handle: Any) -> tuple[Slice, ...] | None:  # noqa: ANN401 - an opaque C pointer
    """Return the MIG slices of a GPU that NVML shows; `None` if it is not divided."""
    try:
        if pynvml.nvmlDeviceGetMigMode(handle)[0] != pynvml.NVML_DEVICE_MIG_ENABLE:
            return None
        most = int(pynvml.nvmlDeviceGetMaxMigDeviceCount(handle))
    except pynvml.NVMLError:
        return None
    slices = []
    for number in range(most):
        try:
            part = pynvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, number)
            slices.append(Slice(str(pynvml.nvmlDeviceGetUUID(part)), _is_whole(part, most)))
        except pynvml.NVMLError:
            continue
    return tuple(slices)


def _is_whole(part: Any, most: int) -> bool:  # noqa: ANN401 - an opaque C pointer
    """Return whether a slice has all parts of its GPU, which no other slice can then have."""
    try:
        size = pynvml.nvmlDeviceGetAttributes(part)
        parts = int(size.gpuInstanceSliceCount), int(size.computeInstanceSliceCount)
    except pynvml.NVMLError:
        return False
    return parts == (most, most)


def _answer(query: Callable[[Any], int], handle: Any, failure: str) -> float:  # noqa: ANN401
    try:
        return float(query(handle))
    except pynvml.NVMLError as error:
        raise MeterError(f"{failure}: {error}", remedy=_REMEDY) from error
