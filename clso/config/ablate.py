"""The sections `ablate` and `savings`: which searches are held against each other.

An *arm* is the run's configuration with some values replaced; its overrides map dotted paths to
values, `{gpt.library.size: 32}`. What becomes of them stands in `clso.config.arms`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from clso.config.section import Count, Section

__all__ = ["AblateConfig", "FactorConfig", "SavingsConfig"]

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


class FactorConfig(Section):
    """One thing that varies, in named levels.

    Attributes:
        base: the level that the others are held against.
        levels: overrides by name; an empty level is the configuration as it stands.
        family: the search that it concerns; `None`: each.
    """

    base: Annotated[str, BeforeValidator(lambda value: _plain(value))]
    levels: Annotated[dict[str, Overrides], Named, Field(min_length=2)]
    family: Literal["gpt", "mixture"] | None = None

    @model_validator(mode="after")
    def _base_is_a_level(self) -> FactorConfig:
        if self.base not in self.levels:
            raise ValueError(
                f"base is {self.base!r}, expected one of the levels {', '.join(self.levels)}"
            )
        return self


def _plain(value: object) -> object:
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


class AblateConfig(Section):
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
    factors: Annotated[dict[str, FactorConfig], Named, Field(min_length=1)]


# What decides how often and how wholly a search evaluates; the operators are not among it, so that
# a surrogate is not praised for a better mutation rate.
_SPARING = ("surrogate", "fidelity", "adaptive_population")


class SavingsConfig(Section):
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
    def _one_search_apart_from_what_spares(self) -> SavingsConfig:
        if self.reference not in self.arms:
            raise ValueError(
                f"reference is {self.reference!r}, expected one of the arms {', '.join(self.arms)}"
            )
        for arm, overrides in self.arms.items():
            family = overrides.get("family")
            if family not in (None, "gpt", "mixture"):
                raise ValueError(f"arm {arm!r} has family {family!r}, expected gpt or mixture")
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
