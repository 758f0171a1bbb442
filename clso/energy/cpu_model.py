"""Energy as an estimate: CPU seconds times a fixed power per busy core.

A ratio of two such estimates is a ratio of CPU times, whatever the power.
"""

from __future__ import annotations

import math
import os
import time

from clso.errors import MeterError

__all__ = ["CpuModelMeter", "cpu_seconds"]


class CpuModelMeter:
    """E = power_w * (CPU seconds of this process and of its finished children).

    `power_w` is in watts per busy core. Other processes and the machine's idle power do not count.
    A child process counts once it has ended and this process has waited for it.

    Raises:
        MeterError: `power_w` is not a positive, finite number.
    """

    device = "cpu"
    source = "cpu_model"
    estimated = True

    def __init__(self, power_w: float) -> None:
        if not (math.isfinite(power_w) and power_w > 0):
            raise MeterError(
                f"the CPU model has {power_w!r} W per busy core, expected a positive number",
                remedy="set energy.cpu_power_w, for example to 10",
            )
        self._power_w = power_w

    def read_j(self) -> float:
        """Return the modelled joules since the process began."""
        return self._power_w * cpu_seconds()


def cpu_seconds() -> float:
    """Return the CPU seconds of this process and of its finished children."""
    times = os.times()
    return time.process_time() + times.children_user + times.children_system
