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
from search.tuning.results import SingleObjective, trial_row
from search.tuning.settings import TuningSettings
from search.tuning.space import Params, SearchSpace
from search.tuning.storage import HEARTBEAT_S, hidden_url, open_storage, quiet_optuna, retry
from search.validated import Halves

__all__ = ["Tuning", "open_tuning"]

_IDENTITY = "clso"
_VERSION = 1  # raised when a change of the code changes the values of trials
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
    """Open a study, or create it; an existing study continues with its trials.

    Args:
        url: of the storage, as SQLAlchemy has it.
        problems: makes the problem for a trial's values of the library; without values, that of
            the run's own library.
        own_library: the run's own values of the library's dimensions.
        fresh: delete the study first.
        heartbeat_s: between two heartbeats of a trial.

    Raises:
        ArtifactError: the storage cannot be opened, or holds another study of this name.
        ConfigError: the budget is too small for the largest population.
    """
    settings.check_population(space)
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
            pruner=settings.new_pruner(space),
            load_if_exists=True,
        )
        _claim(study, identity, hidden_url(url))
        if not study.get_trials(deepcopy=False):
            study.enqueue_trial(space.own_values(own_library or {}), skip_if_exists=True)
        yield Tuning(study, Judge(space, settings, problems, monitor or EnergyMonitor()))


def _claim(study: optuna.Study, identity: dict[str, Any], place: str) -> None:
    """Store the identity of a new study; refuse an existing study with another identity."""
    stored = study.user_attrs.get(_IDENTITY)
    if stored is None and not study.get_trials(deepcopy=False):
        study.set_user_attr(_IDENTITY, identity)
    elif stored != identity:
        differing = sorted(key for key in identity if (stored or {}).get(key) != identity[key])
        raise ArtifactError(
            f"{place} holds another study called {study.study_name!r}: it differs in "
            + ", ".join(differing),
            remedy="give this one a name of its own (--set name=...), or replace it with --fresh",
        )


class Tuning:
    """An open study, made by `open_tuning`."""

    def __init__(self, study: optuna.Study, judge: Judge) -> None:
        self.study = study
        self.space = judge.space
        self.settings = judge.settings
        self._judge = judge
        self._current: int | None = None

    def run(self, reporter: Reporter = SILENT) -> None:
        """Run trials until the study has as many as its settings ask for.

        Other processes may work on the study at the same time; their trials count. An interrupted
        trial is queued again.

        Raises:
            WorkError: no trial has a loss.
        """
        settings = self.settings
        with reporter.task(f"tune {settings.family}", total=settings.trials) as task:
            while True:
                ended, running, waiting = self._counts()
                task.update(min(ended, settings.trials), self._note())
                if ended >= settings.trials:
                    break
                if not waiting and ended + running >= settings.trials:
                    # the last trials belong to other processes, which run or have died
                    time.sleep(_POLL_S)
                    with quiet_optuna():
                        optuna.storages.fail_stale_trials(self.study)
                    continue
                self._run_trial(ended + running)
        if not self._complete():
            raise WorkError(
                f"none of {ended} trials has a loss: {self._last_error()}",
                remedy="correct the cause and start again with --fresh, or narrow tune.space",
            )

    def _run_trial(self, n_trials: int) -> None:
        self.study.sampler = self.settings.new_sampler(n_trials)
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
        """Return how many trials have ended, are running and wait; a retried one counts once."""
        trials = self.study.get_trials(deepcopy=False)
        retried = {
            number for trial in trials for number in trial.system_attrs.get("retry_history", [])
        }
        states = [trial.state for trial in trials if trial.number not in retried]
        running, waiting = states.count(TrialState.RUNNING), states.count(TrialState.WAITING)
        return len(states) - running - waiting, running, waiting

    def _complete(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))

    def _note(self) -> str:
        if not self._complete():
            return ""
        if len(self.settings.objectives) > 1:
            return f"{len(self.study.best_trials)} in the Pareto set"
        return f"best {self.best.value:.4f} (trial {self.best.number})"

    def _last_error(self) -> str:
        trials = reversed(self.study.get_trials(deepcopy=False))
        errors = (trial.user_attrs.get(ERROR) for trial in trials)
        return next((error for error in errors if error), "their processes died")

    @property
    def best(self) -> FrozenTrial:
        """The trial with the lowest loss; with two objectives, it is in the Pareto set."""
        return min(self._complete(), key=lambda trial: (trial.values, trial.number))

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

    def figures(self, ranked: Sequence[str]) -> dict[str, Figure]:
        """Return Optuna's plots by their names; see `study_figures`."""
        # pyplot takes a second to import; a trial does not need it
        from search.tuning.figures import study_figures

        return study_figures(self.study, self.settings.objectives, ranked)
