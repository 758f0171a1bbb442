"""Energy by assumption: so many watts for every busy core.

A ratio of two such figures is a ratio of CPU times, whatever the watts.
"""

from __future__ import annotations

import math
import os
import time

from clso.errors import MeterError

__all__ = ["CpuModelMeter"]


def _cpu_seconds() -> float:
    """Return the CPU time of this process, all its threads, and the children it has waited for."""
    times = os.times()
    return time.process_time() + times.children_user + times.children_system


class CpuModelMeter:
    """E = power_w * (CPU seconds of this process and of its finished children).

    Other processes do not count, nor does what the machine draws at rest; a child counts when it
    has ended and been waited for.

    Args:
        power_w: watts per busy core.

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
        return self._power_w * _cpu_seconds()
