"""Where a study is kept, and what several processes that work on it owe each other.

Processes take turns (`StudyStorage.turn`) to make a study and to take its next trial, so that a
study that two processes begin together is made once, and its trials are as many as were asked for.

A running trial has a heartbeat. That of a killed process stops; the next process that takes a
trial queues its values again and marks it as failed.
"""

from __future__ import annotations

import threading
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from copy import deepcopy
from typing import ClassVar

import optuna
from optuna.exceptions import (
    ExperimentalWarning,
    StorageInternalError,
    UpdateFinishedTrialError,
)
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.exc import SQLAlchemyError

__all__ = [
    "FAULTS",
    "HEARTBEAT_S",
    "StudyStorage",
    "beating",
    "first_number",
    "quiet_optuna",
    "retried_numbers",
    "retry",
]

# what a storage raises that can no longer be reached
FAULTS = (SQLAlchemyError, StorageInternalError)

HEARTBEAT_S = 10

# Attributes of a trial that repeats others; the first two have Optuna's names.
_FIRST = "failed_trial"
_HISTORY = "retry_history"
_FAILURES = "clso:failures"


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


def retry(study: optuna.Study, trial: FrozenTrial, retries: int | None) -> None:
    """Queue the values of a trial that is about to be marked as failed.

    The mark comes second. So a process that is killed between the two leaves a trial that others
    find dead, and whose values are queued already.

    Args:
        retries: failures after which the values are not tried again; `None`: the trial was
            interrupted, which is no failure.
    """
    attrs = deepcopy(trial.system_attrs)
    history = attrs.get(_HISTORY, [])
    n_failures = attrs.get(_FAILURES, len(history))  # earlier versions counted interruptions
    if retries is not None and n_failures >= retries:
        return
    if trial.number in retried_numbers(study.get_trials(deepcopy=False)):
        return
    repeats = {
        _FIRST: first_number(trial),
        _HISTORY: [*history, trial.number],
        _FAILURES: n_failures + (retries is not None),
    }
    study.add_trial(
        optuna.create_trial(
            state=TrialState.WAITING,
            params=trial.params,
            distributions=trial.distributions,
            user_attrs=trial.user_attrs,
            system_attrs=attrs | repeats,
        )
    )


def first_number(trial: FrozenTrial) -> int:
    """Return the number of the trial that was the first with these values."""
    return int(trial.system_attrs.get(_FIRST, trial.number))


def retried_numbers(trials: Sequence[FrozenTrial]) -> set[int]:
    """Return the numbers of the trials that another one repeats."""
    return {number for trial in trials for number in trial.system_attrs.get(_HISTORY, [])}


class StudyStorage(ABC):
    """An open storage.

    Attributes:
        shown: its address without a password.
        backend: the storage as Optuna has it.
        heartbeat_s: between two heartbeats.
        retries: of a trial whose process died.
        grace: heartbeats that a live process may miss while it waits for disk or processor.
    """

    grace: ClassVar[int] = 6

    shown: str
    backend: BaseStorage
    heartbeat_s: int
    retries: int

    @abstractmethod
    def turn(self) -> AbstractContextManager[None]:
        """Wait until no other process makes a study or takes a trial, and keep others waiting."""

    @abstractmethod
    def beat(self, trial: Trial) -> None:
        """Note that the process of a running trial is alive."""

    @abstractmethod
    def dead(self, study: optuna.Study) -> list[FrozenTrial]:
        """Return the running trials without a heartbeat."""

    def fail_dead(self, study: optuna.Study) -> None:
        """Queue the values of trials without a heartbeat again, and mark the trials as failed.

        The caller has the turn.
        """
        for trial in self.dead(study):
            retry(study, trial, self.retries)
            with suppress(UpdateFinishedTrialError):
                self.backend.set_trial_state_values(trial._trial_id, TrialState.FAIL)


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
