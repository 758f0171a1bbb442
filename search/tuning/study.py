"""The study: trials of search settings, each judged by its mean loss over several seeds.

A trial runs one search per seed (`search.validated`) and returns the mean of the losses on the
blocks held back; with two objectives also the mean joules of its searches, each as if it had paid
for all of its evaluations. Hyperband looks at a trial between generations. Its resource is what
has been spent, not the number of generations, which small populations have many of; its value at
the incumbent's loss l of search k is the mean of the k - 1 losses so far and l, so trials are
compared where they have spent the same on the same seeds.

The sampler is seeded anew for every trial, with the number of those before it: a study that one
process works on repeats, and one that was interrupted in good order draws as one that was not.
Under Hyperband an interruption shows: its brackets go by the trials' numbers, and the repeated
trial has a new one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import optuna
from matplotlib.figure import Figure
from optuna.trial import FrozenTrial, Trial, TrialState

from clso.energy import EnergyMonitor
from clso.errors import ArtifactError, WorkError
from clso.progress import SILENT, Reporter
from search.evolution import SEARCH_VERSION
from search.tuning.judge import ERROR, Judge
from search.tuning.results import history_of, importance_rows, trial_row
from search.tuning.settings import TuningSettings, check_budget, pruner_of, sampler_of
from search.tuning.space import Params, SearchSpace
from search.tuning.storage import HEARTBEAT_S, experimental, hidden_url, open_storage, retry
from search.validated import Halves

__all__ = ["Tuning", "open_tuning"]

_IDENTITY = "clso"
_VERSION = 1  # raised when a change of the code changes what a trial comes to
_POLL_S = 1.0


@contextmanager
def open_tuning(
    url: str,
    name: str,
    space: SearchSpace,
    settings: TuningSettings,
    problems: Callable[[Params], Halves],
    *,
    monitor: EnergyMonitor | None = None,
    own_library: Params | None = None,
    fresh: bool = False,
    heartbeat_s: int = HEARTBEAT_S,
) -> Iterator[Tuning]:
    """Open a study, or make it; what is there of it goes on.

    Args:
        url: of the storage, as SQLAlchemy has it.
        name: of the study.
        space: what may be tuned.
        settings: of the study.
        problems: makes the problem for a trial's values of the library, none for the run's own.
        monitor: measures the searches.
        own_library: the run's own values of the library's dimensions.
        fresh: delete the study first.
        heartbeat_s: between two signs of life of a trial.

    Raises:
        ArtifactError: the storage cannot be opened, or holds another study of this name.
        ConfigError: the budget is too small for the largest population.
    """
    check_budget(space, settings.budget)
    own = problems({})
    identity = {
        "version": [_VERSION, SEARCH_VERSION],
        "family": settings.family,
        "problem": [own.searched.fingerprint, own.held_back.fingerprint],
        **space.to_json(),
        "seeds": list(settings.seeds),
        "budget": settings.budget.model_dump(),
        "objectives": list(settings.objectives),
        "pruner": settings.pruner,
        "seed": settings.seed,
    }
    with open_storage(url, retries=settings.retries, heartbeat_s=heartbeat_s) as storage:
        if fresh and name in optuna.get_all_study_names(storage):
            optuna.delete_study(study_name=name, storage=storage)
        study = optuna.create_study(
            study_name=name,
            storage=storage,
            directions=["minimize"] * len(settings.objectives),
            pruner=pruner_of(space, settings),
            load_if_exists=True,
        )
        _claim(study, identity, hidden_url(url))
        if not study.get_trials(deepcopy=False):
            study.enqueue_trial(space.own_values(own_library or {}), skip_if_exists=True)
        yield Tuning(study, Judge(space, settings, problems, monitor or EnergyMonitor()))


def _claim(study: optuna.Study, identity: dict[str, Any], place: str) -> None:
    """Write down what the study is, or hold it against what is written."""
    found = study.user_attrs.get(_IDENTITY)
    if found is None and not study.get_trials(deepcopy=False):
        study.set_user_attr(_IDENTITY, identity)
        return
    if found != identity:
        other = sorted(key for key in identity if (found or {}).get(key) != identity[key])
        raise ArtifactError(
            f"{place} holds another study called {study.study_name!r}: it differs in "
            + ", ".join(other),
            remedy="give this one a name of its own (--set name=...), or replace it with --fresh",
        )


class Tuning:
    """An open study; `open_tuning` makes them."""

    def __init__(self, study: optuna.Study, judge: Judge) -> None:
        self.study = study
        self.space = judge.space
        self.settings = judge.settings
        self._judge = judge
        self._current: int | None = None

    def run(self, reporter: Reporter = SILENT) -> None:
        """Try settings until there are as many trials as asked for, whoever ran them.

        Other processes may work on the study at the same time. An interruption puts the trial
        under way into the queue again.

        Raises:
            WorkError: no trial came to a loss.
        """
        settings = self.settings
        with reporter.task(f"tune {settings.family}", total=settings.trials) as task:
            while True:
                ended, running, waiting = self._counts()
                task.update(min(ended, settings.trials), self._note())
                if ended >= settings.trials:
                    break
                if not waiting and ended + running >= settings.trials:
                    # others are at the last ones, or died over them
                    time.sleep(_POLL_S)
                    with experimental():
                        optuna.storages.fail_stale_trials(self.study)
                    continue
                self._try_one(ended + running)
        if not self._complete():
            raise WorkError(
                f"none of {ended} trials came to a loss: {self._last_error()}",
                remedy="mend what it says and begin anew with --fresh, or narrow tune.space",
            )

    def _try_one(self, before: int) -> None:
        self.study.sampler = sampler_of(self.settings.seed, before)
        self._current = None
        try:
            self.study.optimize(
                self._objective, n_trials=1, catch=(Exception,), callbacks=[self._retry_failed]
            )
        except KeyboardInterrupt:
            if self._current is not None:
                interrupted = self.study.trials[self._current]
                if interrupted.state == TrialState.FAIL:
                    retry(None)(self.study, interrupted)
            raise

    def _objective(self, trial: Trial) -> float | Sequence[float]:
        self._current = trial.number
        return self._judge(trial)

    def _retry_failed(self, study: optuna.Study, trial: FrozenTrial) -> None:
        if trial.state == TrialState.FAIL:
            retry(self.settings.retries)(study, trial)

    def _counts(self) -> tuple[int, int, int]:
        """Return how many trials ended for good, are under way, and wait to be tried again."""
        trials = self.study.get_trials(deepcopy=False)
        retried = {number for one in trials for number in history_of(one)}
        by_state = [one.state for one in trials if one.number not in retried]
        running = by_state.count(TrialState.RUNNING)
        waiting = by_state.count(TrialState.WAITING)
        return len(by_state) - running - waiting, running, waiting

    def _complete(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))

    def _note(self) -> str:
        complete = self._complete()
        if not complete:
            return ""
        if len(self.settings.objectives) > 1:
            return f"{len(self.study.best_trials)} in the Pareto set"
        best = min(complete, key=lambda one: (one.value, one.number))
        return f"best {best.value:.4f} (trial {best.number})"

    def _last_error(self) -> str:
        errors = [one.user_attrs.get(ERROR) for one in self.study.get_trials(deepcopy=False)]
        return next((error for error in reversed(errors) if error), "their processes died")

    @property
    def best(self) -> FrozenTrial:
        """The trial with the lowest loss; of several objectives, of those in the Pareto set."""
        return min(self._complete(), key=lambda one: (one.values, one.number))

    @property
    def best_params(self) -> Params:
        """Its values, the fixed ones included."""
        return self.space.completed(self.best.params)

    def trial_rows(self) -> list[dict[str, Any]]:
        """Return a row per trial that has ended, by its number; see the table `trials`."""
        several = len(self.settings.objectives) > 1
        best = {one.number for one in self.study.best_trials} if several else {self.best.number}
        return [
            trial_row(one, self.space.completed(one.params), one.number in best)
            for one in self.study.get_trials(deepcopy=False)
            if one.state.is_finished()
        ]

    def importance_rows(self) -> list[dict[str, Any]]:
        """Return which dimensions mattered; see the table `importances`."""
        return importance_rows(self.study, self.settings.objectives, seed=self.settings.seed)

    def figures(self, ranked: Sequence[str]) -> dict[str, Figure]:
        """Return Optuna's plots by their names.

        Args:
            ranked: dimensions, those that matter most for the loss first.
        """
        # pyplot takes a second to import, which a trial need not wait for
        from search.tuning.figures import study_figures

        return study_figures(self.study, self.settings.objectives, ranked)
