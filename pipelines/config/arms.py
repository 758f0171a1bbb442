"""The sections `ablate` and `savings`, and their arms.

An *arm* is the run's configuration with some values replaced; its overrides map dotted paths to
values, `{gpt.library.size: 32}`. Arms are made before any work.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from clso.errors import ConfigError
from clso.section import Count, Section
from pipelines.families import FAMILIES, FamilyName
from search.settings import METHODS

if TYPE_CHECKING:
    from pipelines.config.run import RunConfig

__all__ = [
    "AblateSettings",
    "Arm",
    "SavingsSettings",
    "ablation_arms",
    "savings_arms",
    "without_studies",
]

Seeds = Annotated[int, Field(ge=2, le=10_000)]
Overrides = dict[str, Any]


def _names(value: object) -> object:
    """Convert numbers to names, and refuse truth values, which YAML makes of `on` and `no`."""
    if not isinstance(value, dict):
        return value
    for name in value:
        if isinstance(name, bool):
            raise ValueError(
                f"a name is read as {str(name).lower()}; quote it, such as 'on' or 'off'"
            )
    named = {str(name): inner for name, inner in value.items()}
    if len(named) < len(value):
        raise ValueError("two entries have the same name")
    return named


def _name(value: object) -> object:
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


Named = BeforeValidator(_names)


class _FactorSettings(Section):
    """One thing that varies, in named levels.

    Attributes:
        base: the level that the others are compared with.
        levels: overrides by name; a level without overrides is the unchanged configuration.
        family: the only family that has the factor; `None`: all have it.
    """

    base: Annotated[str, BeforeValidator(_name)]
    levels: Annotated[dict[str, Overrides], Named, Field(min_length=2)]
    family: FamilyName | None = None

    @model_validator(mode="after")
    def _base_is_a_level(self) -> _FactorSettings:
        if self.base not in self.levels:
            raise ValueError(
                f"base is {self.base!r}, expected one of the levels {', '.join(self.levels)}"
            )
        return self


class AblateSettings(Section):
    """A grid of searches around a base: `clso ablate`.

    Attributes:
        evaluations: budget of each search; a search with `search.patience` may end before.
        seeds: searches of each arm, from the run's own seed upwards.
        design: `one_at_a_time`: each factor varies while the others stay at their base;
            `product`: every combination of levels.
        factors: by name, in the order of the tables.
    """

    evaluations: Count
    seeds: Seeds = 5
    design: Literal["one_at_a_time", "product"] = "one_at_a_time"
    factors: Annotated[dict[str, _FactorSettings], Named, Field(min_length=1)]


# Sections that decide on the number and fidelity of evaluations. Operators are not among them, so
# that a better mutation rate does not count as the merit of a surrogate.
_SPARING = ("surrogate", "fidelity", "adaptive_population")
# The one exception: mutation alone, a rate of 0, is a way to search of its own, which the
# literature compares with others (Real et al. 2019, Regularized evolution).
_OPERATOR = "crossover_rate"
_NOT_OVERRIDES = ("family", "method")
_COMPARED = ("gaussian_process", "ridge", "random_forest", "mlp")


class SavingsSettings(Section):
    """Searches that differ in their way to save evaluations: `clso savings`.

    Attributes:
        evaluations: budget of each search.
        seeds: searches of each arm, from the run's own seed upwards.
        reference: the arm whose median loss at its budget is the target.
        beyond_target: whether searches use their whole budget. Otherwise they end at the lowest
            loss of the reference's searches, which is enough for the count. With it, the final
            losses are compared too.
        arms: by name; paths begin at the search's section, `surrogate.kind`. Only the family that
            an arm names as `family` has the arm. An arm with a `method` (`search.methods`) is
            searched by it; the others by the genetic algorithm.
    """

    evaluations: Count = 300
    seeds: Seeds = 10
    reference: str = "unfiltered"
    beyond_target: bool = False
    arms: Annotated[dict[str, Overrides], Named, Field(min_length=2)] = Field(
        default={
            "unfiltered": {"surrogate.kind": "none"},
            **{kind: {"surrogate.kind": kind} for kind in _COMPARED},
        }
    )

    @model_validator(mode="after")
    def _arms_differ_only_in_saving(self) -> SavingsSettings:
        if self.reference not in self.arms:
            raise ValueError(
                f"reference is {self.reference!r}, expected one of the arms {', '.join(self.arms)}"
            )
        for arm, overrides in self.arms.items():
            family = overrides.get("family")
            if family is not None and family not in FAMILIES.names():
                known = " or ".join(FAMILIES.names())
                raise ValueError(f"arm {arm!r} has family {family!r}, expected {known}")
            if family is not None and arm == self.reference:
                raise ValueError(
                    f"arm {arm!r} is the reference, of every family; drop its `family`"
                )
            for path in overrides:
                allowed = path in _NOT_OVERRIDES or path == _OPERATOR
                if not allowed and path.split(".")[0] not in _SPARING:
                    raise ValueError(
                        f"arm {arm!r} sets {path!r}, but only "
                        f"{', '.join(f'{section}.*' for section in _SPARING)} and {_OPERATOR} may "
                        "differ here; `ablate` compares the rest"
                    )
            self._check_method(arm, overrides)
        return self

    def _check_method(self, arm: str, overrides: Overrides) -> None:
        if "method" not in overrides:
            return
        if overrides["method"] not in METHODS:
            known = " or ".join(METHODS)
            raise ValueError(
                f"arm {arm!r} has method {overrides['method']!r}, expected {known}; without "
                "`method` the genetic algorithm searches"
            )
        if arm == self.reference:
            raise ValueError(
                f"arm {arm!r} is the reference, which the genetic algorithm searches; drop its "
                "`method`"
            )
        for path in overrides:
            if path not in _NOT_OVERRIDES and path.split(".")[0] != "surrogate":
                raise ValueError(
                    f"arm {arm!r} sets {path!r}, but its method {overrides['method']} ignores the "
                    "settings of the genetic algorithm; only surrogate.* may stand beside `method`"
                )


_JOINT = " + "


@dataclass(frozen=True)
class Arm:
    """A named configuration of one family's search.

    Attributes:
        name: unique in the study.
        config: the run's, with the arm's overrides and without the sections of the studies.
        factor: names of the factors that differ from the base, joined by `+`; `None`: no factor.
        level: the levels of these factors, joined by `+`.
        method: what searches in place of the genetic algorithm, of `search.methods`.
    """

    name: str
    config: RunConfig
    factor: str | None = None
    level: str | None = None
    method: str | None = None


def ablation_arms(config: RunConfig, family: str) -> list[Arm]:
    """Return the base, then every other arm of the section `ablate`.

    Raises:
        ConfigError: there is no such section, the family has no factor, or an override has an
            unknown path or a wrong value.
    """
    grid = config.ablate
    if grid is None:
        raise ConfigError(
            "the configuration has no section `ablate`, which says what is varied",
            remedy="see configs/ablate.yaml",
        )
    factors = {
        name: factor for name, factor in grid.factors.items() if factor.family in (None, family)
    }
    if not factors:
        raise ConfigError(
            f"no factor of ablate.factors concerns the family {family}",
            remedy="name another with --family, or add a factor",
        )
    base = {name: factor.base for name, factor in factors.items()}
    if grid.design == "product":
        chosen = [
            dict(zip(factors, levels, strict=True))
            for levels in product(*(factor.levels for factor in factors.values()))
        ]
    else:
        chosen = [
            {**base, name: level} for name, factor in factors.items() for level in factor.levels
        ]
    arms = []
    for levels in [base, *(levels for levels in chosen if levels != base)]:
        changed = [name for name in factors if levels[name] != base[name]]
        arm = without_studies(config)
        for name, level in levels.items():
            where = f"ablate.factors.{name}.levels.{level}"
            arm = arm.with_overrides(factors[name].levels[level], where=where)
        arms.append(
            Arm(
                name=", ".join(f"{name}={levels[name]}" for name in changed) or "base",
                config=arm,
                factor=_JOINT.join(changed) or None,
                level=_JOINT.join(levels[name] for name in changed) or None,
            )
        )
    return arms


def savings_arms(config: RunConfig, family: str) -> list[Arm]:
    """Return the reference, then every other arm of the section `savings`.

    Raises:
        ConfigError: an override has an unknown path or a wrong value.
    """
    savings = config.savings or SavingsSettings()
    section = FAMILIES.get(family).search_path(config)
    arms = {savings.reference: savings.arms[savings.reference], **savings.arms}
    return [
        Arm(
            name,
            without_studies(config).with_overrides(
                {
                    f"{section}.{path}": value
                    for path, value in arm.items()
                    if path not in _NOT_OVERRIDES
                },
                where=f"savings.arms.{name}",
            ),
            method=arm.get("method"),
        )
        for name, arm in arms.items()
        if arm.get("family") in (None, family)
    ]


def without_studies(config: RunConfig) -> RunConfig:
    """Return a configuration without the sections of studies of arms and texts."""
    return config.model_copy(update={"ablate": None, "savings": None, "texts": None})
