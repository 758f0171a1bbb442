"""From a configuration to what is tuned of it, and from a trial back to a configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

import yaml

from clso.data import Dataset
from clso.errors import ConfigError
from clso.mixture.evaluator import Scored
from clso.mixture.grid import function_names
from pipelines.config import RunConfig
from pipelines.config.tune import TuneDimension, TuneSettings
from pipelines.context import RunContext
from pipelines.stages.functions import scored
from pipelines.stages.halves import gpt_halves, mixture_halves
from pipelines.stages.problems import Family, search_settings
from pipelines.stages.shared import generate_library, open_library
from search.settings import SearchSettings
from search.tuning import Choices, Params, Range, SearchSpace
from search.validated import Budget, Halves

__all__ = ["TunedProblems", "own_library", "search_space", "tuned_config", "tuned_yaml"]

_SLOTS = "mixture.slots"
_GROUP = "mixture.library."
_SHARE = "gpt.library."
# without slots that pick a set they change nothing
_OF_SETS = ("surrogate.features", "surrogate.distinct_steps")


def search_space(config: RunConfig, tune: TuneSettings, family: Family) -> SearchSpace:
    """Return the dimensions of a family's search, and those of its library.

    Raises:
        ConfigError: a dimension of the other family's library, or that this library lacks.
    """
    found: dict[str, Range | Choices] = {}
    space = tune.space
    for name in type(space).model_fields:
        section = getattr(space, name)
        if name in ("surrogate", "local_search"):
            for inner in type(section).model_fields:
                _add(found, f"{name}.{inner}", getattr(section, inner))
        elif name not in ("slots", "groups", "shares"):
            _add(found, name, section)
    _add(found, _SLOTS, space.slots)
    found |= {_GROUP + group: Choices((True, False)) for group in space.groups}
    for name, share in space.shares.items():
        _add(found, _SHARE + name, share)
    _check_library(config, family, [name for name in found if name.startswith((_GROUP, _SHARE))])
    if family == "gpt" and _SLOTS in found:
        raise ConfigError("tune.space.slots is the mixture's, and this study tunes the gpt's")
    if family == "gpt":
        for name in _OF_SETS:
            found.pop(name, None)
    if not found:
        raise ConfigError("tune.space leaves every dimension out", remedy="leave one in")
    return SearchSpace(found, search_settings(config, family))


def _add(found: dict[str, Range | Choices], name: str, dimension: TuneDimension | None) -> None:
    if dimension is None:
        return
    if dimension.choices is not None:
        found[name] = Choices(dimension.choices)
    else:
        assert dimension.low is not None
        assert dimension.high is not None
        found[name] = Range(dimension.low, dimension.high, dimension.log)


def _check_library(config: RunConfig, family: Family, names: list[str]) -> None:
    for name in names:
        key, ours = name.rpartition(".")[2], own_library(config)
        if name.startswith(_GROUP) != (family == "mixture"):
            other = "groups" if name.startswith(_GROUP) else "shares"
            raise ConfigError(f"tune.space.{other} has {key}, but this study tunes the {family}'s")
        if not ours.get(name):
            raise ConfigError(
                f"tune.space has {name}, but there is none in this library",
                remedy="leave it out, or one of "
                + ", ".join(own for own in ours if own.startswith((_GROUP, _SHARE)) and ours[own]),
            )
    if names and family == "gpt" and config.gpt.spectral.enabled:
        raise ConfigError(
            "tune.space.shares asks for another library in every trial, and with gpt.spectral "
            "each would have to be fitted to the data",
            remedy="leave the shares out, or set gpt.spectral.enabled to false",
        )


def own_library(config: RunConfig) -> Params:
    """Return the run's own values of all dimensions that a library may have."""
    grid = config.mixture.library.model_dump()
    groups = ("patterns", "class_patterns", "cache_half_lives", "gated_maps")
    return {
        _SLOTS: config.mixture.slots,
        **{_GROUP + name: bool(grid[name]) for name in (*groups, "induction_lengths", "functions")},
        **{_SHARE + family.family: family.share for family in config.gpt.library.families},
    }


def _with_library(config: RunConfig, params: Mapping[str, Any]) -> RunConfig:
    values = config.model_dump()
    for name, value in params.items():
        key = name.rpartition(".")[2]
        if name == _SLOTS:
            values["mixture"]["slots"] = value
        elif name.startswith(_SHARE):
            for family in values["gpt"]["library"]["families"]:
                if family["family"] == key:
                    family["share"] = value
        elif name.startswith(_GROUP) and not value:
            values["mixture"]["library"][key] = ()
    return RunConfig.model_validate(values)


class TunedProblems:
    """Makes the problem for a trial's values of the library; nothing is fitted again.

    A mixture with fewer groups of functions picks from fewer of the columns that are there. The
    matrices of a crystalline GPT are drawn again in other shares, which takes a fraction of a
    second. Evaluations are shared by all trials whose library is the same.

    Args:
        context: of the study; data set and library, or functions, must be there.
        dataset: its data set.
        family: whose search is tuned.
    """

    def __init__(self, context: RunContext, dataset: Dataset, family: Family) -> None:
        self._context = context
        self._dataset = dataset
        self._columns = scored(context, dataset) if family == "mixture" else {}
        self._known: Any = {}
        make = self._mixture if family == "mixture" else self._gpt
        # some libraries at a time: each holds its columns or matrices
        self._made = lru_cache(maxsize=4)(lambda library: make(dict(library)))

    def __call__(self, library: Mapping[str, Any]) -> Halves:
        """Return the problem on both halves of the validation blocks."""
        return self._made(tuple(sorted(library.items())))

    def _mixture(self, library: Params) -> Halves:
        context = self._with(library)
        names = function_names(context.config.mixture.library.model_dump())
        columns = {
            split: Scored(found.columns.chosen(names), found.history)
            for split, found in self._columns.items()
        }
        return Halves(*mixture_halves(context, self._dataset, columns), self._known)

    def _gpt(self, library: Params) -> Halves:
        context = self._with(library)
        matrices = (
            generate_library(context, ("train", "tune")) if library else open_library(context)
        )
        return Halves(*gpt_halves(context, self._dataset, matrices), self._known)

    def _with(self, library: Params) -> RunContext:
        return replace(self._context, config=_with_library(self._context.config, library))


def tuned_config(
    config: RunConfig,
    family: Family,
    library: Params,
    settings: SearchSettings,
    budget: Budget,
) -> RunConfig:
    """Return the configuration with a trial's library and search; the rest is the run's own.

    A budget of evaluations becomes the search's. One of joules has no place in a run, whose search
    ends as the run's own does.
    """
    values = _with_library(config, library).model_dump()
    section = settings.model_dump()
    if budget.evaluations is not None:
        section = budget.settings(settings).replaced(finalists=settings.finalists).model_dump()
    if family == "mixture":
        values["mixture"]["search"] = section
    else:
        # a mixture without a search of its own goes on with the one that it had
        values["mixture"]["search"] = values["mixture"]["search"] or values["search"]
        values["search"] = section
    values |= {"name": f"{config.name[:58]}-tuned", "tune": None}
    return RunConfig.model_validate(values)


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
