"""The study: trials of search settings, each judged by its mean loss over several seeds.

A trial runs one search per seed (`search.validated`) and returns the mean of the losses on the
blocks held back. With two objectives it also returns the mean joules of its searches, each charged
with all of its evaluations. Hyperband looks at a trial between generations. Its resource is the
budget spent, because small populations have many generations. Its value in search k is the mean of
the k - 1 losses so far and the incumbent's loss. Trials are thus compared where they have spent
the same on the same seeds.

The sampler is seeded anew for every trial, with the number of trials before it. A study in a
single process can thus be repeated, and an interrupted study draws the same values as an unbroken
one. Only under Hyperband do they differ: its brackets depend on the trials' numbers, and the
repeated trial has a new number.

Trials may be asked for in batches (`TuningSettings.parallel`), which an engine's workers judge
(`search.tuning.batch`). Each is told as soon as it and those before it are judged. A trial of a
batch that is interrupted or fails is repeated before the next batch is asked for, so that an
interrupted study has the batches of an unbroken one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any

import optuna
from matplotlib.figure import Figure
from optuna.exceptions import UpdateFinishedTrialError
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, Trial, TrialState

from clso.energy import EnergyMonitor
from clso.engine import Engine, FatalTaskError
from clso.errors import ArtifactError, WorkError
from clso.progress import SILENT, Reporter
from search.tuning.batch import JudgedTrial, asked_trials, expected_s, judged_trial, judged_trials
from search.tuning.identity import check_identity, check_origin, claim, identity_of
from search.tuning.judge import ERROR, Judge
from search.tuning.place import open_storage
from search.tuning.results import SingleObjective, trial_row
from search.tuning.settings import TuningSettings
from search.tuning.space import Params, SearchSpace
from search.tuning.storage import (
    FAULTS,
    HEARTBEAT_S,
    StudyStorage,
    beating,
    first_number,
    quiet_optuna,
    retried_numbers,
    retry,
)
from search.validated import Halves

__all__ = ["Tuning", "check_storage", "open_tuning"]

_Taken = tuple[Trial, BaseSampler]

_POLL_S = 1.0
_NOT_FOUND = "Record does not exist."  # what every storage of Optuna says


@contextmanager
def open_tuning(
    url: str,
    name: str,
    space: SearchSpace,
    settings: TuningSettings,
    problems: Callable[[Params], Halves],
    *,
    monitor: EnergyMonitor | None = None,
    engine: Engine | None = None,
    own_library: Params | None = None,
    fresh: bool = False,
    heartbeat_s: int = HEARTBEAT_S,
) -> Iterator[Tuning]:
    """Open a study, or create it; an existing study continues with its trials.

    Args:
        url: of the storage, see `open_storage`.
        problems: makes the problem for a trial's values of the library; without values, that of
            the run's own library.
        engine: judges the trials of a batch, if there are several; `None`: they are judged here.
        own_library: the run's own values of the library's dimensions.
        fresh: delete the study first.
        heartbeat_s: between two heartbeats of a trial.

    Raises:
        ArtifactError: the storage cannot be opened, or holds another study of this name.
        ConfigError: the budget is too small for the largest population, or the sampler cannot
            draw from the space.
        WorkError: the storage could no longer be reached.
    """
    settings.check_space(space)
    with open_storage(url, retries=settings.retries, heartbeat_s=heartbeat_s) as storage:
        try:
            identity = identity_of(space, settings, problems({}))
            pruner = settings.new_pruner(space)
            with storage.turn(), _readable(storage):
                study = _begun(storage, name, settings, fresh=fresh)
                study.pruner = pruner
                claim(study, identity, storage.shown)
                if not study.get_trials(deepcopy=False):
                    study.enqueue_trial(space.own_values(own_library or {}))
            judge = Judge(space, settings, problems, monitor or EnergyMonitor())
            yield Tuning(study, storage, judge, engine)
        except FAULTS as error:
            raise _failed(storage, error) from error


def _failed(storage: StudyStorage, error: Exception) -> WorkError:
    reason = str(error.__cause__ or error).partition("\n")[0]
    return WorkError(
        f"the storage {storage.shown} failed: {reason}",
        remedy="the same command continues the study when the storage is there again",
    )


@contextmanager
def _readable(storage: StudyStorage) -> Iterator[None]:
    """Say it if the storage holds what Optuna has not written."""
    try:
        yield
    # what Optuna raises for rows that are missing, cut or changed
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ArtifactError(
            f"the storage {storage.shown} is damaged: {error!r}",
            remedy="bring back a copy of it, move it away, or give another --storage",
        ) from error


def _begun(
    storage: StudyStorage, name: str, settings: TuningSettings, *, fresh: bool
) -> optuna.Study:
    """Return the stored study, or a new one in its place."""
    if name in optuna.get_all_study_names(storage.backend):
        study = optuna.load_study(study_name=name, storage=storage.backend)
        if not fresh:
            return study
        check_origin(study, storage.shown)
        optuna.delete_study(study_name=name, storage=storage.backend)
    return optuna.create_study(
        study_name=name,
        storage=storage.backend,
        directions=["minimize"] * len(settings.objectives),
    )


def check_storage(
    url: str, name: str, space: SearchSpace, settings: TuningSettings, *, fresh: bool = False
) -> None:
    """Refuse what `open_tuning` refuses, before any problem is made.

    Raises:
        ArtifactError: the storage cannot be opened, or holds another study of this name.
    """
    with open_storage(url, retries=settings.retries) as storage:
        try:
            with _readable(storage):
                if name not in optuna.get_all_study_names(storage.backend):
                    return
                study = optuna.load_study(study_name=name, storage=storage.backend)
                if fresh:
                    check_origin(study, storage.shown)
                else:
                    check_identity(study, identity_of(space, settings), storage.shown)
        except FAULTS as error:
            raise _failed(storage, error) from error


class Tuning:
    """An open study, made by `open_tuning`."""

    def __init__(
        self,
        study: optuna.Study,
        storage: StudyStorage,
        judge: Judge,
        engine: Engine | None = None,
    ) -> None:
        self.study = study
        self.space = judge.space
        self.settings = judge.settings
        self._storage = storage
        self._judge = judge
        self._engine = engine

    def run(self, reporter: Reporter = SILENT) -> None:
        """Run trials until the study has as many as its settings ask for.

        Other processes may work on the study at the same time; their trials count. An interrupted
        trial is queued again.

        Raises:
            WorkError: no trial has a loss, or the study was deleted meanwhile.
        """
        settings = self.settings
        with reporter.task(f"tune {settings.family}", total=settings.trials) as task:
            while True:
                batch, before = self._take()
                ended, _, _ = _counts(before)
                task.update(min(ended, settings.trials), self._note(before))
                if batch:
                    self._run(batch, before)
                elif ended >= settings.trials:
                    break
                else:
                    # the last trials belong to other processes, which run or have died
                    time.sleep(_POLL_S)
        if not self._complete():
            raise WorkError(
                f"none of {ended} trials has a loss: {self._last_error()}",
                remedy="correct the cause and start again with --fresh, or narrow tune.space",
            )

    def _take(self) -> tuple[list[_Taken], list[FrozenTrial]]:
        """Take the next trials, and return them with those before; none: all have ended or run."""
        asked, parallel = self.settings.trials, self.settings.parallel
        batch: list[_Taken] = []
        with self._storage.turn(), self._stored():
            self._storage.fail_dead(self.study)
            before = self.study.get_trials(deepcopy=False)
            ended, running, waiting = _counts(before)
            # a batch that was interrupted is finished before the next one
            missing = parallel - (ended + running) % parallel
            while len(batch) < missing and ended < asked and (waiting or ended + running < asked):
                sampler = self.settings.new_sampler(self.space, ended + running)
                self.study.sampler = sampler
                with quiet_optuna():
                    # values are drawn later, outside the turn
                    trial = self.study.ask()
                self._storage.beat(trial)
                batch.append((trial, sampler))
                running, waiting = running + 1, max(0, waiting - 1)
        return batch, before

    def _run(self, batch: Sequence[_Taken], before: Sequence[FrozenTrial]) -> None:
        """Judge trials and tell their outcomes in the order of their numbers."""
        trials = [trial for trial, _ in batch]
        backend, retries = self._storage.backend, self.settings.retries
        waiting: dict[int, JudgedTrial] = {}
        n_told = 0
        try:
            with beating(self._storage, trials):
                if self.settings.parallel == 1:
                    state, values = judged_trial(self._judge, trials[0])
                    self._tell(trials[0], state, values, retries=retries)
                    return
                for place, judged in self._judged(batch, before):
                    waiting[place] = judged
                    if place > n_told:
                        with _taken_for_dead():
                            judged.keep(trials[place], backend)
                    while n_told in waiting:
                        trial, judged = trials[n_told], waiting.pop(n_told)
                        with _taken_for_dead():
                            judged.write(trial, backend)
                        self._tell(trial, judged.state, judged.values, retries=retries)
                        n_told += 1
        except BaseException as error:
            fatal = error.index if isinstance(error, FatalTaskError) else None
            for place, trial in list(enumerate(trials))[n_told:]:
                if place == fatal:
                    with _taken_for_dead():
                        trial.set_user_attr(ERROR, f"WorkError: {error}")
                # for the others it is an interruption
                own = retries if place == fatal else None
                self._tell(trial, TrialState.FAIL, None, retries=own)
            if fatal is None:
                raise

    def _judged(
        self, batch: Sequence[_Taken], before: Sequence[FrozenTrial]
    ) -> Iterator[tuple[int, JudgedTrial]]:
        drawn = []
        for trial, sampler in batch:
            self.study.sampler = sampler
            drawn.append((trial, self.space.suggest(trial)))
        ended, running, _ = _counts(before)
        n_before = ended + running - (ended + running) % self.settings.parallel
        asked = asked_trials(self.study, drawn, _drawn_first(before, n_before))
        return judged_trials(self._judge, asked, self._engine, expected_s=expected_s(before))

    def _tell(
        self,
        trial: Trial,
        state: TrialState,
        values: float | Sequence[float] | None,
        *,
        retries: int | None,
    ) -> None:
        """End a trial; queue the values of one that fails again, see `retry`."""
        with self._storage.turn(), self._stored():
            stored = self._storage.backend.get_trial(trial._trial_id)
            if stored.state.is_finished():
                # its process was taken for dead, and the values are queued again
                return
            if state == TrialState.FAIL:
                retry(self.study, stored, retries)
            self.study.tell(trial, values, state)

    @contextmanager
    def _stored(self) -> Iterator[None]:
        """Say it if the study is no longer in the storage."""
        try:
            yield
        except KeyError as error:
            if error.args != (_NOT_FOUND,):
                raise
            raise WorkError(
                f"the study {self.study.study_name!r} was deleted from {self.place} while this "
                "process worked on it",
                remedy="the same command joins the study that took its place",
            ) from error

    def _complete(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))

    def _note(self, trials: Sequence[FrozenTrial]) -> str:
        complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
        if not complete:
            return ""
        if len(self.settings.objectives) > 1:
            return f"{len(self.study.best_trials)} in the Pareto set"
        best = _lowest(complete)
        return f"best {best.value:.4f} (trial {best.number})"

    def _last_error(self) -> str:
        trials = reversed(self.study.get_trials(deepcopy=False))
        errors = (trial.user_attrs.get(ERROR) for trial in trials)
        return next((error for error in errors if error), "their processes died")

    @property
    def place(self) -> str:
        """The address of the storage, without a password."""
        return self._storage.shown

    @property
    def best(self) -> FrozenTrial:
        """The trial with the lowest loss; with two objectives, it is in the Pareto set."""
        return _lowest(self._complete())

    @property
    def best_params(self) -> Params:
        """The values of the best trial, the fixed ones included."""
        return self.space.completed(self.best.params)

    def trial_rows(self) -> list[dict[str, Any]]:
        """Return the rows of the table `trials`: a row per trial that has ended, by number."""
        several = len(self.settings.objectives) > 1
        best = self.study.best_trials if several else [self.best]
        numbers = {trial.number for trial in best}
        return [
            trial_row(trial, self.space.completed(trial.params), trial.number in numbers)
            for trial in self.study.get_trials(deepcopy=False)
            if trial.state.is_finished()
        ]

    def importance_rows(self) -> list[dict[str, Any]]:
        """Return the rows of the table `importances`: how much each dimension mattered."""
        singles = SingleObjective.each(self.study, self.settings.objectives)
        return [row for single in singles for row in single.importance_rows(self.settings.seed)]

    def figures(self, ranked: Sequence[str], changed: Collection[str]) -> dict[str, Figure]:
        """Return Optuna's plots by their names; see `study_figures`."""
        # pyplot takes a second to import; a trial does not need it
        from search.tuning.figures import study_figures

        return study_figures(self.study, self.settings.objectives, ranked, changed)


def _taken_for_dead() -> AbstractContextManager[None]:
    """Write nothing to a trial whose process was taken for dead; it is failed."""
    return suppress(UpdateFinishedTrialError)


def _drawn_first(trials: Sequence[FrozenTrial], number: int) -> list[FrozenTrial]:
    """Return the first trials, so many as were drawn, and those that repeat them."""
    first = set(sorted({first_number(trial) for trial in trials})[:number])
    return [trial for trial in trials if first_number(trial) in first]


def _lowest(complete: Sequence[FrozenTrial]) -> FrozenTrial:
    return min(complete, key=lambda trial: (trial.values, trial.number))


def _counts(trials: Sequence[FrozenTrial]) -> tuple[int, int, int]:
    """Return how many trials have ended, are running and wait; a retried one counts once."""
    retried = retried_numbers(trials)
    states = [trial.state for trial in trials if trial.number not in retried]
    running, waiting = states.count(TrialState.RUNNING), states.count(TrialState.WAITING)
    return len(states) - running - waiting, running, waiting
