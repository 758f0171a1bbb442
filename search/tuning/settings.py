"""What a study is told, and the sampler and pruner that follow.

Sources: TPE, Bergstra et al., NeurIPS 2011, multivariate by Falkner et al., ICML 2018; Hyperband,
Li et al., JMLR 18 (2018), as asynchronous successive halving by Li et al., MLSys 2020.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from optuna.pruners import BasePruner, HyperbandPruner, NopPruner, WilcoxonPruner
from optuna.samplers import TPESampler

from clso.errors import ConfigError
from search.settings import Budget
from search.tuning.space import SearchSpace
from search.tuning.storage import experimental

__all__ = ["Objective", "TuningSettings", "check_budget", "pruner_of", "sampler_of"]

Objective = Literal["loss", "energy_j"]

_REDUCTION = 3
_FIRST_RUNG = 8  # a budget of joules is first looked at after this part of a search's


@dataclass(frozen=True, slots=True, kw_only=True)
class TuningSettings:
    """What a study is told.

    Attributes:
        family: the name of what is searched.
        trials: settings to try, pruned ones included.
        seeds: of each trial's searches.
        budget: of each search.
        objectives: `loss`, or both; all are minimized.
        pruner: none where there are two objectives.
        retries: of a trial that failed or whose process died.
        seed: of the sampler.

    Raises:
        ConfigError: a value out of its range, or two that contradict each other.
    """

    family: str
    trials: int
    seeds: tuple[int, ...]
    budget: Budget
    objectives: tuple[Objective, ...] = ("loss",)
    pruner: Literal["hyperband", "wilcoxon", "none"] = "none"
    retries: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        if self.trials < 1 or not self.seeds:
            raise ConfigError(
                f"a study of {self.trials} trials with {len(self.seeds)} seeds tries nothing",
                remedy="give tune.trials and tune.seeds of at least 1",
            )
        if self.objectives not in (("loss",), ("loss", "energy_j")):
            raise ConfigError(
                f"objectives are {', '.join(self.objectives) or 'none'}",
                remedy="give loss, or loss and energy_j",
            )
        if len(self.objectives) > 1 and self.pruner != "none":
            raise ConfigError(
                f"pruner is {self.pruner}, but a study of several objectives prunes nothing",
                remedy="set tune.pruner to none, or leave energy_j out of tune.objectives",
            )


def check_budget(space: SearchSpace, budget: Budget) -> None:
    """Refuse a budget that ends before anything has been bred.

    Raises:
        ConfigError: the largest population does not fit in.
    """
    most = int(space.bounds("population")[1])
    if budget.evaluations is not None and budget.evaluations < most:
        raise ConfigError(
            f"a budget of {budget.evaluations} evaluations ends within the first generation of a "
            f"population of {most}",
            remedy="raise tune.budget.evaluations, or lower tune.space.population",
        )


def pruner_of(space: SearchSpace, settings: TuningSettings) -> BasePruner:
    """Return what ends trials early."""
    if settings.pruner == "wilcoxon":
        with experimental():
            return WilcoxonPruner()
    if settings.pruner == "none":
        return NopPruner()
    budget = settings.budget
    # every population has its first generation behind it when trials are first compared
    first = (
        int(space.bounds("population")[1]) if budget.evaluations else budget.whole // _FIRST_RUNG
    )
    return HyperbandPruner(
        min_resource=first,
        max_resource=budget.whole * len(settings.seeds),
        reduction_factor=_REDUCTION,
    )


def sampler_of(seed: int, before: int) -> TPESampler:
    """Return what draws a trial's values, seeded for it alone.

    Args:
        seed: of the study.
        before: trials so far that did not fail.
    """
    drawn = np.random.SeedSequence([seed, before]).generate_state(1)
    with experimental():
        # conditional dimensions are grouped with those that they occur with
        return TPESampler(seed=int(drawn[0]), multivariate=True, group=True)
