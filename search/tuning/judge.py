"""One trial: a search per seed, each with the same budget, and the values reported to the study."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean

import optuna
from optuna.trial import Trial

from clso.energy import EnergyMonitor
from clso.errors import WorkError
from search.settings import BETWEEN_GENERATIONS
from search.tuning.settings import TuningSettings
from search.tuning.space import Params, SearchSpace
from search.validated import Halves, ValidatedLoss

__all__ = ["ERROR", "SEARCHES", "Judge"]

# Attributes of a trial in the storage.
SEARCHES = "searches"
ERROR = "error"


@dataclass(frozen=True)
class Judge:
    """The objective function of a study.

    Attributes:
        problems: see `open_tuning`.
    """

    space: SearchSpace
    settings: TuningSettings
    problems: Callable[[Params], Halves]
    monitor: EnergyMonitor

    def __call__(self, trial: Trial) -> float | Sequence[float]:
        """Return the trial's mean loss over seeds; with two objectives its mean joules too.

        Raises:
            TrialPruned: the pruner ends the trial.
            WorkError: a search found no finite loss, or its joules were not measured.
        """
        for name, empty in ((SEARCHES, []), (ERROR, None)):
            # a repeated trial has the attributes of the failed one
            if name in trial.user_attrs:
                trial.set_user_attr(name, empty)
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
        results: list[ValidatedLoss] = []
        for step, seed in enumerate(settings.seeds):
            result = halves.search(
                self.space.settings(params),
                settings.budget,
                seed=seed,
                family=settings.family,
                monitor=self.monitor,
                should_stop=self._watch(trial, results) if self._watched else None,
            )
            results.append(result)
            trial.set_user_attr(SEARCHES, [asdict(result) for result in results])
            if not result.complete:
                raise optuna.TrialPruned
            if result.loss is None:
                raise WorkError(f"no genome of seed {seed} has a finite loss")
            if settings.pruner == "wilcoxon":
                trial.report(result.loss, step)
                if step + 1 < len(settings.seeds) and trial.should_prune():
                    raise optuna.TrialPruned
        loss = fmean(_losses(results))
        if settings.objectives == ("loss",):
            return loss
        joules = [result.energy_j for result in results if result.energy_j is not None]
        if len(joules) < len(results):
            raise WorkError(
                "the joules of a search were not measured",
                remedy="set energy.meter to auto, or leave energy_j out of tune.objectives",
            )
        return loss, fmean(joules)

    @property
    def _watched(self) -> bool:
        return self.settings.pruner in BETWEEN_GENERATIONS

    def _watch(
        self, trial: Trial, results: Sequence[ValidatedLoss]
    ) -> Callable[[int, float | None], bool]:
        """Return a callback that reports the generations of the next search to the pruner."""
        losses = _losses(results)
        begun = len(results) * self.settings.budget.whole
        seen = begun

        def should_stop(spent: int, loss: float | None) -> bool:
            nonlocal seen
            step = begun + spent
            # a generation without new evaluations is not reported
            looks = self._looks(seen, step)
            if loss is None or not looks:
                return False
            seen = step
            for look in looks:
                trial.report(fmean([*losses, loss]), look)
            return trial.should_prune()

        return should_stop

    def _looks(self, seen: int, step: int) -> Sequence[int]:
        """Return the steps after `seen`, up to this one, at which a value is reported."""
        if self.settings.pruner != "median":
            return [step] if step > seen else []
        # the median is of values at equal steps, and populations end generations at others
        grain = self.settings.first_look(self.space)
        return range((seen // grain + 1) * grain, step + 1, grain)


def _losses(results: Sequence[ValidatedLoss]) -> list[float]:
    return [result.loss for result in results if result.loss is not None]
