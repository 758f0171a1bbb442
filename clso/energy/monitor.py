"""Windows of work over a set of meters."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from clso.energy.measurement import DeviceEnergy, Measurement
from clso.energy.meter import Meter
from clso.errors import MeterError

__all__ = ["EnergyMonitor", "Window"]

# Counters tick every 1 ms (RAPL) to 100 ms (NVML): longer than this, a still one is broken.
_SLOWEST_TICK_S = 0.1


class Window:
    """One piece of work under measurement; `EnergyMonitor.window` makes them."""

    def __init__(self, monitor: EnergyMonitor) -> None:
        self._monitor = monitor
        self._measurement: Measurement | None = None
        self._start_j = monitor.read_j()
        self._start_s = time.perf_counter()

    def so_far(self) -> Measurement:
        """Return what the work took until now; the window stays open."""
        if self._measurement is not None:
            return self._measurement
        duration_s = time.perf_counter() - self._start_s
        end_j = self._monitor.read_j()
        return Measurement(
            duration_s=duration_s,
            devices=tuple(
                DeviceEnergy(
                    device=meter.device,
                    energy_j=_difference_j(meter, start_j, stop_j, duration_s),
                    source=meter.source,
                    estimated=meter.estimated,
                )
                for meter, start_j, stop_j in zip(
                    self._monitor.meters, self._start_j, end_j, strict=True
                )
            ),
        )

    def close(self) -> None:
        """Fix the measurement; a second call changes nothing."""
        self._measurement = self.so_far()

    @property
    def measurement(self) -> Measurement:
        """What the work took.

        Raises:
            RuntimeError: the window is still open.
        """
        if self._measurement is None:
            raise RuntimeError("the window is still open; leave its `with` block first")
        return self._measurement


class EnergyMonitor:
    """Measures windows of work, which may nest and overlap, on any thread.

    Args:
        meters: one per device; none at all measures durations only.

    Raises:
        ValueError: two meters for one device, whose energy would count twice.
    """

    def __init__(self, meters: Sequence[Meter] = ()) -> None:
        names = [meter.device for meter in meters]
        if len(set(names)) != len(names):
            raise ValueError(f"a device has two meters: {names}, expected one each")
        self.meters = tuple(meters)
        self._silent: set[str] = set()

    @contextmanager
    def window(self) -> Iterator[Window]:
        """Measure the block; `window.measurement` is there when it ends, also by an exception.

        A hardware counter that did not move is recorded as `None`, not 0; over a window longer
        than 0.1 s it warns as well. Work queued on a GPU counts once it has run, so wait for its
        result inside the block.
        """
        window = Window(self)
        try:
            yield window
        finally:
            window.close()

    def read_j(self) -> tuple[float | None, ...]:
        """Return every meter's joules so far; `None` (and one warning) where a meter fails."""
        return tuple(self._read(meter) for meter in self.meters)

    def _read(self, meter: Meter) -> float | None:
        try:
            return meter.read_j()
        except MeterError as error:
            if meter.device not in self._silent:
                self._silent.add(meter.device)
                warnings.warn(
                    f"{meter.source} gives no energy for {meter.device}, recorded as not "
                    f"measured: {error.message}",
                    RuntimeWarning,
                    stacklevel=2,
                )
            return None

    def close(self) -> None:
        """Free what the meters hold; the monitor reads no more after this."""
        for meter in self.meters:
            close = getattr(meter, "close", None)
            if close is not None:
                close()

    def __enter__(self) -> EnergyMonitor:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _difference_j(
    meter: Meter, start_j: float | None, stop_j: float | None, duration_s: float
) -> float | None:
    if start_j is None or stop_j is None:
        return None
    energy_j = stop_j - start_j
    if energy_j > 0:
        return energy_j
    if duration_s > _SLOWEST_TICK_S:
        warnings.warn(
            f"the {meter.source} counter of {meter.device} did not move in {duration_s:.2f} s; "
            "recorded as not measured",
            RuntimeWarning,
            stacklevel=2,
        )
    return None
