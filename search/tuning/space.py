"""What may be tuned, as Optuna's users know it: named dimensions, some under a condition.

A dimension is named as in the configuration, below `search`: `population`, `surrogate.start`. What
else there is (`mixture.slots`) belongs to the library and is handed to whoever makes the problem.
The conditions are Optuna's define-by-run ones: a trial that has no surrogate has no
`surrogate.start` either.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
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
    """All values from `low` to `high`, both included; whole numbers where both are.

    Raises:
        ConfigError: there are none, or a range by factors does not begin above 0.
    """

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        if self.low > self.high or (self.log and self.low <= 0):
            raise ConfigError(f"{self} is empty", remedy="correct its ends")

    def __contains__(self, value: object) -> bool:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and self.low <= float(value) <= self.high  # type: ignore[arg-type]

    @property
    def fixed(self) -> Scalar | None:
        """The one value, if there are no others."""
        return self.low if self.low == self.high else None

    def suggest(self, trial: BaseTrial, name: str) -> Scalar:
        """Have a trial pick a value."""
        if isinstance(self.low, int) and isinstance(self.high, int):
            return trial.suggest_int(name, self.low, self.high, log=self.log)
        return trial.suggest_float(name, self.low, self.high, log=self.log)


@dataclass(frozen=True, slots=True)
class Choices:
    """Some values.

    Raises:
        ConfigError: there are none.
    """

    values: tuple[Scalar, ...]

    def __post_init__(self) -> None:
        if not self.values:
            raise ConfigError("a dimension has no values to choose from", remedy="give one")

    def __contains__(self, value: object) -> bool:
        return any(type(value) is type(one) and value == one for one in self.values)

    @property
    def fixed(self) -> Scalar | None:
        """The one value, if there are no others."""
        return self.values[0] if len(self.values) == 1 else None

    def suggest(self, trial: BaseTrial, name: str) -> Scalar:
        """Have a trial pick a value."""
        return cast(Scalar, trial.suggest_categorical(name, self.values))


Dimension = Range | Choices


@dataclass(frozen=True)
class SearchSpace:
    """All dimensions, and the search that has what is in none of them.

    Attributes:
        dimensions: by name, in the order in which they are drawn.
        base: the run's own search.

    Raises:
        ConfigError: a dimension that no search has, or values that contradict each other.
    """

    dimensions: Mapping[str, Dimension]
    base: SearchSettings

    def __post_init__(self) -> None:
        known = set(_flat(self.base))
        unknown = [name for name in self.dimensions if name not in known and not _of_library(name)]
        if unknown:
            raise ConfigError(
                f"there is no hyperparameter {unknown[0]!r} to tune",
                remedy="there are " + ", ".join(sorted(known)),
            )
        smallest, _ = self.bounds("population")
        for name, room in (("elites", smallest - 1), ("tournament_size", smallest)):
            most = self.bounds(name)[1]
            if most > room:
                raise ConfigError(
                    f"{name} may be {most:g} where population may be {smallest:g}, "
                    f"expected at most {room:g}",
                    remedy=f"raise tune.space.population's least value, or narrow {name}",
                )
        sizes, rule = self.bounds("population"), self.base.adaptive_population
        if rule.enabled and (sizes[0] < rule.min or sizes[1] > rule.max):
            raise ConfigError(
                f"population may be {sizes[0]:g} to {sizes[1]:g}, and adaptive_population keeps it "
                f"between {rule.min} and {rule.max}",
                remedy="narrow tune.space.population, or widen adaptive_population's bounds",
            )

    @property
    def own(self) -> Params:
        """The values of the run's own search, by their names."""
        return _flat(self.base)

    def bounds(self, name: str) -> tuple[float, float]:
        """Return the least and the greatest number that a hyperparameter may have."""
        dimension = self.dimensions.get(name)
        if dimension is None:
            own = float(_flat(self.base)[name])
            return own, own
        if isinstance(dimension, Range):
            return dimension.low, dimension.high
        numbers = [float(value) for value in dimension.values]
        return min(numbers), max(numbers)

    def suggest(self, trial: BaseTrial) -> Params:
        """Have a trial pick every value that matters in view of those before."""
        found: Params = {}
        for name, dimension in self.dimensions.items():
            if self._matters(name, found):
                fixed = dimension.fixed
                found[name] = dimension.suggest(trial, name) if fixed is None else fixed
        return found

    def completed(self, picked: Mapping[str, Scalar]) -> Params:
        """Return a trial's values, so far as it has them, with the fixed ones between.

        Optuna does not hear of fixed values.
        """
        found: Params = {}
        for name, dimension in self.dimensions.items():
            if self._matters(name, found):
                value = picked.get(name) if dimension.fixed is None else dimension.fixed
                if value is not None:
                    found[name] = value
        return found

    def own_values(self, library: Mapping[str, Scalar]) -> Params:
        """Return the run's own values where they are in the space, for a trial to begin with.

        Args:
            library: the run's own values of the library's dimensions.
        """
        own = {**self.own, **library}
        return {
            name: own[name]
            for name, dimension in self.dimensions.items()
            if dimension.fixed is None and own.get(name) in dimension and self._matters(name, own)
        }

    def settings(self, params: Mapping[str, Scalar]) -> SearchSettings:
        """Return the run's own search with a trial's values."""
        plain: dict[str, Any] = self.base.model_dump()
        for name in params:
            if not _of_library(name):
                section, _, field = name.rpartition(".")
                (plain[section] if section else plain)[field] = params[name]
        return SearchSettings(**plain)

    def settings_of(self, trial: BaseTrial) -> SearchSettings:
        """Return the search of a trial: one under way, which picks its values, or an ended one."""
        return self.settings(self.suggest(trial))

    def library(self, params: Mapping[str, Scalar]) -> Params:
        """Return the part of a trial's values that is about the library."""
        return {name: value for name, value in params.items() if _of_library(name)}

    def to_json(self) -> dict[str, Any]:
        """Return what a study must agree with to go on, as JSON values."""
        return {
            "dimensions": {name: _plain(one) for name, one in self.dimensions.items()},
            "base": self.base.model_dump(mode="json"),
        }

    def _matters(self, name: str, found: Mapping[str, Scalar]) -> bool:
        if name.startswith("surrogate.") and name != "surrogate.kind":
            kind = found.get("surrogate.kind", self.base.surrogate.kind)
            return kind != "none" and (kind, name) != ("mlp", "surrogate.features")
        if name.startswith("local_search.") and name != "local_search.enabled":
            return bool(found.get("local_search.enabled", self.base.local_search.enabled))
        return True


def _plain(dimension: Dimension) -> dict[str, Any]:
    if isinstance(dimension, Choices):
        return {"values": list(dimension.values)}
    return asdict(dimension)


def _of_library(name: str) -> bool:
    section, dot, _ = name.partition(".")
    return bool(dot) and section not in SearchSettings.model_fields


def _flat(settings: SearchSettings) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in settings:
        if name in ("surrogate", "local_search"):
            flat |= {f"{name}.{key}": inner for key, inner in value}
        elif not isinstance(value, Section):
            flat[name] = value
    return flat
