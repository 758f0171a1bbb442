"""The dimensions of a study, as Optuna's users know them: named, some under a condition.

A dimension is named as in the configuration, below `search`: `population`, `surrogate.start`. All
other names (`mixture.slots`) are of the library, and go to the function that makes the problem.
Conditions follow Optuna's define-by-run: a trial without a surrogate has no `surrogate.start`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any, cast

from optuna.trial import BaseTrial

from clso.errors import ConfigError
from clso.section import Section
from search.settings import SearchSettings

__all__ = ["Choices", "Dimension", "Params", "Range", "Scalar", "SearchSpace"]

Scalar = bool | int | float | str
Params = dict[str, Scalar]


@dataclass(frozen=True, slots=True)
class Range:
    """All values from `low` to `high`, both included; integers if both are integers.

    Raises:
        ConfigError: the range is empty, or a logarithmic one does not begin above 0.
    """

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        if self.low > self.high or (self.log and self.low <= 0):
            raise ConfigError(f"{self} is empty", remedy="correct its ends")

    def __contains__(self, value: object) -> bool:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and self.low <= float(value) <= self.high  # type: ignore[arg-type]

    @property
    def fixed(self) -> Scalar | None:
        """The only value; `None` if there are several."""
        return self.low if self.low == self.high else None

    @property
    def bounds(self) -> tuple[float, float]:
        """The least and the greatest value."""
        return self.low, self.high

    def suggest(self, trial: BaseTrial, name: str) -> Scalar:
        """Let a trial pick a value."""
        if isinstance(self.low, int) and isinstance(self.high, int):
            return trial.suggest_int(name, self.low, self.high, log=self.log)
        return trial.suggest_float(name, self.low, self.high, log=self.log)

    def to_json(self) -> dict[str, Any]:
        """Return the dimension as a JSON value."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Choices:
    """A list of values.

    Raises:
        ConfigError: the list is empty.
    """

    values: tuple[Scalar, ...]

    def __post_init__(self) -> None:
        if not self.values:
            raise ConfigError("a dimension has no values to choose from", remedy="give one")

    def __contains__(self, value: object) -> bool:
        return any(type(value) is type(choice) and value == choice for choice in self.values)

    @property
    def fixed(self) -> Scalar | None:
        """The only value; `None` if there are several."""
        return self.values[0] if len(self.values) == 1 else None

    @property
    def bounds(self) -> tuple[float, float]:
        """The least and the greatest value, of numbers."""
        numbers = [float(value) for value in self.values]
        return min(numbers), max(numbers)

    def suggest(self, trial: BaseTrial, name: str) -> Scalar:
        """Let a trial pick a value."""
        return cast(Scalar, trial.suggest_categorical(name, self.values))

    def to_json(self) -> dict[str, Any]:
        """Return the dimension as a JSON value."""
        return {"values": list(self.values)}


Dimension = Range | Choices

# other dimensions apply or not by the values of these
_CONDITIONS = ("surrogate.kind", "local_search.enabled")


@dataclass(frozen=True)
class SearchSpace:
    """All dimensions of a study, and the search that gives the values of all other settings.

    Attributes:
        dimensions: by name, in the order in which a trial picks them.
        base: the run's own search.

    Raises:
        ConfigError: a dimension that no search has, or values that contradict each other.
    """

    dimensions: Mapping[str, Dimension]
    base: SearchSettings

    def __post_init__(self) -> None:
        known = set(self.own)
        unknown = [name for name in self.dimensions if name not in known and not _of_library(name)]
        if unknown:
            raise ConfigError(
                f"there is no hyperparameter {unknown[0]!r} to tune",
                remedy="there are " + ", ".join(sorted(known)),
            )
        smallest, largest = self._bounds("population")
        for name, limit in (("elites", smallest - 1), ("tournament_size", smallest)):
            greatest = self._bounds(name)[1]
            if greatest > limit:
                raise ConfigError(
                    f"{name} may be {greatest:g} where population may be {smallest:g}, "
                    f"expected at most {limit:g}",
                    remedy=f"raise tune.space.population's least value, or narrow {name}",
                )
        rule = self.base.adaptive_population
        if rule.enabled and (smallest < rule.min or largest > rule.max):
            raise ConfigError(
                f"population may be {smallest:g} to {largest:g}, and adaptive_population keeps it "
                f"between {rule.min} and {rule.max}",
                remedy="narrow tune.space.population, or widen adaptive_population's bounds",
            )

    @property
    def own(self) -> Params:
        """The values of the run's own search, by their names."""
        flat: dict[str, Any] = {}
        for name, value in self.base:
            if name in ("surrogate", "local_search"):
                flat |= {f"{name}.{key}": inner for key, inner in value}
            elif not isinstance(value, Section):
                flat[name] = value
        return flat

    @property
    def largest_population(self) -> int:
        """The largest population that a trial may pick."""
        return int(self._bounds("population")[1])

    @property
    def unconditional(self) -> frozenset[str]:
        """The names of the dimensions that every trial has."""
        kinds, enabled = (self._picked(name) for name in _CONDITIONS)
        cases = [dict(zip(_CONDITIONS, case, strict=True)) for case in product(kinds, enabled)]
        return frozenset(
            name for name in self.dimensions if all(self._applies(name, case) for case in cases)
        )

    def _picked(self, name: str) -> tuple[Scalar, ...]:
        """Return the values that a trial may have."""
        dimension = self.dimensions.get(name)
        return dimension.values if isinstance(dimension, Choices) else (self.own[name],)

    def suggest(self, trial: BaseTrial) -> Params:
        """Let a trial pick the value of every dimension whose condition holds."""
        return self._values(lambda name, dimension: dimension.suggest(trial, name))

    def completed(self, picked: Mapping[str, Scalar]) -> Params:
        """Return the values that a trial has picked, with the fixed values among them.

        Optuna does not know fixed values.
        """
        return self._values(lambda name, _: picked.get(name))

    def own_values(self, library: Mapping[str, Scalar]) -> Params:
        """Return the run's own values that lie in the space, for the first trial.

        `library` has those of the library's dimensions.
        """
        own = {**self.own, **library}
        return {
            name: own[name]
            for name, dimension in self.dimensions.items()
            if dimension.fixed is None and own.get(name) in dimension and self._applies(name, own)
        }

    def settings(self, params: Mapping[str, Scalar]) -> SearchSettings:
        """Return the run's own search with the values of a trial."""
        fields: dict[str, Any] = self.base.model_dump()
        for name in params:
            if not _of_library(name):
                section, _, field = name.rpartition(".")
                (fields[section] if section else fields)[field] = params[name]
        return SearchSettings(**fields)

    def settings_of(self, trial: BaseTrial) -> SearchSettings:
        """Return the search of a trial; a running trial picks its values, an ended one has them."""
        return self.settings(self.suggest(trial))

    def library(self, params: Mapping[str, Scalar]) -> Params:
        """Return the values of the library's dimensions alone."""
        return {name: value for name, value in params.items() if _of_library(name)}

    def to_json(self) -> dict[str, Any]:
        """Return the space as a JSON value; a study continues only with an equal one."""
        return {
            "dimensions": {
                name: dimension.to_json() for name, dimension in self.dimensions.items()
            },
            "base": self.base.model_dump(mode="json"),
        }

    def _values(self, pick: Callable[[str, Dimension], Scalar | None]) -> Params:
        """Return the fixed and the picked values of all dimensions whose conditions hold."""
        params: Params = {}
        for name, dimension in self.dimensions.items():
            if self._applies(name, params):
                value = pick(name, dimension) if dimension.fixed is None else dimension.fixed
                if value is not None:
                    params[name] = value
        return params

    def _bounds(self, name: str) -> tuple[float, float]:
        """Return the least and the greatest value that a numeric setting may have."""
        dimension = self.dimensions.get(name)
        return (float(self.own[name]),) * 2 if dimension is None else dimension.bounds

    def _applies(self, name: str, params: Mapping[str, Scalar]) -> bool:
        """Return whether the condition of a dimension holds, given the values before it."""
        if name.startswith("surrogate.") and name != "surrogate.kind":
            kind = params.get("surrogate.kind", self.base.surrogate.kind)
            return kind != "none" and (kind, name) != ("mlp", "surrogate.features")
        if name.startswith("local_search.") and name != "local_search.enabled":
            return bool(params.get("local_search.enabled", self.base.local_search.enabled))
        return True


def _of_library(name: str) -> bool:
    section, dot, _ = name.partition(".")
    return bool(dot) and section not in SearchSettings.model_fields
