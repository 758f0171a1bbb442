"""One trial: a search per seed, each at the same budget, and what the study is told of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean

import optuna
from optuna.trial import Trial

from clso.energy import EnergyMonitor
from clso.errors import WorkError
from search.tuning.settings import TuningSettings
from search.tuning.space import Params, SearchSpace
from search.validated import Halves, ValidatedLoss

__all__ = ["ERROR", "SEARCHES", "Judge"]

# Attributes of a trial in the storage.
SEARCHES = "searches"
ERROR = "error"


@dataclass(frozen=True)
class Judge:
    """The objective.

    Attributes:
        space: what a trial may pick.
        settings: of the study.
        problems: makes the problem for a trial's values of the library, none for the run's own.
        monitor: measures the searches.
    """

    space: SearchSpace
    settings: TuningSettings
    problems: Callable[[Params], Halves]
    monitor: EnergyMonitor

    def __call__(self, trial: Trial) -> float | Sequence[float]:
        """Return a trial's mean loss over seeds; with two objectives its mean joules too.

        Raises:
            TrialPruned: the pruner has seen enough.
            WorkError: a search found nothing with a finite loss, or was not measured.
        """
        for name in (SEARCHES, ERROR):
            # a trial that is tried again comes with what it left when it failed
            if name in trial.user_attrs:
                trial.set_user_attr(name, [] if name == SEARCHES else None)
        try:
            return self._judged(trial)
        except optuna.TrialPruned:
            raise
        except BaseException as error:
            trial.set_user_attr(ERROR, f"{type(error).__name__}: {error}".strip(": "))
            raise

    def _judged(self, trial: Trial) -> float | Sequence[float]:
        settings = self.settings
        params = self.space.suggest(trial)
        halves = self.problems(self.space.library(params))
        found: list[ValidatedLoss] = []
        for number, seed in enumerate(settings.seeds):
            outcome = halves.search(
                self.space.settings(params),
                settings.budget,
                seed=seed,
                family=settings.family,
                monitor=self.monitor,
                should_stop=self._watch(trial, found) if settings.pruner == "hyperband" else None,
            )
            found.append(outcome)
            trial.set_user_attr(SEARCHES, [asdict(one) for one in found])
            if not outcome.complete:
                raise optuna.TrialPruned
            if outcome.loss is None:
                raise WorkError(f"no genome of seed {seed} has a finite loss")
            if settings.pruner == "wilcoxon" and number + 1 < len(settings.seeds):
                trial.report(outcome.loss, number)
                if trial.should_prune():
                    raise optuna.TrialPruned
        if settings.pruner == "wilcoxon":
            trial.report(found[-1].loss or 0.0, len(found) - 1)
        loss = fmean(one.loss for one in found if one.loss is not None)
        if settings.objectives == ("loss",):
            return loss
        joules = [one.energy_j for one in found if one.energy_j is not None]
        if len(joules) < len(found):
            raise WorkError("the joules of a search were not measured")
        return loss, fmean(joules)

    def _watch(
        self, trial: Trial, found: Sequence[ValidatedLoss]
    ) -> Callable[[int, float | None], bool]:
        """Return what Hyperband is told between the generations of the next search."""
        losses = [one.loss for one in found if one.loss is not None]
        begun = len(found) * self.settings.budget.whole
        seen = begun

        def should_stop(spent: int, loss: float | None) -> bool:
            nonlocal seen
            step = begun + spent
            # a generation that evaluated nothing new has nothing to tell
            if loss is None or step <= seen:
                return False
            seen = step
            trial.report(fmean([*losses, loss]), step)
            return trial.should_prune()

        return should_stop
