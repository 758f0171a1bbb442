"""The settings of a study, and the sampler and pruner that follow from them.

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
from search.tuning.storage import quiet_optuna

__all__ = ["Objective", "TuningSettings"]

Objective = Literal["loss", "energy_j"]

_REDUCTION = 3
_FIRST_RUNG = 8  # a budget of joules is first looked at after this part of a search's


@dataclass(frozen=True, slots=True, kw_only=True)
class TuningSettings:
    """The settings of a study.

    Attributes:
        family: the name of what is searched.
        trials: number of trials, pruned ones included.
        seeds: of each trial's searches.
        budget: of each search.
        objectives: `loss`, or both; all are minimized.
        pruner: `none` if there are two objectives.
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

    def check_population(self, space: SearchSpace) -> None:
        """Refuse a budget of evaluations that is smaller than the first generation.

        Raises:
            ConfigError: the largest population of the space does not fit in.
        """
        evaluations, largest = self.budget.evaluations, space.largest_population
        if evaluations is not None and evaluations < largest:
            raise ConfigError(
                f"a budget of {evaluations} evaluations ends within the first generation of a "
                f"population of {largest}",
                remedy="raise tune.budget.evaluations, or lower tune.space.population",
            )

    def new_pruner(self, space: SearchSpace) -> BasePruner:
        """Return the pruner of a study over a space."""
        if self.pruner == "wilcoxon":
            with quiet_optuna():
                return WilcoxonPruner()
        if self.pruner == "none":
            return NopPruner()
        whole = self.budget.whole
        # trials are first compared when every population has finished its first generation
        first = space.largest_population if self.budget.evaluations else whole // _FIRST_RUNG
        return HyperbandPruner(
            min_resource=first, max_resource=whole * len(self.seeds), reduction_factor=_REDUCTION
        )

    def new_sampler(self, n_trials: int) -> TPESampler:
        """Return the sampler of the next trial, seeded by the trials so far that did not fail."""
        seed = np.random.SeedSequence([self.seed, n_trials]).generate_state(1)
        with quiet_optuna():
            # conditional dimensions are grouped with the dimensions that they occur with
            return TPESampler(seed=int(seed[0]), multivariate=True, group=True)
