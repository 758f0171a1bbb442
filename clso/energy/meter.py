"""The interface of all meters: cumulative joules.

Notation: a reading is joules since a fixed moment that each meter chooses. The difference of two
readings is the energy between them, so windows may nest and overlap.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple, Protocol

from clso.errors import MeterError

__all__ = [
    "MACHINE_WIDE",
    "MOST_POWER_W",
    "TICK_S",
    "Count",
    "CountingMeter",
    "Joules",
    "Meter",
    "Sampler",
    "Unmetered",
]

# sources that count the work of all processes of a machine
MACHINE_WIDE = frozenset({"nvml", "rapl"})

# no device takes more watts
MOST_POWER_W = 10_000.0
# Counters advance every 1 ms (RAPL) to 100 ms (NVML). One that stands still longer is broken; one
# that does not may bring the joules of its last tick late.
TICK_S = 0.1


class Meter(Protocol):
    """Cumulative energy of one device.

    A meter may also have `close()`, which frees its resources (a thread, a driver's handle), and
    `n_failures`, a number that rises when joules were lost, with the last reason as `failure`. A
    window in which it rises is not measured.
    """

    @property
    def device(self) -> str:
        """The measured device: `"cpu"`, `"dram"`, `"gpu0"`."""

    @property
    def source(self) -> str:
        """The kind of meter: `"nvml"`, `"rapl"`, `"cpu_model"` or `"replay"`."""

    @property
    def estimated(self) -> bool:
        """Whether the joules come from a model or a recording, not from a sensor."""

    def read_j(self) -> float:
        """Return the joules so far; any thread may call this.

        Raises:
            MeterError: the device does not answer.
        """


class Count(NamedTuple):
    """What a meter says at one moment.

    Attributes:
        energy_j: cumulative; `None` if the meter fails.
        n_failures: how often joules were lost until now.
        reason: why the meter fails, or why joules were lost last.
    """

    energy_j: float | None
    n_failures: int = 0
    reason: str = ""

    @classmethod
    def of(cls, meter: Meter) -> Count:
        """Read a meter."""
        failure = ""
        try:
            energy_j: float | None = meter.read_j()
        except MeterError as error:
            energy_j, failure = None, error.message
        if energy_j is not None and not math.isfinite(energy_j):
            failure = f"{meter.device} tells {energy_j} J, which cannot be"
            energy_j = None
        # after the reading, which may find that joules were lost
        n_failures = getattr(meter, "n_failures", 0)
        return cls(energy_j, n_failures, failure or getattr(meter, "failure", ""))

    def lost_since(self, start: Count) -> bool:
        """Return whether joules were lost since an earlier reading."""
        return self.n_failures > start.n_failures

    def since(self, start: Count) -> float | None:
        """Return the joules since an earlier reading; `None` if they are not known."""
        if self.energy_j is None or start.energy_j is None or self.lost_since(start):
            return None
        return self.energy_j - start.energy_j


class Joules:
    """The sum of the steps of a counter; a step that cannot be is left out, and counted as lost.

    Attributes:
        total_j: the sum.
        n_failures: steps that were left out.
        failure: why the last of them was.
    """

    def __init__(self, device: str, total_j: float = 0.0) -> None:
        self._device = device
        self.total_j = total_j
        self.n_failures = 0
        self.failure = ""

    def add(self, step_j: float, elapsed_s: float) -> None:
        """Add the joules since the last reading.

        If the clock went back (`elapsed_s < 0`), their power is not known and is not checked.
        """
        most_j = MOST_POWER_W * (elapsed_s + TICK_S) if elapsed_s >= 0 else math.inf
        if 0 <= step_j <= most_j and math.isfinite(step_j):
            self.total_j += step_j
        else:
            self.lose(
                f"{step_j:g} J in {elapsed_s:.3g} s cannot be: a device takes 0 to "
                f"{MOST_POWER_W:g} W"
            )

    def lose(self, reason: str) -> None:
        """Count the joules since the last reading as lost."""
        self.failure = f"{self._device}: {reason}"
        self.n_failures += 1


class CountingMeter:
    """What meters of a counter have in common: the sum of its steps, and what was lost of it."""

    def __init__(self, device: str) -> None:
        self.device = device
        self._lock = threading.Lock()
        self._joules = Joules(device)

    @property
    def n_failures(self) -> int:
        """How often joules were lost."""
        return self._joules.n_failures

    @property
    def failure(self) -> str:
        """Why joules were lost last."""
        return self._joules.failure


class Unmetered:
    """A device that is there and cannot be metered: its joules are not known, and it says why."""

    estimated = False

    def __init__(
        self, device: str, source: str, reason: str, uuids: frozenset[str] = frozenset()
    ) -> None:
        self.device = device
        self.source = source
        self.reason = reason
        self.uuids = uuids

    def read_j(self) -> float:
        """Raise the reason.

        Raises:
            MeterError: always.
        """
        raise MeterError(self.reason, remedy="use energy.meter=auto, or let NVML read the GPU")


class Sampler:
    """Calls a function every `period_s` seconds on its own thread, until closed.

    A `MeterError` of the function is ignored, because the next reading raises it again.
    """

    def __init__(self, sample: Callable[[], object], period_s: float) -> None:
        self._sample = sample
        self._period_s = period_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="clso-energy", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(self._period_s):
            with suppress(MeterError):
                self._sample()

    def close(self) -> None:
        """End the thread and wait for it."""
        self._stop.set()
        self._thread.join()
