"""From a configuration to the dimensions of a study, and from a trial to a configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import yaml

from clso.energy.meter import MACHINE_WIDE
from clso.engine import Engine
from clso.errors import ConfigError
from pipelines.config import RunConfig
from pipelines.config.tune import TuneDimension, TuneSettings
from pipelines.experiment import Experiment
from pipelines.families import AnyFamily
from search.settings import SearchSettings
from search.tuning import Choices, Params, Range, SearchSpace, TuningSettings
from search.validated import Halves

__all__ = ["TunedProblems", "TunedSearch"]

# they change nothing without slots that pick a set
_OF_SETS = ("surrogate.features", "surrogate.distinct_steps")


@dataclass(frozen=True)
class TunedSearch:
    """The search of a model family that a study tunes, as the section `tune` describes it."""

    config: RunConfig
    family: AnyFamily

    @classmethod
    def of(cls, config: RunConfig) -> TunedSearch:
        """Return the search of `tune.family`, or of the only family of the run.

        Raises:
            ConfigError: the run does not have the family, or has several.
        """
        family = None if config.tune is None else config.tune.family
        if family is None and len(config.families) > 1:
            raise ConfigError(
                f"families are {', '.join(config.families)}, and a study tunes one of them",
                remedy=f"--set tune.family={config.families[-1]}",
            )
        names = [] if family is None else [family]
        return cls(config, config.searched_families(names, asked_by="tune.family")[0])

    @property
    def asked(self) -> TuneSettings:
        """The section `tune`, or its defaults."""
        return self.config.tune or TuneSettings()

    @property
    def weighs_joules(self) -> bool:
        """Whether a trial needs the joules of its searches."""
        return self.asked.budget.energy_j is not None or "energy_j" in self.asked.objectives

    def check_engine(self, engine: Engine) -> None:
        """Refuse workers that cannot tell the joules of trials that run at once.

        Raises:
            ConfigError: they have one counter for several trials, and the study weighs joules.
        """
        meter = self.config.energy.meter
        together = meter == "replay" or (meter in MACHINE_WIDE and engine.shares_machine)
        if self.weighs_joules and self.asked.parallel > 1 and not engine.is_local and together:
            raise ConfigError(
                f"the study weighs joules, but energy.meter {meter} cannot tell those of "
                f"{self.asked.parallel} trials that run at once on the workers of {engine.name}",
                remedy="set energy.meter to auto, tune.parallel to 1, or runtime.engine to local",
            )

    def settings(self, trials: int | None = None) -> TuningSettings:
        """Return the settings of the study, with another number of trials if given.

        Raises:
            ConfigError: the study needs joules, and there is no meter.
        """
        asked, seed = self.asked, self.config.seed
        if self.weighs_joules and self.config.energy.meter == "none":
            raise ConfigError(
                "the study weighs joules, but energy.meter is none",
                remedy="set energy.meter to auto, or leave joules out of tune",
            )
        return TuningSettings(
            family=self.family.name,
            trials=asked.trials if trials is None else trials,
            seeds=tuple(range(seed, seed + asked.seeds)),
            budget=asked.budget,
            objectives=asked.objectives,
            sampler=asked.sampler,
            pruner=asked.used_pruner,
            pruner_patience=asked.pruner_patience,
            parallel=asked.parallel,
            retries=asked.retries,
            seed=seed,
        )

    def space(self) -> SearchSpace:
        """Return the dimensions of the search, and those of the family's library.

        Raises:
            ConfigError: a dimension is of another family, or this library lacks it.
        """
        space = self.asked.space
        dimensions: dict[str, TuneDimension | None] = {}
        for name, value in space:
            field = type(space).model_fields[name]
            if name in ("surrogate", "local_search"):
                dimensions |= {f"{name}.{inner}": dimension for inner, dimension in value}
            elif name in SearchSettings.model_fields:
                dimensions[name] = value
            elif name not in (self.family.name, *self.family.tuned_fields) and (
                value != field.get_default(call_default_factory=True)
            ):
                raise ConfigError(
                    f"tune.space.{name} is of another library, but this study tunes the "
                    f"{self.family.name}'s"
                )
        dimensions |= self.family.dimensions(self.config, space)
        if not self.family.picks_sets:
            dimensions = {name: dimensions[name] for name in dimensions if name not in _OF_SETS}
        searched = {
            name: _searched(dimension)
            for name, dimension in dimensions.items()
            if dimension is not None
        }
        if not searched:
            raise ConfigError("tune.space leaves every dimension out", remedy="leave one in")
        return SearchSpace(searched, self.family.search_settings(self.config))

    def best_config(self, library: Params, settings: SearchSettings) -> RunConfig:
        """Return the configuration with a trial's library and search; the rest is the run's own.

        A budget of evaluations becomes the search's. A run has no budget of joules: its search
        ends as the run's own does.
        """
        config, own = self.config, self.family.own_search
        section = settings.model_dump()
        if self.asked.budget.evaluations is not None:
            lasting = self.asked.budget.settings(settings)
            section = lasting.replaced(finalists=settings.finalists).model_dump()
        overrides: dict[str, Any] = {"name": f"{config.name[:58]}-tuned", "tune": None}
        if own is None:
            # the other families keep the search that they had
            for other in config.searched_families():
                if other.own_search is not None:
                    overrides[other.own_search] = other.search_settings(config).model_dump()
        overrides[own or "search"] = section
        return self.family.with_library(config, library).with_overrides(overrides, where="tune")

    def best_yaml(self, library: Params, settings: SearchSettings, trial: int) -> str:
        """Return the tuned configuration as a file for `clso run`, with a comment on its origin."""
        budget = self.asked.budget
        spent = (
            f"{budget.evaluations} evaluations"
            if budget.evaluations is not None
            else f"{budget.energy_j:g} joules, which a run does not know: "
            "it ends as the untuned one"
        )
        values = self.best_config(library, settings).model_dump(mode="json", exclude={"tune"})
        return (
            f"# Purpose: the settings that the study {self.config.name!r} found best (trial "
            f"{trial}), tuned at\n"
            f"#          {spent}.\n"
            "# Time:    as the configuration that was tuned.\n"
            "# Command: clso run best.yaml\n"
            + yaml.safe_dump(values, sort_keys=False, default_flow_style=None, width=96)
        )


def _searched(dimension: TuneDimension) -> Range | Choices:
    if dimension.choices is not None:
        return Choices(dimension.choices)
    assert dimension.low is not None
    assert dimension.high is not None
    return Range(dimension.low, dimension.high, dimension.log)


class TunedProblems:
    """Makes the problem of a trial's library; nothing is fitted again.

    Trials with the same library share its evaluations. The family's foundations must be finished.
    """

    def __init__(self, experiment: Experiment, family: AnyFamily) -> None:
        variant = family.variants(experiment)
        known: Any = {}
        # a few libraries at a time: each holds its columns or matrices
        self._made = lru_cache(maxsize=4)(lambda library: Halves(*variant(dict(library)), known))

    def __call__(self, library: Mapping[str, Any]) -> Halves:
        """Return the problem on both halves of the validation blocks."""
        return self._made(tuple(sorted(library.items())))
