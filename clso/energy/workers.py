"""The joules of other processes that work for a run, as they report them.

A worker reports the joules of each task that it has done. Counters of a whole machine (`nvml`,
`rapl`) count once: several workers on one machine read the same counter, so of a report only the
share of its time counts that no report before has covered, and nothing of it where the run's own
meters read that counter already.
"""

from __future__ import annotations

import os
import threading
import uuid
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from clso.energy.measurement import WORKERS, DeviceEnergy, joined_sources
from clso.energy.meter import MACHINE_WIDE, Meter

__all__ = ["WorkerEnergy", "WorkersMeter", "boot_id", "process_token"]


@dataclass(frozen=True, slots=True)
class WorkerEnergy:
    """What a worker's meters have counted during one task.

    Attributes:
        host: the machine's `boot_id`.
        process: the worker's `process_token`.
        began_s, ended_s: on the clock that all processes of the machine share.
        devices: joules by device; `None`: the meter failed.
        cpu_s: CPU seconds of the worker.
    """

    host: str
    process: str
    began_s: float
    ended_s: float
    devices: tuple[DeviceEnergy, ...] = ()
    cpu_s: float = 0.0


class WorkersMeter:
    """The sum of the workers' reports; work of this process itself is left out.

    A window without work of workers has no such device. `own` has the meters of this process.

    Attributes:
        n_failures: reports without joules; a window that gets one has no sum.
        failure: why the last of them had none.
        cpu_s: CPU seconds of all reports.
    """

    device = WORKERS

    def __init__(self, own: Sequence[Meter] = ()) -> None:
        self._own = {(meter.source, meter.device) for meter in own}
        self._lock = threading.Lock()
        self._joules = 0.0
        self._sources: set[str] = set()
        self._estimated = False
        self.n_failures = 0
        self.failure = ""
        self.cpu_s = 0.0
        self._covered: dict[tuple[str, str, str], list[tuple[float, float]]] = {}

    @property
    def source(self) -> str:
        """The workers' meters."""
        return "+".join(sorted(self._sources)) or "workers"

    @property
    def estimated(self) -> bool:
        """Whether a worker estimates."""
        return self._estimated

    def add(self, report: WorkerEnergy) -> None:
        """Add a report to all open windows."""
        if report.process == process_token():
            return
        own_host = report.host == boot_id()
        with self._lock:
            self.cpu_s += report.cpu_s
            for device in report.devices:
                self._sources |= set(joined_sources([device]).split("+"))
                self._estimated |= device.estimated
                if device.energy_j is None:
                    self._count_failure(device)
                else:
                    self._joules += device.energy_j * self._share(report, device, own_host)

    def read_j(self) -> float:
        """Return the joules reported so far."""
        return self._joules

    def _count_failure(self, device: DeviceEnergy) -> None:
        self.failure = device.reason or f"{device.source} of a worker gave no energy"
        self.n_failures += 1
        if self.n_failures == 1:
            warnings.warn(
                f"{device.source} of a worker gives no energy; the workers' joules of that time "
                "are recorded as not measured",
                RuntimeWarning,
                stacklevel=3,
            )

    def _share(self, report: WorkerEnergy, device: DeviceEnergy, own_host: bool) -> float:
        """Return the share of a report that was not counted before."""
        if device.source not in MACHINE_WIDE:
            return 1.0
        if own_host and (device.source, device.device) in self._own:
            return 0.0
        key = (report.host, device.source, device.device)
        began_s, ended_s = report.began_s, report.ended_s
        known = self._covered.get(key, [])
        overlap_s = sum(max(0.0, min(stop, ended_s) - max(start, began_s)) for start, stop in known)
        self._covered[key] = _united([*known, (began_s, ended_s)])
        return 1.0 - overlap_s / (ended_s - began_s) if ended_s > began_s else 0.0


def _united(intervals: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    united: list[tuple[float, float]] = []
    for start, stop in sorted(intervals):
        if united and start <= united[-1][1]:
            united[-1] = united[-1][0], max(stop, united[-1][1])
        else:
            united.append((start, stop))
    return united


@cache
def boot_id() -> str:
    """Return a name of this machine since it was started, the same for all its processes."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return f"{uuid.getnode():x}"


def process_token() -> str:
    """Return a random name of this process; ids of processes are equal in two containers."""
    return _token_of(os.getpid())


@cache
def _token_of(pid: int) -> str:  # a forked process has another one
    del pid
    return uuid.uuid4().hex
