"""Measures pieces of work with a set of meters."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from clso.energy.cpu_model import cpu_seconds
from clso.energy.measurement import WORKERS, DeviceEnergy, Measurement
from clso.energy.meter import TICK_S, Count, Meter, Unmetered
from clso.energy.visible import cuda_uuids, uuid_key

__all__ = ["EnergyMonitor", "Window"]


class Window:
    """One piece of work that is measured; `EnergyMonitor.window` opens it."""

    def __init__(self, monitor: EnergyMonitor) -> None:
        self._monitor = monitor
        self._measurement: Measurement | None = None
        self._start = monitor.read()
        self._start_cpu_s = monitor.cpu_s
        self._start_s = time.perf_counter()

    def so_far(self) -> Measurement:
        """Return time and energy of the work until now; the window stays open."""
        if self._measurement is not None:
            return self._measurement
        duration_s = time.perf_counter() - self._start_s
        cpu_s = self._monitor.cpu_s - self._start_cpu_s
        stops = self._monitor.read()
        # a meter that was added later began at 0
        starts = (*self._start, *[Count(0.0)] * (len(stops) - len(self._start)))
        meters = self._monitor.meters
        devices = [
            self._device(meter, start, stop, duration_s)
            for meter, start, stop in zip(meters, starts, stops, strict=False)
            # without reports, no other process has worked
            if meter.device != WORKERS or start[:2] != stop[:2]
        ]
        return Measurement(duration_s, tuple(devices), cpu_s)

    def _device(self, meter: Meter, start: Count, stop: Count, duration_s: float) -> DeviceEnergy:
        lost = stop.lost_since(start)
        if lost and meter.device != WORKERS:  # they warn themselves
            self._monitor.warn(meter, stop.reason)
        energy_j, reason = stop.since(start), ""
        if energy_j is None:
            reason = stop.reason if lost or stop.energy_j is None else start.reason
        elif energy_j < 0:
            reason = f"the joules of {meter.device} fell by {-energy_j:g}"
            energy_j = None
            self._monitor.warn(meter, reason)
        elif energy_j == 0:
            energy_j, reason = None, _stands_still(meter, duration_s)
        return DeviceEnergy(
            device=meter.device,
            energy_j=energy_j,
            source=meter.source,
            estimated=meter.estimated,
            reason=reason,
            # where joules of the processor are lost, its memory's are no sum
            needed=(lost and meter.device.startswith(("cpu", "dram")))
            or self._monitor.needs(meter),
        )

    def close(self) -> None:
        """Fix the measurement; a second call changes nothing."""
        self._measurement = self.so_far()

    @property
    def measurement(self) -> Measurement:
        """Time and energy of the whole work.

        Raises:
            RuntimeError: the window is still open.
        """
        if self._measurement is None:
            raise RuntimeError("the window is still open; leave its `with` block first")
        return self._measurement


class EnergyMonitor:
    """Measures windows of work on any thread; windows may nest and overlap.

    Each device has one meter; without meters, only durations are measured. As a context manager it
    frees the meters' resources when the block ends.

    Meters belong to a process. So a pickled monitor is the one that `serve` has set in the process
    that unpickles it, and without one it measures durations only.

    `no_gpu` says why none of the meters reads a GPU.

    Raises:
        ValueError: a device has two meters, so its energy would count twice.
    """

    def __init__(self, meters: Sequence[Meter] = (), *, no_gpu: str = "") -> None:
        names = [meter.device for meter in meters]
        if len(set(names)) != len(names):
            raise ValueError(f"a device has two meters: {names}, expected one each")
        self.meters = tuple(meters)
        self._no_gpu = no_gpu or "no meter of this run reads a GPU; set energy.meter to auto"
        self._needed: set[str] | None = None
        self._warned: set[str] = set()

    def add(self, meter: Meter) -> None:
        """Add a meter that begins at 0 J now, also to the windows that are open."""
        self.meters = (*self.meters, meter)

    def need_gpu(self) -> None:
        """Give no sum of joules without those of CUDA's first GPU, as the work runs on it.

        This holds for open windows too. A GPU without meter gets no joules, with the reason.
        """
        if self._needed is not None:
            return
        gpus = [meter for meter in self.meters if meter.device.startswith("gpu")]
        uuids = cuda_uuids() if gpus else None
        if uuids:
            key = uuid_key(uuids[0])
            known = [meter for meter in gpus if key in getattr(meter, "uuids", ())]
            # without UUID (refused, or a recording) it may be the one
            gpus = known or [meter for meter in gpus if not getattr(meter, "uuids", ())]
        if not gpus:
            gpus = [Unmetered("gpu", "none", self._no_gpu)]
            self.add(gpus[0])
        self._needed = {meter.device for meter in gpus}

    def needs(self, meter: Meter) -> bool:
        """Return whether there is no sum of joules without those of this meter."""
        return self._needed is not None and meter.device in self._needed

    def serve(self) -> None:
        """Measure the work of unpickled objects in this process."""
        global _serving
        _serving = self

    def __reduce__(self) -> tuple[Any, ...]:
        return _of_process, ()

    @contextmanager
    def window(self) -> Iterator[Window]:
        """Measure the block; `window.measurement` is set when it ends, even by an exception.

        A counter that did not move is recorded as `None`, not 0; over more than 0.1 s it also
        warns. Work on a GPU counts once it has run, so wait for its result inside the block.
        """
        window = Window(self)
        try:
            yield window
        finally:
            window.close()

    def read(self) -> tuple[Count, ...]:
        """Read every meter; one warning for a meter that fails."""
        return tuple(self._read(meter) for meter in self.meters)

    @property
    def cpu_s(self) -> float:
        """CPU seconds so far: of this process, its finished children and its workers."""
        return cpu_seconds() + sum(getattr(meter, "cpu_s", 0.0) for meter in self.meters)

    def warn(self, meter: Meter, reason: str) -> None:
        """Warn that a device is not measured, once for each."""
        if meter.device not in self._warned:
            self._warned.add(meter.device)
            warnings.warn(
                f"{meter.source} gives no energy for {meter.device}, recorded as not "
                f"measured: {reason}",
                RuntimeWarning,
                stacklevel=2,
            )

    def _read(self, meter: Meter) -> Count:
        count = Count.of(meter)
        if count.energy_j is None:
            self.warn(meter, count.reason)
        return count

    def __enter__(self) -> EnergyMonitor:
        return self

    def __exit__(self, *exception: object) -> None:
        for meter in self.meters:
            close = getattr(meter, "close", None)
            if close is not None:
                close()


_serving: EnergyMonitor | None = None


def _of_process() -> EnergyMonitor:
    return EnergyMonitor() if _serving is None else _serving


def _stands_still(meter: Meter, duration_s: float) -> str:
    """Return why a counter that did not move gives no joules, and warn if it had the time to."""
    reason = f"the {meter.source} counter of {meter.device} did not move in {duration_s:.2f} s"
    if duration_s > TICK_S:
        warnings.warn(f"{reason}; recorded as not measured", RuntimeWarning, stacklevel=2)
    return reason
