"""Energy as an estimate: CPU seconds times a power per busy core, and an idle power.

Without an idle power a ratio of two such estimates is a ratio of CPU times, whatever the power of a
core. `clso energy calibrate` fits both powers.
"""

from __future__ import annotations

import math
import os
import time

from clso.errors import MeterError

__all__ = ["CpuModelMeter", "cpu_seconds"]


class CpuModelMeter:
    """E = power_w * (CPU seconds of this process and of its finished children) + idle_power_w * t.

    `power_w` is in watts per busy core, `idle_power_w` what the machine takes while time passes.
    Other processes do not count. A child process counts once it has ended and this process has
    waited for it.

    Raises:
        MeterError: `power_w` is not a positive, finite number, or `idle_power_w` is negative.
    """

    device = "cpu"
    source = "cpu_model"
    estimated = True

    def __init__(self, power_w: float, idle_power_w: float = 0.0) -> None:
        if not (math.isfinite(power_w) and power_w > 0):
            raise MeterError(
                f"the CPU model has {power_w!r} W per busy core, expected a positive number",
                remedy="set energy.cpu_power_w, for example to 10",
            )
        if not (math.isfinite(idle_power_w) and idle_power_w >= 0):
            raise MeterError(
                f"the CPU model has an idle power of {idle_power_w!r} W, expected 0 or more",
                remedy="set energy.idle_power_w, or leave it out",
            )
        self._power_w = power_w
        self._idle_power_w = idle_power_w

    def read_j(self) -> float:
        """Return the modelled joules since a fixed moment."""
        return self._power_w * cpu_seconds() + self._idle_power_w * time.monotonic()


def cpu_seconds() -> float:
    """Return the CPU seconds of this process and of its finished children."""
    times = os.times()
    return time.process_time() + times.children_user + times.children_system
