"""Replays a recorded log, so that energy code runs without the hardware.

The log has one JSON object per line: `{"elapsed_s": 1.5, "device": "gpu0", "energy_j": 312.0}`,
the cumulative joules of a device at seconds since the recording began.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from clso.errors import MeterError

__all__ = ["ReplayMeter"]


class ReplayMeter:
    """The energy of one device as recorded, linear between readings.

    Args:
        elapsed_s: times of the readings, `(n,)`, increasing, n >= 2.
        energy_j: cumulative joules, `(n,)`, not decreasing.
        clock: returns the seconds since the replay began.

    Raises:
        MeterError: there are fewer than two readings, or they decrease.
    """

    source = "replay"
    estimated = True

    def __init__(
        self,
        device: str,
        elapsed_s: Sequence[float],
        energy_j: Sequence[float],
        clock: Callable[[], float],
    ) -> None:
        self.device = device
        self._elapsed_s = np.asarray(elapsed_s, dtype=np.float64)
        self._energy_j = np.asarray(energy_j, dtype=np.float64)
        self._clock = clock
        if len(self._elapsed_s) < 2:
            raise MeterError(f"device {device!r} has {len(self._elapsed_s)} readings, expected 2")
        if (np.diff(self._elapsed_s) <= 0).any() or (np.diff(self._energy_j) < 0).any():
            raise MeterError(
                f"the readings of device {device!r} fall",
                remedy="elapsed_s must rise and energy_j, being cumulative, must not fall",
            )

    @classmethod
    def read_log(cls, path: Path, clock: Callable[[], float] | None = None) -> list[ReplayMeter]:
        """Return a meter per device of a log; the replay begins now unless a clock is given.

        Raises:
            MeterError: the log is missing or damaged; the message names the line.
        """
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise MeterError(
                f"cannot read the energy log {path}: {error}", remedy="check energy.replay"
            ) from error
        readings: dict[str, tuple[list[float], list[float]]] = {}
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            device, elapsed_s, energy_j = _parse(line, f"{path}, line {number}")
            times, joules = readings.setdefault(device, ([], []))
            times.append(elapsed_s)
            joules.append(energy_j)
        if not readings:
            raise MeterError(f"the energy log {path} is empty", remedy="check energy.replay")
        start_s = time.perf_counter()
        clock = clock or (lambda: time.perf_counter() - start_s)
        try:
            return [cls(device, *columns, clock) for device, columns in readings.items()]
        except MeterError as error:
            raise MeterError(
                f"in the energy log {path}: {error.message}", remedy=error.remedy
            ) from None

    def read_j(self) -> float:
        """Return the recorded joules at the present time of the replay.

        Raises:
            MeterError: the recording is over.
        """
        now_s = self._clock()
        if now_s > self._elapsed_s[-1]:
            raise MeterError(f"the recording ends after {self._elapsed_s[-1]:g} s")
        return float(np.interp(now_s, self._elapsed_s, self._energy_j))


def _parse(line: str, where: str) -> tuple[str, float, float]:
    try:
        record = json.loads(line)
        device, elapsed_s, energy_j = record["device"], record["elapsed_s"], record["energy_j"]
        if not isinstance(device, str):
            raise TypeError("device is no string")
        values = float(elapsed_s), float(energy_j)
        if not all(map(math.isfinite, values)):
            raise ValueError("a number is not finite")
    except (ValueError, KeyError, TypeError) as error:
        raise MeterError(
            f"{where} is no energy reading: {error!r}",
            remedy='expected {"elapsed_s": 0.0, "device": "cpu", "energy_j": 0.0}',
        ) from error
    return device, *values
