"""The outcome of a study: its trials as rows, and how much each hyperparameter mattered."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import optuna
from optuna.importance import (
    BaseImportanceEvaluator,
    FanovaImportanceEvaluator,
    PedAnovaImportanceEvaluator,
    get_param_importances,
)
from optuna.trial import FrozenTrial, TrialState

from search.tuning.judge import ERROR, SEARCHES
from search.tuning.settings import Objective
from search.tuning.storage import quiet_optuna

__all__ = ["SingleObjective", "trial_row"]

# Fewer trials than these say nothing about any dimension, or little about the best trials.
_FEWEST, _FEWEST_BEST = 4, 5


def trial_row(trial: FrozenTrial, params: Mapping[str, Any], is_best: bool) -> dict[str, Any]:
    """Return the row in the table `trials` of a trial that has ended.

    `params` has its values, the fixed ones included. The best have the lowest loss, or are in the
    Pareto set.
    """
    searches: list[dict[str, Any]] = trial.user_attrs.get(SEARCHES, [])
    judged = [search for search in searches if search["complete"] and search["loss"] is not None]
    joules = [search["energy_j"] for search in searches]
    sources = {search["energy_source"] for search in searches}
    return {
        "number": trial.number,
        "state": trial.state.name.lower(),
        "is_best": is_best,
        "loss": trial.values[0] if trial.state == TrialState.COMPLETE and trial.values else None,
        "seed_losses": [search["loss"] for search in judged],
        "search_losses": [search["search_loss"] for search in judged],
        "searches": len(searches),
        "evaluations": sum(search["evaluations"] for search in searches),
        "duration_s": fmean(search["duration_s"] for search in searches) if searches else None,
        "energy_j": fmean(joules) if joules and None not in joules else None,
        "energy_source": sources.pop() if len(sources) == 1 else None,
        "estimated": any(search["estimated"] for search in searches) if searches else None,
        "params": dict(params),
        "retry_of": trial.system_attrs.get("failed_trial"),
        "error": trial.user_attrs.get(ERROR),
    }


@dataclass(frozen=True)
class SingleObjective:
    """The complete trials of a study, as a study in memory of one of its objectives."""

    objective: Objective
    study: optuna.Study

    @classmethod
    def each(
        cls, study: optuna.Study, objectives: Sequence[Objective]
    ) -> tuple[SingleObjective, ...]:
        """Return one for each of a study's objectives, in their order."""
        complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        singles = tuple(cls(name, optuna.create_study()) for name in objectives)
        for index, single in enumerate(singles):
            single.study.add_trials(
                [
                    optuna.create_trial(
                        value=trial.values[index],
                        params=trial.params,
                        distributions=trial.distributions,
                    )
                    for trial in complete
                ]
            )
        return singles

    @property
    def ped_anova(self) -> PedAnovaImportanceEvaluator:
        """PED-ANOVA over the best tenth of the trials, or the best five if that is more."""
        share = min(max(0.1, _FEWEST_BEST / max(len(self.study.trials), 1)), 0.5)
        return PedAnovaImportanceEvaluator(target_quantile=share)

    def importances(self, evaluator: BaseImportanceEvaluator) -> dict[str, float]:
        """Return the importance of each dimension; all of them sum to 1.

        Too few trials, or trials with equal values, give no importances.
        """
        trials = self.study.trials
        if len(trials) < _FEWEST or len({trial.value for trial in trials}) == 1:
            return {}
        with quiet_optuna():
            # among equal trials the best may be all trials, which have nothing in common
            warnings.filterwarnings("error", message="Target and region quantiles select the same")
            try:
                found = get_param_importances(self.study, evaluator=evaluator)
            except UserWarning:
                return {}
        # Optuna leaves the order of equal ones to the hashes of their names
        return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))

    def importance_rows(self, seed: int) -> list[dict[str, Any]]:
        """Return the rows of the table `importances`, by two methods.

        PED-ANOVA (Watanabe et al., IJCAI 2023; for conditional dimensions KDD 2026) measures what
        the best trials have in common. fANOVA (Hutter et al., ICML 2014) measures the share of
        the variance of all trials, with a forest drawn by the seed; it covers only the dimensions
        that every trial has.
        """
        return [
            {
                "objective": self.objective,
                "evaluator": name,
                "parameter": parameter,
                "importance": float(importance),
                "n_trials": len(self.study.trials),
            }
            for name, evaluator in (
                ("ped_anova", self.ped_anova),
                ("fanova", FanovaImportanceEvaluator(seed=seed)),
            )
            for parameter, importance in self.importances(evaluator).items()
        ]
