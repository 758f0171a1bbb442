"""The cost of a stage over all its attempts, and the decision whether its outcome is reused.

A finished stage leaves a *marker* with the key of its outcome, the keys of the stages that it was
built on, and its files with their checksums. The outcome is reused only while all of them are
unchanged. So every stage that is built on a repeated stage, or on a missing file, is repeated too.
A changed file is refused.

A stage may be interrupted, even by `kill -9`, and resumed. Its joules are those of all attempts. A
running attempt stores its joules every second, so at most the last second of a killed one is lost.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from clso.artifacts import read_sealed, write_sealed
from clso.digest import sha256_of
from clso.energy import EnergyMonitor, Measurement
from clso.energy.meter import Sampler
from clso.errors import ArtifactError, DamageError

__all__ = ["StageLedger", "StageOutcome", "StageRecord"]

_BEAT_EVERY_S = 1.0
_AGAIN = "delete it; the stage is done again"


@dataclass(frozen=True)
class StageOutcome:
    """The outcome of a stage's work.

    Attributes:
        outputs: its files; their checksums stand in the marker.
        present: files of it that must be there, and are checked where they are read: tables, to
            which other stages add rows, and files that one of the outputs lists.
        notes: its entries in the run's manifest.
        key: the name of the outcome. Equal keys mean equal outcomes; by default no keys are equal.
    """

    outputs: tuple[Path, ...]
    notes: Mapping[str, Any] = field(default_factory=dict)
    present: tuple[Path, ...] = ()
    key: str = field(default_factory=lambda: uuid.uuid4().hex)


@dataclass(frozen=True)
class StageRecord:
    """A finished stage, from its marker.

    Attributes:
        needs: the stages that it was built on.
        owner: the `uid` of the run folder that did the work.
        measurement: over all attempts.
    """

    key: str
    needs: tuple[str, ...]
    owner: str
    measurement: Measurement
    attempts: int
    notes: Mapping[str, Any]


class StageLedger:
    """The record of one stage.

    Args:
        root: the folder of its outcome; the marker is in `root/stages`.
        begun: the file of unfinished attempts.
        needs: the keys of the stages that it is built on.
        belongs_to: the `uid` of the run, or the name of the shared folder.
    """

    def __init__(
        self, stage: str, *, root: Path, begun: Path, needs: Mapping[str, str], belongs_to: str
    ) -> None:
        self.stage = stage
        self._belongs_to = belongs_to
        self._root = root
        self._marker = root / "stages" / f"{stage}.done.json"
        self._begun = begun
        self._needs = dict(needs)

    def finished(self) -> StageRecord | None:
        """Return the record of the finished stage; `None` if it is not finished.

        Raises:
            ArtifactError: the marker or an output is damaged or another run's.
        """
        if not self._marker.exists():
            return None
        marker = read_sealed(self._marker, belongs_to=self._belongs_to, remedy=_AGAIN)
        try:
            if marker["needs"] != self._needs:
                return None
            outputs = {self._root / name: digest for name, digest in marker["outputs"].items()}
            present = [self._root / name for name in marker["present"]]
            if not all(path.exists() for path in (*outputs, *present)):
                return None
            for path, digest in outputs.items():
                _check_output(path, digest, self.stage)
            return StageRecord(
                key=marker["key"],
                needs=tuple(marker["needs"]),
                owner=marker["owner"],
                measurement=Measurement.from_record(marker["measurement"]),
                attempts=int(marker["attempts"]),
                notes=dict(marker["notes"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DamageError(f"{self._marker} is damaged: {error!r}", remedy=_AGAIN) from error

    def resumable(self) -> bool:
        """Return whether there is an unfinished attempt built on the same earlier stages."""
        return self._begun.exists() and self._read_begun()["needs"] == self._needs

    @contextmanager
    def attempt(self, monitor: EnergyMonitor) -> Iterator[list[Measurement]]:
        """Measure the block as one attempt, after the unfinished ones.

        Yields:
            The measurements of all attempts; this attempt is added when the block has ended.
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
                # On a full disk the work continues until it writes something itself.
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
        """Write the marker; the outputs must be on disk.

        Raises:
            ArtifactError: the marker cannot be written.
        """
        started = int(self._read_begun()["started"])
        write_sealed(
            self._marker,
            {
                "key": outcome.key,
                "needs": self._needs,
                "outputs": {self._name(path): sha256_of(path) for path in outcome.outputs},
                "present": [self._name(path) for path in outcome.present],
                "notes": dict(outcome.notes),
                "owner": owner,
                "measurement": Measurement.total(attempts).to_record(),
                "attempts": started,
                "versions": dict(versions),
                "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
            },
            belongs_to=self._belongs_to,
        )
        self._begun.unlink(missing_ok=True)

    def _read_begun(self) -> dict[str, Any]:
        remedy = "delete it; the stage starts anew"
        begun = read_sealed(self._begun, belongs_to=self._belongs_to, remedy=remedy)
        if not {"needs", "attempts", "started"} <= begun.keys():
            raise DamageError(f"{self._begun} is damaged", remedy=remedy)
        return begun

    def _save(self, attempts: list[Measurement], started: int) -> None:
        write_sealed(
            self._begun,
            {
                "needs": self._needs,
                "attempts": [attempt.to_record() for attempt in attempts],
                "started": started,
            },
            belongs_to=self._belongs_to,
        )

    def _name(self, path: Path) -> str:
        return str(path.relative_to(self._root))


def _check_output(path: Path, digest: str, stage: str) -> None:
    """Check that an output has the bytes that its stage wrote.

    Raises:
        DamageError: it has others.
    """
    try:
        found = sha256_of(path)
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror}", remedy=_AGAIN) from error
    if found != digest:
        raise DamageError(
            f"{path} is damaged or another one's: it is not what the stage {stage} wrote",
            remedy=_AGAIN,
        )
