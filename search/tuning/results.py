"""What a study has come to: its trials as rows, and which hyperparameters mattered."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
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

__all__ = [
    "FEWEST",
    "by_objective",
    "few_trials",
    "history_of",
    "importance_rows",
    "importances",
    "ped_anova",
    "trial_row",
]

# fewer trials than this say nothing about any dimension
FEWEST = 4
# and fewer than this say little of what good ones have in common
_BEST = 5


def trial_row(trial: FrozenTrial, params: Mapping[str, Any], is_best: bool) -> dict[str, Any]:
    """Return a trial's row; see the table `trials`.

    Args:
        trial: that has ended.
        params: its values, the fixed ones included.
        is_best: whether it has the lowest loss, or is in the Pareto set.
    """
    searches: list[dict[str, Any]] = trial.user_attrs.get(SEARCHES, [])
    losses = [one["loss"] for one in searches if one["complete"] and one["loss"] is not None]
    sources = {one["energy_source"] for one in searches}
    history = history_of(trial)
    return {
        "number": trial.number,
        "state": trial.state.name.lower(),
        "is_best": is_best,
        "loss": trial.values[0] if trial.state == TrialState.COMPLETE and trial.values else None,
        "seed_losses": losses,
        "search_losses": [
            one["search_loss"] for one in searches if one["complete"] and one["loss"] is not None
        ],
        "searches": len(searches),
        "evaluations": sum(one["evaluations"] for one in searches),
        "duration_s": fmean(one["duration_s"] for one in searches) if searches else None,
        "energy_j": _mean([one["energy_j"] for one in searches]),
        "energy_source": sources.pop() if len(sources) == 1 else None,
        "estimated": any(one["estimated"] for one in searches) if searches else None,
        "params": dict(params),
        "retry_of": history[0] if history else None,
        "error": trial.user_attrs.get(ERROR),
    }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known and len(known) == len(values) else None


def history_of(trial: FrozenTrial) -> list[int]:
    """Return the trials that a trial repeats, the first one first."""
    numbers: list[int] = trial.system_attrs.get("retry_history", [])
    return numbers


def by_objective(
    study: optuna.Study, objectives: Sequence[Objective]
) -> dict[Objective, optuna.Study]:
    """Return a study's complete trials, in memory, once for each of its objectives alone."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    found = {}
    for number, objective in enumerate(objectives):
        found[objective] = optuna.create_study(direction="minimize")
        found[objective].add_trials(
            [
                optuna.create_trial(
                    value=trial.values[number],
                    params=trial.params,
                    distributions=trial.distributions,
                )
                for trial in complete
            ]
        )
    return found


def importance_rows(
    study: optuna.Study, objectives: Sequence[Objective], *, seed: int
) -> list[dict[str, Any]]:
    """Return how much of the objectives each tuned dimension explains, by two methods.

    PED-ANOVA (Watanabe et al., IJCAI 2023; for conditional dimensions KDD 2026) asks what the best
    of the complete trials have in common; fANOVA (Hutter et al., ICML 2014) how much of the
    variance of all of them a dimension explains, and knows only those that every trial has.

    Args:
        study: its complete trials count.
        objectives: of the study, in order.
        seed: of fANOVA's forest.
    """
    return [
        {
            "objective": objective,
            "evaluator": name,
            "parameter": parameter,
            "importance": float(importance),
            "n_trials": len(single.trials),
        }
        for objective, single in by_objective(study, objectives).items()
        for name, evaluator in (
            ("ped_anova", ped_anova(len(single.trials))),
            ("fanova", FanovaImportanceEvaluator(seed=seed)),
        )
        for parameter, importance in importances(single, evaluator).items()
    ]


def ped_anova(n_trials: int) -> PedAnovaImportanceEvaluator:
    """Return PED-ANOVA over the best tenth of so many trials, or the best five if that is more."""
    share = min(max(0.1, _BEST / max(n_trials, 1)), 0.5)
    return PedAnovaImportanceEvaluator(target_quantile=share)


def importances(study: optuna.Study, evaluator: BaseImportanceEvaluator) -> dict[str, float]:
    """Return shares of one by dimension; nothing where the trials are too few or too much alike."""
    values = {trial.value for trial in study.trials}
    if len(study.trials) < FEWEST or len(values) == 1:
        return {}
    with few_trials():
        # where trials are equal, the best of them may be all of them: that says nothing
        warnings.filterwarnings("error", message="Target and region quantiles select the same")
        try:
            return get_param_importances(study, evaluator=evaluator)
        except UserWarning:
            return {}


@contextmanager
def few_trials() -> Iterator[None]:
    """Let PED-ANOVA be asked about conditions that held in a few trials only.

    What it then warns of is what the number of trials beside its figures says.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Some regimes for parameter")
        yield
