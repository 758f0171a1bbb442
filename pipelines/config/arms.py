"""The sections `ablate` and `savings`, and the arms that follow from them.

An *arm* is the run's configuration with some values replaced; its overrides map dotted paths to
values, `{gpt.library.size: 32}`. Arms are made before any work.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from clso.errors import ConfigError
from clso.section import Count, Section
from pipelines.families import FAMILIES, FamilyName

if TYPE_CHECKING:
    from pipelines.config.run import RunConfig

__all__ = [
    "AblateSettings",
    "Arm",
    "FactorSettings",
    "SavingsSettings",
    "ablation_arms",
    "savings_arms",
]

Seeds = Annotated[int, Field(ge=2, le=10_000)]
Overrides = dict[str, Any]


def _names(value: object) -> object:
    """Take numbers for names, and refuse what YAML reads as a truth value."""
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


Named = BeforeValidator(_names)


class FactorSettings(Section):
    """One thing that varies, in named levels.

    Attributes:
        base: the level that the others are held against.
        levels: overrides by name; an empty level is the configuration as it stands.
        family: the search that it concerns; `None`: each.
    """

    base: Annotated[str, BeforeValidator(lambda value: _plain(value))]
    levels: Annotated[dict[str, Overrides], Named, Field(min_length=2)]
    family: FamilyName | None = None

    @model_validator(mode="after")
    def _base_is_a_level(self) -> FactorSettings:
        if self.base not in self.levels:
            raise ValueError(
                f"base is {self.base!r}, expected one of the levels {', '.join(self.levels)}"
            )
        return self


def _plain(value: object) -> object:
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


class AblateSettings(Section):
    """A grid of searches around a base: `clso ablate`.

    Attributes:
        evaluations: budget of each search; one with `search.patience` may end sooner.
        seeds: searches of each arm, from the run's own seed upwards.
        design: `one_at_a_time`: each factor varies while the others stay at their base;
            `product`: every combination of levels.
        factors: by name, in the order in which they are shown.
    """

    evaluations: Count
    seeds: Seeds = 5
    design: Literal["one_at_a_time", "product"] = "one_at_a_time"
    factors: Annotated[dict[str, FactorSettings], Named, Field(min_length=1)]


# What decides how often and how wholly a search evaluates; the operators are not among it, so that
# a surrogate is not praised for a better mutation rate.
_SPARING = ("surrogate", "fidelity", "adaptive_population")


class SavingsSettings(Section):
    """Searches that differ in how they spare evaluations: `clso savings`.

    Attributes:
        evaluations: budget of each search.
        seeds: searches of each arm, from the run's own seed upwards.
        reference: the arm whose median loss at its budget is the target.
        beyond_target: whether searches go on to their budget once they are at the lowest loss of
            any search of the reference; they need not for the count, and if they do, the losses
            that they end with are compared too.
        arms: by name; paths begin at the search's section, `surrogate.kind`. An arm with a
            `family` concerns that one only.
    """

    evaluations: Count = 300
    seeds: Seeds = 10
    reference: str = "unfiltered"
    beyond_target: bool = False
    arms: Annotated[dict[str, Overrides], Named, Field(min_length=2)] = Field(
        default={
            "unfiltered": {"surrogate.kind": "none"},
            "gaussian_process": {"surrogate.kind": "gaussian_process"},
            "ridge": {"surrogate.kind": "ridge"},
            "random_forest": {"surrogate.kind": "random_forest"},
            "mlp": {"surrogate.kind": "mlp"},
        }
    )

    @model_validator(mode="after")
    def _one_search_apart_from_what_spares(self) -> SavingsSettings:
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
                if path != "family" and path.split(".")[0] not in _SPARING:
                    raise ValueError(
                        f"arm {arm!r} sets {path!r}, but only "
                        f"{', '.join(f'{section}.*' for section in _SPARING)} may differ here; "
                        "`ablate` compares the rest"
                    )
        return self


_JOINT = " + "


@dataclass(frozen=True)
class Arm:
    """A named configuration of one family's search.

    Attributes:
        name: unique in the study.
        config: the run's, with the arm's overrides and without the studies' sections.
        factor: what differs from the base, several joined by `+`; `None`: nothing does.
        level: the levels that it has instead.
    """

    name: str
    config: RunConfig
    factor: str | None = None
    level: str | None = None


def ablation_arms(config: RunConfig, family: str) -> list[Arm]:
    """Return the base, then every other arm of the section `ablate`.

    Raises:
        ConfigError: there is no such section, no factor concerns the family, or an override
            does not exist or is out of its range.
    """
    grid = _grid(config)
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
    for levels in [base, *(one for one in chosen if one != base)]:
        changed = [name for name in factors if levels[name] != base[name]]
        arms.append(
            Arm(
                name=", ".join(f"{name}={levels[name]}" for name in changed) or "base",
                config=_with_levels(config, grid, levels),
                factor=_JOINT.join(changed) or None,
                level=_JOINT.join(levels[name] for name in changed) or None,
            )
        )
    return arms


def savings_arms(config: RunConfig, family: str, section: str = "search") -> list[Arm]:
    """Return the reference, then every other arm of the section `savings`.

    Args:
        config: of the run.
        family: the name of the family that is searched.
        section: dotted path of the section that sets its search.

    Raises:
        ConfigError: an override does not exist or is out of its range.
    """
    savings = config.savings or SavingsSettings()
    chosen = {savings.reference: savings.arms[savings.reference], **savings.arms}
    return [
        Arm(
            name,
            _bare(config).with_overrides(
                {f"{section}.{path}": value for path, value in arm.items() if path != "family"},
                where=f"savings.arms.{name}",
            ),
        )
        for name, arm in chosen.items()
        if arm.get("family") in (None, family)
    ]


def _grid(config: RunConfig) -> AblateSettings:
    if config.ablate is None:
        raise ConfigError(
            "the configuration has no section `ablate`, which says what is varied",
            remedy="see configs/ablate.yaml",
        )
    return config.ablate


def _with_levels(config: RunConfig, grid: AblateSettings, levels: Mapping[str, str]) -> RunConfig:
    arm = _bare(config)
    for name, level in levels.items():
        overrides: dict[str, Any] = grid.factors[name].levels[level]
        arm = arm.with_overrides(overrides, where=f"ablate.factors.{name}.levels.{level}")
    return arm


def _bare(config: RunConfig) -> RunConfig:
    return config.model_copy(update={"ablate": None, "savings": None})
