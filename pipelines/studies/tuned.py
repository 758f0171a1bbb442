"""From a configuration to what is tuned of it, and from a trial back to a configuration."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import yaml

from clso.errors import ConfigError
from pipelines.config import RunConfig
from pipelines.config.tune import TuneDimension, TuneSettings
from pipelines.experiment import Experiment
from pipelines.families import AnyFamily
from pipelines.stages import families_of
from search.settings import Budget, SearchSettings
from search.tuning import Choices, Params, Range, SearchSpace
from search.validated import Halves

__all__ = ["TunedProblems", "search_space", "tuned_config", "tuned_yaml"]

_OF_LIBRARIES = ("slots", "groups", "shares")
# without slots that pick a set they change nothing
_OF_SETS = ("surrogate.features", "surrogate.distinct_steps")


def search_space(config: RunConfig, tune: TuneSettings, family: AnyFamily) -> SearchSpace:
    """Return the dimensions of a family's search, and those of its library.

    Raises:
        ConfigError: a dimension of another family's library, or that this library lacks.
    """
    dimensions: dict[str, Range | Choices] = {}
    space = tune.space
    for name in _OF_LIBRARIES:
        if getattr(space, name) and name not in family.tuned_fields:
            raise ConfigError(
                f"tune.space.{name} is of another library, but this study tunes the {family.name}'s"
            )
    for name in type(space).model_fields:
        section = getattr(space, name)
        if name in ("surrogate", "local_search"):
            for inner in type(section).model_fields:
                _add(dimensions, f"{name}.{inner}", getattr(section, inner))
        elif name not in _OF_LIBRARIES:
            _add(dimensions, name, section)
    for name, dimension in family.dimensions(config, space).items():
        _add(dimensions, name, dimension)
    if not family.picks_sets:
        for name in _OF_SETS:
            dimensions.pop(name, None)
    if not dimensions:
        raise ConfigError("tune.space leaves every dimension out", remedy="leave one in")
    return SearchSpace(dimensions, family.search_settings(config))


def _add(found: dict[str, Range | Choices], name: str, dimension: TuneDimension | None) -> None:
    if dimension is None:
        return
    if dimension.choices is not None:
        found[name] = Choices(dimension.choices)
    else:
        assert dimension.low is not None
        assert dimension.high is not None
        found[name] = Range(dimension.low, dimension.high, dimension.log)


class TunedProblems:
    """Makes the problem for a trial's values of the library; nothing is fitted again.

    Evaluations are shared by all trials whose library is the same.

    Args:
        experiment: that is tuned; what the family's problem is built on must be there.
        family: whose search is tuned.
    """

    def __init__(self, experiment: Experiment, family: AnyFamily) -> None:
        variant = family.variants(experiment)
        known: Any = {}
        # some libraries at a time: each holds its columns or matrices
        self._made = lru_cache(maxsize=4)(lambda library: Halves(*variant(dict(library)), known))

    def __call__(self, library: Mapping[str, Any]) -> Halves:
        """Return the problem on both halves of the validation blocks."""
        return self._made(tuple(sorted(library.items())))


def tuned_config(
    config: RunConfig,
    family: AnyFamily,
    library: Params,
    settings: SearchSettings,
    budget: Budget,
) -> RunConfig:
    """Return the configuration with a trial's library and search; the rest is the run's own.

    A budget of evaluations becomes the search's. One of joules has no place in a run, whose search
    ends as the run's own does.
    """
    section = settings.model_dump()
    if budget.evaluations is not None:
        section = budget.settings(settings).replaced(finalists=settings.finalists).model_dump()
    overrides: dict[str, Any] = {"name": f"{config.name[:58]}-tuned", "tune": None}
    if family.own_search is None:
        # a family without a search of its own goes on with the one that it had
        for other in families_of(config):
            if other.own_search is not None:
                overrides[other.own_search] = other.search_settings(config).model_dump()
    overrides[family.own_search or "search"] = section
    return family.with_library(config, library).with_overrides(overrides, where="tune")


def tuned_yaml(config: RunConfig, study: str, trial: int, budget: Budget) -> str:
    """Return a configuration as a file for `clso run`, complete and with its purpose."""
    spent = (
        f"{budget.evaluations} evaluations"
        if budget.evaluations is not None
        else f"{budget.energy_j:g} joules, which a run does not know: it ends as the untuned one"
    )
    values = config.model_dump(mode="json", exclude={"tune"})
    return (
        f"# Purpose: the settings that the study {study!r} found best (trial {trial}), tuned at\n"
        f"#          {spent}.\n"
        "# Time:    as the configuration that was tuned.\n"
        "# Command: clso run best.yaml\n"
        + yaml.safe_dump(values, sort_keys=False, default_flow_style=None, width=96)
    )
