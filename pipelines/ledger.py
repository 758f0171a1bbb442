"""What a stage has cost over all its attempts, and whether its outcome is there to be reused.

A finished stage leaves a *marker*: the key of its outcome, the keys of the stages that it was
built on, and the files that make it up. It is reused only while all of that still holds, so a
stage that is done anew, or a file that is gone, sends everything built on it back to work.

A stage may be interrupted and taken up again, even by `kill -9`. Its joules are those of every
attempt, so a running attempt writes down every second what it has used; what a killed one used
after that is the most that can be missing.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from clso.artifacts import atomic_write_json, read_json
from clso.energy import EnergyMonitor, Measurement
from clso.energy.meter import Sampler
from clso.errors import ArtifactError

__all__ = ["StageLedger", "StageOutcome", "StageRecord"]

_BEAT_EVERY_S = 1.0


@dataclass(frozen=True)
class StageOutcome:
    """What a stage's work hands back.

    Attributes:
        outputs: the files that make it up.
        notes: what the run's manifest is to say of it.
        key: names the outcome; equal keys mean equal outcomes. By default no two are equal.
    """

    outputs: tuple[Path, ...]
    notes: Mapping[str, Any] = field(default_factory=dict)
    key: str = field(default_factory=lambda: uuid.uuid4().hex)


@dataclass(frozen=True)
class StageRecord:
    """A finished stage, from its marker.

    Attributes:
        needs: the stages that it was built on.
        owner: the run folder whose joules these are.
        measurement: over all attempts.
    """

    key: str
    needs: tuple[str, ...]
    owner: str
    measurement: Measurement
    attempts: int
    notes: Mapping[str, Any]


class StageLedger:
    """One stage's account.

    Args:
        stage: the stage's name.
        root: the folder of its outcome; the marker stands in `root/stages`.
        begun: the file in which unfinished attempts are kept.
        needs: the keys of the stages that it is built on.
    """

    def __init__(self, stage: str, *, root: Path, begun: Path, needs: Mapping[str, str]) -> None:
        self.stage = stage
        self._root = root
        self._marker = root / "stages" / f"{stage}.done.json"
        self._begun = begun
        self._needs = dict(needs)

    def finished(self) -> StageRecord | None:
        """Return the record of a finished stage, `None` if there is work to do.

        Raises:
            ArtifactError: the marker is damaged.
        """
        if not self._marker.exists():
            return None
        marker = read_json(self._marker)
        try:
            if marker["needs"] != self._needs:
                return None
            if not all((self._root / name).exists() for name in marker["outputs"]):
                return None
            return StageRecord(
                key=marker["key"],
                needs=tuple(marker["needs"]),
                owner=marker["owner"],
                measurement=Measurement.from_record(marker["measurement"]),
                attempts=int(marker["attempts"]),
                notes=dict(marker["notes"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactError(
                f"{self._marker} is damaged: {error!r}",
                remedy="delete it; the stage is done again",
            ) from error

    def resumable(self) -> bool:
        """Return whether an attempt on the same foundations was left unfinished."""
        return self._begun.exists() and self._read_begun()["needs"] == self._needs

    @contextmanager
    def attempt(self, monitor: EnergyMonitor) -> Iterator[list[Measurement]]:
        """Measure the block as one attempt, adding it to those that were left unfinished.

        Yields:
            What all attempts took, this one last; complete when the block has ended.
        """
        earlier: list[Measurement] = []
        started = 1
        if self.resumable():
            begun = self._read_begun()
            earlier += [Measurement.from_record(record) for record in begun["attempts"]]
            started += int(begun["started"])
        self._save(earlier, started)
        attempts = list(earlier)
        with monitor.window() as window:

            def beat() -> None:
                # The work goes on with a full disk until it writes something itself.
                with suppress(ArtifactError):
                    self._save([*earlier, window.so_far()], started)

            sampler = Sampler(beat, _BEAT_EVERY_S)
            try:
                yield attempts
            finally:
                sampler.close()
                beat()
        attempts.append(window.measurement)

    def finish(
        self,
        outcome: StageOutcome,
        attempts: list[Measurement],
        *,
        owner: str,
        versions: Mapping[str, str],
    ) -> None:
        """Mark the stage done; its outputs must be on disk.

        Raises:
            ArtifactError: the marker cannot be written.
        """
        started = int(self._read_begun()["started"])
        atomic_write_json(
            self._marker,
            {
                "key": outcome.key,
                "needs": self._needs,
                "outputs": [str(path.relative_to(self._root)) for path in outcome.outputs],
                "notes": dict(outcome.notes),
                "owner": owner,
                "measurement": Measurement.total(attempts).to_record(),
                "attempts": started,
                "versions": dict(versions),
                "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
            },
        )
        self._begun.unlink(missing_ok=True)

    def _read_begun(self) -> dict[str, Any]:
        begun = read_json(self._begun)
        if not isinstance(begun, dict) or not {"needs", "attempts", "started"} <= begun.keys():
            raise ArtifactError(
                f"{self._begun} is damaged", remedy="delete it; the stage starts anew"
            )
        return begun

    def _save(self, attempts: list[Measurement], started: int) -> None:
        atomic_write_json(
            self._begun,
            {
                "needs": self._needs,
                "attempts": [attempt.to_record() for attempt in attempts],
                "started": started,
            },
        )
