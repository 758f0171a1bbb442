"""The settings of a study."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler

from clso.errors import ConfigError
from search.settings import BETWEEN_GENERATIONS, Budget, PrunerName, SamplerName
from search.tuning import strategy
from search.tuning.space import Range, SearchSpace

__all__ = ["Objective", "TuningSettings"]

Objective = Literal["loss", "energy_j"]

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
        sampler: draws the values of trials; `cmaes` has one objective.
        pruner: `none` if there are two objectives.
        pruner_patience: reports without improvement before a trial may be pruned, for the
            pruners that look between generations.
        parallel: trials that are asked for at once and told together.
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
    sampler: SamplerName = "tpe"
    pruner: PrunerName = "none"
    pruner_patience: int = 0
    parallel: int = 1
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
        if self.parallel < 1:
            raise ConfigError(
                f"parallel is {self.parallel}", remedy="give tune.parallel of at least 1"
            )
        if self.retries < 0 or self.pruner_patience < 0:
            raise ConfigError(
                f"retries are {self.retries} and pruner_patience is {self.pruner_patience}",
                remedy="give tune.retries and tune.pruner_patience of at least 0",
            )
        self._check_methods()

    def _check_methods(self) -> None:
        if len(self.objectives) > 1 and self.pruner != "none":
            raise ConfigError(
                f"pruner is {self.pruner}, but a study of several objectives prunes nothing",
                remedy="set tune.pruner to none, or leave energy_j out of tune.objectives",
            )
        if len(self.objectives) > 1 and self.sampler == "cmaes":
            raise ConfigError(
                "sampler is cmaes, which has one objective, but the study has several",
                remedy="set tune.sampler to tpe, gp or nsgaii, or leave energy_j out of "
                "tune.objectives",
            )
        if self.pruner_patience and self.pruner not in BETWEEN_GENERATIONS:
            raise ConfigError(
                f"pruner_patience is {self.pruner_patience}, but pruner {self.pruner} does not "
                "look at a trial between generations",
                remedy="set tune.pruner to hyperband or median, or tune.pruner_patience to 0",
            )

    def check_space(self, space: SearchSpace) -> None:
        """Refuse a space that the study cannot search.

        Raises:
            ConfigError: the largest population is more than a budget of evaluations, or cmaes has
                no dimension to draw.
        """
        evaluations, largest = self.budget.evaluations, space.largest_population
        if evaluations is not None and evaluations < largest:
            raise ConfigError(
                f"a budget of {evaluations} evaluations ends within the first generation of a "
                f"population of {largest}",
                remedy="raise tune.budget.evaluations, or lower tune.space.population",
            )
        ranges = [name for name in space.unconditional if _is_range(space, name)]
        if self.sampler == "cmaes" and not ranges:
            raise ConfigError(
                "sampler is cmaes, which draws numbers from ranges, but no dimension that every "
                "trial has is a range",
                remedy="set tune.sampler to tpe, or give a dimension low and high in tune.space",
            )

    def new_pruner(self, space: SearchSpace) -> BasePruner:
        """Return the pruner of a study over a space."""
        return strategy.pruner(
            self.pruner,
            first=self.first_look(space),
            whole=self.budget.whole * len(self.seeds),
            patience=self.pruner_patience,
        )

    def new_sampler(self, space: SearchSpace, n_trials: int) -> BaseSampler:
        """Return the sampler of the next trial, seeded by the trials so far that did not fail."""
        return strategy.sampler(self.sampler, self.seed, n_trials, space.unconditional)

    def first_look(self, space: SearchSpace) -> int:
        """Return the part of a search's budget at which trials are first compared.

        Every population has then finished its first generation.
        """
        whole = self.budget.whole
        return space.largest_population if self.budget.evaluations else whole // _FIRST_RUNG


def _is_range(space: SearchSpace, name: str) -> bool:
    dimension = space.dimensions[name]
    return isinstance(dimension, Range) and dimension.fixed is None
