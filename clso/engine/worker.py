"""The side of the workers: one task at a time, its value kept, its joules measured.

A worker gets bytes and returns bytes, so that every engine carries the same: the header (the code
that the driver has, and how to measure), a pickled pair of task and argument, and the shared value,
or the path of its file.
"""

from __future__ import annotations

import os
import pickle
import socket
import sys
import threading
import time
import traceback
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import cloudpickle
from threadpoolctl import threadpool_limits

from clso.energy import (
    CpuModelMeter,
    DeviceEnergy,
    EnergyMonitor,
    EnergySettings,
    WorkerEnergy,
    boot_id,
    process_token,
)
from clso.energy.cpu_model import cpu_seconds
from clso.energy.meter import MACHINE_WIDE, Count, Unmetered
from clso.engine.code import code_of_process, differences
from clso.engine.shared import Packed
from clso.errors import ClsoError, EngineError, MeterError, WorkError

__all__ = ["REMEDY", "Header", "Outcome", "greet", "outcome_of", "run_task", "start_local"]

# Values of this many fingerprints stay; a study reads one or two at a time.
_MOST_VALUES = 3

REMEDY = "install the same CLSO and libraries on all workers, and start the workers again"

Header = dict[str, Any]
_lock = threading.Lock()
_values: OrderedDict[tuple[str, str], Any] = OrderedDict()
_start_up_counts = False


@dataclass(frozen=True)
class Outcome:
    """What a task returned or raised, and what the worker has measured.

    Attributes:
        trace: where the error came from, as text; empty: there was none.
    """

    result: Any
    error: BaseException | None
    trace: str
    energy: WorkerEnergy


class _Trace(Exception):
    """The traceback of an error in a worker, as text."""


def outcome_of(answer: bytes) -> Outcome:
    """Unpickle what `run_task` has returned.

    Raises:
        EngineError: the result cannot be unpickled here.
    """
    try:
        outcome: Outcome = pickle.loads(answer)  # noqa: S301 - our own worker's bytes
    except Exception as error:
        raise _cannot_be_sent_back(error) from error
    if outcome.error is not None:
        outcome.error.__cause__ = _Trace(f"\n{outcome.trace}")
    return outcome


def start_local() -> None:
    """Prepare a process that this machine's own engine has started.

    Ctrl-C is for the driver alone, which ends its workers; and they end when it dies.
    """
    import multiprocessing
    import signal

    global _start_up_counts
    _start_up_counts = True
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end_with_driver() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=end_with_driver, name="clso-driver", daemon=True).start()


def greet(header: Header) -> dict[str, Any]:
    """Return this worker's machine and, as a sentence, what makes it unusable (or nothing)."""
    answer = {"host": boot_id(), "problem": "", "remedy": ""}
    try:
        _check(header)
        _monitor(header["energy"], header["shares_machine"])
    except ClsoError as error:
        answer |= {"problem": error.message, "remedy": error.remedy}
    return answer


def run_task(header: Header, payload: bytes, value: Packed | str | None) -> bytes:
    """Run a task on its shared value, and return a pickled `Outcome`."""
    with _lock:  # one at a time: threads of BLAS and CPU seconds belong to the whole process
        result: Any = None
        error, trace = None, ""
        stopwatch: _Stopwatch | None = None
        try:
            _check(header)
            if header["driver"] != process_token():
                _compute_on_one_thread()
            stopwatch = _Stopwatch(header)
            task, argument = _unpickled(payload)
            result = task(_built(header, value), argument)
        except Exception as raised:
            error, trace = _sendable(raised), traceback.format_exc()
        energy = _nothing() if stopwatch is None else stopwatch.stop()
        return _pickled(Outcome(result, error, trace, energy))


def _check(header: Header) -> None:
    """Check that this worker has the driver's code.

    Raises:
        EngineError: it has other code.
    """
    if other := differences(header["code"], code_of_process()):
        raise EngineError(
            f"a worker on {socket.gethostname()} has other code than this command: {other}",
            remedy=REMEDY,
        )


@cache
def _compute_on_one_thread() -> None:
    """Keep torch and BLAS to one thread; the last bits of a sum depend on their number."""
    os.environ["OMP_NUM_THREADS"] = "1"  # for torch, if a task loads it
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    threadpool_limits(1, user_api="blas")


def _unpickled(payload: bytes) -> Any:  # noqa: ANN401 - a task and its argument
    try:
        return pickle.loads(payload)  # noqa: S301 - the driver's own bytes
    except ImportError as error:
        raise EngineError(
            f"a worker on {socket.gethostname()} cannot read its task: {error}",
            remedy=REMEDY,
        ) from error


def _built(header: Header, value: Packed | str | None) -> Any:  # noqa: ANN401 - the shared value
    """Return the shared value, built once for the tasks of one fingerprint."""
    if value is None:
        return None
    fingerprint = header["fingerprint"]
    key = fingerprint, repr((header["energy"], header["shares_machine"]))
    if key not in _values:
        packed = Packed.open(Path(value)) if isinstance(value, str) else value
        while len(_values) >= _MOST_VALUES:
            _values.popitem(last=False)
        try:
            _values[key] = packed.value()
        except ImportError as error:
            raise EngineError(
                f"a worker on {socket.gethostname()} cannot read the data of its task: {error}",
                remedy=REMEDY,
            ) from error
    _values.move_to_end(key)
    return _values[key]


def _pickled(outcome: Outcome) -> bytes:
    """Pickle an outcome; a result that cannot be pickled becomes an error."""
    try:
        return bytes(cloudpickle.dumps(outcome, protocol=5))
    except Exception as error:
        refusal = _cannot_be_sent_back(error)
        refused = replace(outcome, result=None, error=refusal, trace=traceback.format_exc())
        return bytes(cloudpickle.dumps(refused, protocol=5))


def _cannot_be_sent_back(error: Exception) -> EngineError:
    return EngineError(
        f"the result of a task cannot be sent back: {type(error).__name__}: {error}",
        remedy="make it picklable, or set runtime.engine to local",
    )


def _sendable(error: Exception) -> BaseException:
    """Return an error, or a sentence with its class and message if it cannot be pickled."""
    try:
        pickle.loads(cloudpickle.dumps(error))  # noqa: S301 - our own bytes
    except Exception:
        return WorkError(f"{type(error).__name__}: {error}")
    return error


# -- joules


@dataclass(frozen=True)
class _Meters:
    """The monitor of a worker's reports, and the one of the tasks themselves."""

    reports: EnergyMonitor
    tasks: EnergyMonitor


_monitors: dict[str, _Meters] = {}


def _monitor(energy: dict[str, Any], shares_machine: bool) -> _Meters:
    """Return this worker's meters; they stay open until the process ends.

    Where several workers share a machine, its counters cannot tell the work of one task. Then the
    task's own figures come from the CPU model if the settings are `auto`, or there are none.

    Raises:
        MeterError: the configured meter does not exist here.
    """
    key = repr((energy, shares_machine))
    if key not in _monitors:
        # the idle power is that of the run's machine, which the driver counts
        settings = EnergySettings(**energy).replaced(idle_power_w=0.0)
        # a recording runs in the driver, which counts all of it
        reports = EnergyMonitor() if settings.meter == "replay" else _opened(settings)
        tasks = reports
        if shares_machine and any(meter.source in MACHINE_WIDE for meter in reports.meters):
            own = [CpuModelMeter(settings.cpu_power_w)] if settings.meter == "auto" else []
            tasks = EnergyMonitor(own)
        _monitors[key] = _Meters(reports, tasks)
    return _monitors[key]


def _opened(settings: EnergySettings) -> EnergyMonitor:
    try:
        monitor = settings.open()
        # a task works on no GPU, so one that cannot be metered takes nothing from its joules
        return EnergyMonitor([m for m in monitor.meters if not isinstance(m, Unmetered)])
    except MeterError as error:
        raise MeterError(
            f"a worker on {socket.gethostname()} cannot measure: {error.message}",
            remedy=error.remedy,
        ) from error


class _Stopwatch:
    """The joules of one task."""

    def __init__(self, header: Header) -> None:
        global _start_up_counts
        meters = _monitor(header["energy"], header["shares_machine"])
        meters.tasks.serve()
        self._monitor = meters.reports
        self._began_s = time.monotonic()
        self._began_cpu_s = 0.0 if _start_up_counts else cpu_seconds()
        self._began = self._monitor.read()
        if _start_up_counts:
            self._began = tuple(
                Count(0.0) if meter.source == CpuModelMeter.source else began
                for meter, began in zip(self._monitor.meters, self._began, strict=True)
            )
            _start_up_counts = False

    def stop(self) -> WorkerEnergy:
        """Return the joules since the beginning."""
        devices = []
        for meter, start, stop in zip(
            self._monitor.meters, self._began, self._monitor.read(), strict=True
        ):
            energy_j = stop.since(start)
            reason = "" if energy_j is not None else stop.reason or start.reason
            devices.append(
                DeviceEnergy(meter.device, energy_j, meter.source, meter.estimated, reason)
            )
        cpu_s = cpu_seconds() - self._began_cpu_s
        return replace(_nothing(devices, self._began_s), cpu_s=cpu_s)


def _nothing(devices: Sequence[DeviceEnergy] = (), began_s: float | None = None) -> WorkerEnergy:
    now_s = time.monotonic()
    began_s = now_s if began_s is None else began_s
    return WorkerEnergy(boot_id(), process_token(), began_s, now_s, tuple(devices))
