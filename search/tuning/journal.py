"""A study in a journal: one file that processes append to, for folders that hosts share.

File locks of SQLite are not reliable on network file systems. Optuna's journal needs only that a
file is created exclusively, which NFS of version 3 and later does.

Optuna has no heartbeat for journals, so there is one here: a number that the process of a running
trial raises. Hosts may have different clocks, so a process watches the numbers of the others: a
trial whose number has not changed for some time, by the watching process's own clock, is dead.
"""

from __future__ import annotations

import json
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, Trial, TrialState

from clso.errors import ArtifactError
from search.tuning.storage import StudyStorage

__all__ = ["SCHEME", "JournalFile", "open_journal"]

SCHEME = "journal:"
_HEARTBEAT = "clso:heartbeat"


def open_journal(url: str, *, retries: int, heartbeat_s: int) -> JournalFile:
    """Open a journal, or begin one in a folder that exists.

    Args:
        url: `journal:PATH`.
        retries: of a trial whose process died.
        heartbeat_s: between two heartbeats.

    Raises:
        ArtifactError: there is no such folder, it cannot be written, or the file is no journal.
    """
    name = url.removeprefix(SCHEME)
    path = Path(name).expanduser().absolute()
    if not name or path.is_dir():
        raise ArtifactError(f"the storage {url!r} names no file", remedy="give it as journal:PATH")
    if not path.parent.is_dir():
        raise ArtifactError(
            f"the storage {url!r} cannot be opened: there is no folder {path.parent}",
            remedy="make the folder, or mount the disk that has it",
        )
    try:
        return JournalFile(path, retries=retries, heartbeat_s=heartbeat_s)
    except OSError as error:
        raise ArtifactError(
            f"the storage {url!r} cannot be opened: {error.strerror or error}",
            remedy="name a file in a folder that you may write",
        ) from error
    # the last three: JSON of another kind
    except (StorageInternalError, LookupError, TypeError, AssertionError) as error:
        raise ArtifactError(
            f"{path} is not a journal of Optuna, or it is damaged: {error}",
            remedy="name another file; a file that does not exist is begun",
        ) from error


class _Backend(JournalFileBackend):
    """The file, with one kind of error for all that may become of it."""

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        with _one_error():
            yield from super().read_logs(log_number_from)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        with _one_error():
            super().append_logs(logs)


@contextmanager
def _one_error() -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        raise StorageInternalError(str(error)) from error


@contextmanager
def _held(lock: JournalFileOpenLock) -> Iterator[None]:
    with _one_error():
        lock.acquire()
    try:
        yield
    finally:
        # one that was held for more than 30 seconds is taken over
        with suppress(RuntimeError):
            lock.release()


def _check_end(path: Path) -> None:
    """Refuse a last line that was cut short, for Optuna would write on in it.

    Raises:
        ValueError: the line is not whole.
    """
    content = path.read_bytes()
    if content and not content.endswith(b"\n"):
        raise ValueError("its last line is cut short; remove that line")
    if content:
        json.loads(content.splitlines()[-1])


class JournalFile(StudyStorage):
    """A journal, open."""

    def __init__(self, path: Path, *, retries: int, heartbeat_s: int) -> None:
        self.shown = f"{SCHEME}{path}"
        self.heartbeat_s, self.retries = heartbeat_s, retries
        # not the lock by symbolic links: where hosts mount the folder differently, it dangles
        lock = JournalFileOpenLock(str(path))
        backend = _Backend(str(path), lock_obj=lock)
        with _one_error(), _held(lock):
            _check_end(path)
        self.backend = JournalStorage(backend)
        self._lock = JournalFileOpenLock(f"{path}.turn")
        self._beats = 0
        # by trial: its heartbeat, and when it was first seen by the clock of this process
        self._seen: dict[int, tuple[object, float]] = {}

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Hold a second file like Optuna's own lock; that of a killed process lasts 30 seconds."""
        with _held(self._lock):
            yield

    def beat(self, trial: Trial) -> None:
        """Raise the number that others watch."""
        self._beats += 1
        self.backend.set_trial_system_attr(trial._trial_id, _HEARTBEAT, self._beats)

    def dead(self, study: optuna.Study) -> list[FrozenTrial]:
        """Return the trials whose number has not changed while this process watched."""
        running = study.get_trials(states=(TrialState.RUNNING,))
        return [trial for trial in running if self._is_dead(trial)]

    def _is_dead(self, trial: FrozenTrial) -> bool:
        heartbeat, now = trial.system_attrs.get(_HEARTBEAT), time.monotonic()
        seen, since = self._seen.get(trial.number, (None, now))
        if trial.number not in self._seen or seen != heartbeat:
            self._seen[trial.number] = (heartbeat, now)
            return False
        return now - since > self.grace * self.heartbeat_s
