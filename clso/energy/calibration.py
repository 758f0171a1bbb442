r"""The CPU model of a machine, fitted to its power under known loads.

Notation: P_k the power of the machine, in watts, while k cores are busy. The model is

.. math:: P_k = P_\mathrm{idle} + k \, P_\mathrm{core}, \qquad P_\mathrm{idle} \ge 0

fitted by least squares.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from clso.energy.meter import Count, Meter
from clso.errors import MeterError

__all__ = ["CpuFit", "Reading", "busy_cores", "loads", "measured"]

_IDLE = "idle"
# Products of small matrices, as training and counting have them. The process ends with its parent.
_WORK = """
import os, sys, threading
import numpy as np
matrix = np.ones((192, 192), np.float32) / 192
def wait():
    sys.stdin.read()
    os._exit(0)
threading.Thread(target=wait, daemon=True).start()
print("ready", flush=True)
while True:
    matrix @ matrix
"""


@dataclass(frozen=True)
class Reading:
    """The power of a machine in watts while some of its cores are busy."""

    busy_cores: int
    power_w: float

    @classmethod
    def parsed(cls, text: str) -> Reading:
        """Read `idle=21.5` or `2=38`: busy cores, and the watts of a wall meter.

        Raises:
            MeterError: the text is no such pair.
        """
        cores, _, watts = text.partition("=")
        try:
            reading = cls(0 if cores.strip() == _IDLE else int(cores), float(watts))
        except ValueError:
            raise MeterError(
                f"the reading {text!r} is no number of busy cores with its watts",
                remedy="write it as idle=21.5 or 2=38",
            ) from None
        if reading.busy_cores < 0 or not (0 < reading.power_w < math.inf):
            raise MeterError(
                f"the reading {text!r} is out of range",
                remedy="give 0 or more cores (or idle) and a positive number of watts",
            )
        return reading

    @property
    def name(self) -> str:
        """The load: `idle`, or the number of busy cores."""
        return str(self.busy_cores or _IDLE)


@dataclass(frozen=True)
class CpuFit:
    """The fitted powers, and the readings that they come from."""

    idle_power_w: float
    core_power_w: float
    readings: tuple[Reading, ...]

    @classmethod
    def of(cls, readings: Sequence[Reading]) -> CpuFit:
        """Fit the model to readings of two loads or more.

        Raises:
            MeterError: there are fewer loads, or the power does not rise with them.
        """
        if len({reading.busy_cores for reading in readings}) < 2:
            raise MeterError(
                "the readings are of one load, and a line needs two",
                remedy="give --reading idle=W and --reading K=W for K busy cores",
            )
        design = [[1.0, reading.busy_cores] for reading in readings]
        watts = np.array([reading.power_w for reading in readings])
        (idle_w, core_w), _ = nnls(np.array(design), watts)
        if core_w <= 0:
            raise MeterError(
                "the power does not rise with the number of busy cores: "
                + ", ".join(f"{reading.name}={reading.power_w:g}" for reading in readings),
                remedy="read again on a machine without other work, a minute after the load began",
            )
        return cls(float(idle_w), float(core_w), tuple(readings))

    def residual_w(self, reading: Reading) -> float:
        """Return a reading's power minus that of the model."""
        return reading.power_w - self.idle_power_w - reading.busy_cores * self.core_power_w

    def yaml(self) -> str:
        """Return the section `energy` of a configuration."""
        return (
            "energy:\n"
            "  meter: cpu_model\n"
            f"  cpu_power_w: {self.core_power_w:.4g}\n"
            f"  idle_power_w: {self.idle_power_w:.4g}\n"
        )


def loads(n_cores: int) -> list[int]:
    """Return numbers of busy cores to read at: 0, 1, 2, 4, ... and all."""
    powers = [1 << place for place in range(n_cores.bit_length())]
    return sorted({0, n_cores, *(power for power in powers if power <= n_cores)})


@contextmanager
def busy_cores(number: int) -> Iterator[None]:
    """Keep cores busy while the block runs, one process each.

    Raises:
        MeterError: a process cannot be started.
    """
    environment = os.environ | dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    with ExitStack() as started:
        for _ in range(number):
            try:
                process = subprocess.Popen(  # noqa: S603 - this Python and a program of this module
                    [sys.executable, "-c", _WORK],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    env=environment,
                )
            except OSError as error:
                raise MeterError(
                    f"a process that keeps a core busy cannot start: {error}"
                ) from error
            started.callback(_end, process)
            assert process.stdout is not None
            if not process.stdout.readline():
                raise MeterError("a process that keeps a core busy has ended at once")
        yield


def measured(
    meters: Sequence[Meter],
    busy: Sequence[int],
    duration_s: float,
    on_load: Callable[[int], object] = lambda cores: None,
) -> list[Reading]:
    """Return the power under loads that this function makes, each as long as `duration_s`.

    The power is the sum over the meters, such as RAPL's of processor and memory.

    Raises:
        MeterError: a counter cannot be read or stands still, or a load cannot be made.
    """
    readings = []
    for cores in busy:
        on_load(cores)
        with busy_cores(cores):
            began_s, began = time.perf_counter(), [Count.of(meter) for meter in meters]
            time.sleep(duration_s)
            power_w = _joules_since(began, meters) / (time.perf_counter() - began_s)
        if power_w <= 0:
            raise MeterError(
                "the energy counter stands still", remedy="use a wall meter: --reading"
            )
        readings.append(Reading(cores, power_w))
    return readings


def _joules_since(began: Sequence[Count], meters: Sequence[Meter]) -> float:
    total_j = 0.0
    for start, meter in zip(began, meters, strict=True):
        stop = Count.of(meter)
        step_j = stop.since(start)
        if step_j is None:
            raise MeterError(
                f"the energy of {meter.device} is not known: {stop.reason or start.reason}",
                remedy="calibrate again, or use a wall meter: --reading",
            )
        total_j += step_j
    return total_j


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()
