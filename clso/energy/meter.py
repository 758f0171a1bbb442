"""The interface of all meters: cumulative joules.

Notation: a reading is joules since a fixed moment that each meter chooses. The difference of two
readings is the energy between them, so windows may nest and overlap.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from clso.errors import MeterError

__all__ = ["MACHINE_WIDE", "Meter", "Sampler"]

# sources that count the work of all processes of a machine
MACHINE_WIDE = frozenset({"nvml", "rapl"})


class Meter(Protocol):
    """Cumulative energy of one device.

    A meter may also have `close()`, which frees its resources (a thread, a driver's handle).
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
