"""Where a study is kept, and what several processes that work on it owe each other.

Processes take turns (`StudyStorage.turn`) to make a study and to take its next trial, so that a
study that two processes begin together is made once, and its trials are as many as were asked for.

A running trial has a heartbeat. That of a killed process stops; the next process that takes a
trial marks the trial as failed and queues its values again.
"""

from __future__ import annotations

import threading
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import ClassVar

import optuna
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import BaseStorage, RetryHeartbeatStaleTrialCallback
from optuna.trial import Trial
from sqlalchemy.exc import SQLAlchemyError

__all__ = ["FAULTS", "HEARTBEAT_S", "StudyStorage", "beating", "quiet_optuna", "retry"]

# what a storage raises that can no longer be reached
FAULTS = (SQLAlchemyError, StorageInternalError)

HEARTBEAT_S = 10


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Silence what Optuna warns of and this package accepts.

    The pinned version has the parts that are called experimental. PED-ANOVA warns about
    conditions that held in few trials; the tables give the number of trials. Heartbeats are
    written by `beating`.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        warnings.filterwarnings("ignore", message="Some regimes for parameter")
        warnings.filterwarnings("ignore", message="Heartbeat of storage is supposed")
        yield


def retry(retries: int | None) -> RetryHeartbeatStaleTrialCallback:
    """Return a callback that queues a failed trial's values again; `None`: without limit."""
    with quiet_optuna():
        return RetryHeartbeatStaleTrialCallback(max_retry=retries)


class StudyStorage(ABC):
    """An open storage.

    Attributes:
        shown: its address without a password.
        backend: the storage as Optuna has it.
        heartbeat_s: between two heartbeats.
        grace: heartbeats that a live process may miss while it waits for disk or processor.
    """

    grace: ClassVar[int] = 6

    shown: str
    backend: BaseStorage
    heartbeat_s: int

    @abstractmethod
    def turn(self) -> AbstractContextManager[None]:
        """Wait until no other process makes a study or takes a trial, and keep others waiting."""

    @abstractmethod
    def beat(self, trial: Trial) -> None:
        """Note that the process of a running trial is alive."""

    @abstractmethod
    def fail_dead(self, study: optuna.Study) -> None:
        """Mark the running trials without a heartbeat as failed, and queue their values again.

        The caller has the turn.
        """


@contextmanager
def beating(storage: StudyStorage, trials: Sequence[Trial]) -> Iterator[None]:
    """Write the heartbeats of running trials in the background."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(storage.heartbeat_s):
            for trial in trials:
                # a storage that cannot be reached for a while misses some
                with suppress(Exception):
                    storage.beat(trial)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
