"""What a stage has cost over all its attempts, and whether it is done.

A stage may be interrupted and taken up again, even by `kill -9`. Its joules are those of every
attempt, so a running attempt writes what it has used so far at each sign of progress; what a
killed one used after its last sign is not in the total.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from clso.artifacts import atomic_write_json, mark_done, read_done, read_json
from clso.energy import EnergyMonitor, Measurement
from clso.errors import ArtifactError
from clso.progress import ProgressTask, Reporter

__all__ = ["StageLedger", "StageRecord"]

_BEAT_EVERY_S = 2.0


@dataclass(frozen=True, slots=True)
class StageRecord:
    """A finished stage.

    Attributes:
        made_by: the run whose joules these are.
        measurement: over all attempts; `None` if the work came without a record of its cost.
    """

    stage: str
    made_by: str | None
    measurement: Measurement | None
    attempts: int


class StageLedger:
    """One stage's account.

    Args:
        stage: the stage's name.
        folder: where its completion marker stands, beside the data it vouches for.
        costs: the file in which unfinished attempts are kept.
        run_id: the run that works now.
    """

    def __init__(self, stage: str, *, folder: Path, costs: Path, run_id: str) -> None:
        self.stage = stage
        self._folder = folder
        self._costs = costs
        self._run_id = run_id

    def finished(self) -> StageRecord | None:
        """Return the record of a finished stage, `None` if there is work to do.

        Raises:
            ArtifactError: the marker is damaged.
        """
        marker = read_done(self._folder, self.stage)
        if marker is None:
            return None
        measured = marker.get("measurement")
        return StageRecord(
            stage=self.stage,
            made_by=marker.get("made_by"),
            measurement=Measurement.from_record(measured) if measured else None,
            attempts=int(marker.get("attempts", 1)),
        )

    @contextmanager
    def attempt(self, monitor: EnergyMonitor, reporter: Reporter) -> Iterator[Reporter]:
        """Measure the block as one attempt and mark the stage done when it ends well.

        Yields:
            The reporter to work with; each progress it passes on also saves the cost so far.
        """
        earlier = self._earlier()
        with monitor.window() as window:
            beats = _Beats(reporter, lambda: self._save([*earlier, window.so_far()]))
            try:
                yield beats
            except BaseException:
                # The failure is what matters; a full disk must not hide it behind its own error.
                with suppress(ArtifactError):
                    self._save([*earlier, window.so_far()])
                raise
        attempts = [*earlier, window.measurement]
        mark_done(
            self._folder,
            self.stage,
            {
                "made_by": self._run_id,
                "measurement": Measurement.total(attempts).to_record(),
                "attempts": len(attempts),
                "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
            },
        )
        self._costs.unlink(missing_ok=True)

    def _earlier(self) -> list[Measurement]:
        if not self._costs.exists():
            return []
        return [Measurement.from_record(record) for record in read_json(self._costs)]

    def _save(self, attempts: list[Measurement]) -> None:
        atomic_write_json(self._costs, [attempt.to_record() for attempt in attempts])


class _Beats:
    """A reporter that passes everything on and calls `beat` now and then."""

    def __init__(self, inner: Reporter, beat: Callable[[], None]) -> None:
        self._inner = inner
        self._beat = beat
        self._last = time.monotonic()

    def pulse(self) -> None:
        if time.monotonic() - self._last >= _BEAT_EVERY_S:
            self._last = time.monotonic()
            self._beat()

    @contextmanager
    def task(self, description: str, total: float | None = None) -> Iterator[ProgressTask]:
        with self._inner.task(description, total) as inner:
            yield _BeatingTask(inner, self)


class _BeatingTask:
    def __init__(self, inner: ProgressTask, beats: _Beats) -> None:
        self._inner = inner
        self._beats = beats

    def update(self, completed: float, note: str = "") -> None:
        self._inner.update(completed, note)
        self._beats.pulse()
