"""How a study draws the values of trials, and which trials it ends early: Optuna's own methods.

Sources: TPE, Bergstra et al., NeurIPS 2011, multivariate by Falkner et al., ICML 2018; CMA-ES,
Hansen, arXiv:1604.00772; NSGA-II, Deb et al., 2002; Hyperband, Li et al., JMLR 18 (2018), as
asynchronous successive halving by Li et al., MLSys 2020.
"""

from __future__ import annotations

from collections.abc import Collection
from copy import copy
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.pruners import (
    BasePruner,
    HyperbandPruner,
    MedianPruner,
    NopPruner,
    WilcoxonPruner,
)
from optuna.samplers import (
    BaseSampler,
    CmaEsSampler,
    GPSampler,
    NSGAIISampler,
    RandomSampler,
    TPESampler,
)
from optuna.trial import FrozenTrial

from search.settings import PrunerName, SamplerName
from search.tuning.storage import quiet_optuna

__all__ = ["pruner", "sampler"]

_REDUCTION = 3
_POPULATION = 10  # of NSGA-II; Optuna's 50 are more than a study's complete trials


def sampler(
    name: SamplerName, seed: int, n_trials: int, unconditional: Collection[str]
) -> BaseSampler:
    """Return the sampler of the next trial.

    Args:
        seed: of the study.
        n_trials: trials so far that did not fail; the sampler is seeded by both.
        unconditional: the dimensions that every trial has.
    """
    words = np.random.SeedSequence([seed, n_trials]).generate_state(1)
    seed = int(words[0])
    with quiet_optuna():
        if name == "gp":
            return GPSampler(
                seed=seed, independent_sampler=_tpe(seed), warn_independent_sampling=False
            )
        if name == "cmaes":
            return _CmaEs(seed, n_trials, unconditional)
        if name == "nsgaii":
            return NSGAIISampler(seed=seed, population_size=_POPULATION)
        if name == "random":
            return RandomSampler(seed=seed)
        return _tpe(seed)


def _tpe(seed: int) -> TPESampler:
    # conditional dimensions are grouped with the dimensions that they occur with
    return TPESampler(seed=seed, multivariate=True, group=True)


class _CmaEs(CmaEsSampler):
    """CMA-ES over the numeric dimensions that every trial has; TPE draws all others.

    Optuna's own falls back to independent draws for good as soon as a trial lacks a dimension
    that earlier trials had, and is seeded by a trial's number, which a repeated trial has not.
    """

    def __init__(self, seed: int, n_trials: int, unconditional: Collection[str]) -> None:
        super().__init__(
            seed=seed,
            independent_sampler=TPESampler(seed=seed),
            warn_independent_sampling=False,
        )
        self._n_trials = n_trials
        self._unconditional = unconditional

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Leave out the dimensions that only some trials have."""
        space = super().infer_relative_search_space(study, trial)
        return {name: space[name] for name in space if name in self._unconditional}

    def sample_relative(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        search_space: dict[str, BaseDistribution],
    ) -> dict[str, Any]:
        """Draw for the number of trials that did not fail, instead of the trial's own number."""
        counted = copy(trial)
        counted.number = self._n_trials
        return super().sample_relative(study, counted, search_space)


def pruner(name: PrunerName, *, first: int, whole: int, patience: int) -> BasePruner:
    """Return a pruner.

    Args:
        first: the part of the budget at which trials are first compared.
        whole: the budget of a trial.
        patience: reports without improvement before a trial may be pruned.
    """
    with quiet_optuna():
        if name == "wilcoxon":
            return WilcoxonPruner()
        if name == "none":
            return NopPruner()
        if name == "median":
            return _PatientMedian(patience)
        return _PatientHyperband(patience, first, whole)


class _PatientMedian(MedianPruner):
    """The median rule, for trials that no longer improve."""

    def __init__(self, patience: int) -> None:
        super().__init__()
        self._patience = patience

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Return whether a trial ends here."""
        return super().prune(study, trial) and not _improves(trial, self._patience)


class _PatientHyperband(HyperbandPruner):
    """Hyperband that lets a trial pass a rung while it improves.

    It is asked at each report, because it notes the values of rungs when it is asked.
    """

    def __init__(self, patience: int, first: int, whole: int) -> None:
        super().__init__(first, whole, _REDUCTION)
        self._patience = patience

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Return whether a trial ends here."""
        return super().prune(study, trial) and not _improves(trial, self._patience)


def _improves(trial: FrozenTrial, patience: int) -> bool:
    """Return whether the lowest value so far is among the last reports.

    Optuna's `PatientPruner` asks whether values have become worse, and the loss of an incumbent
    never does.
    """
    if not patience:
        return False
    values = [trial.intermediate_values[step] for step in sorted(trial.intermediate_values)]
    earlier, recent = values[:-patience], values[-patience:]
    return not earlier or min(recent) < min(earlier)
