"""What every meter offers: a number of joules that only grows.

Notation: energies are joules since some fixed moment of the meter's own choosing, so that the
difference of two readings is the energy between them and windows may nest and overlap.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from clso.errors import MeterError

__all__ = ["Meter", "Sampler"]


class Meter(Protocol):
    """Cumulative energy of one device.

    A meter may also have `close()`, which frees what it holds (a thread, a driver's handle).
    """

    @property
    def device(self) -> str:
        """What is measured: `"cpu"`, `"dram"`, `"gpu0"`."""

    @property
    def source(self) -> str:
        """How: `"nvml"`, `"rapl"`, `"cpu_model"` or `"replay"`."""

    @property
    def estimated(self) -> bool:
        """Whether the joules come from a model or a recording instead of this machine's sensor."""

    def read_j(self) -> float:
        """Return the joules so far; safe to call from any thread.

        Raises:
            MeterError: the device does not answer.
        """


class Sampler:
    """Calls a function every so many seconds on a thread of its own, until closed.

    Args:
        sample: what to call; a `MeterError` of it is left to whoever reads the meter next.
        period_s: seconds between two calls.
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
