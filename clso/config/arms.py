"""The arms of a study: a run's configuration with some values replaced, made before any work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

from clso.config.ablate import AblateConfig, SavingsConfig
from clso.config.load import with_overrides
from clso.config.schema import RunConfig
from clso.errors import ConfigError

__all__ = ["Arm", "ablation_arms", "savings_arms"]

Family = Literal["gpt", "mixture"]
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


def ablation_arms(config: RunConfig, family: Family) -> list[Arm]:
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


def savings_arms(config: RunConfig, family: Family) -> list[Arm]:
    """Return the reference, then every other arm of the section `savings`.

    Raises:
        ConfigError: an override does not exist or is out of its range.
    """
    savings = config.savings or SavingsConfig()
    own = family == "mixture" and config.mixture.search is not None
    section = "mixture.search" if own else "search"
    chosen = {savings.reference: savings.arms[savings.reference], **savings.arms}
    return [
        Arm(
            name,
            with_overrides(
                _bare(config),
                {f"{section}.{path}": value for path, value in arm.items() if path != "family"},
                where=f"savings.arms.{name}",
            ),
        )
        for name, arm in chosen.items()
        if arm.get("family") in (None, family)
    ]


def _grid(config: RunConfig) -> AblateConfig:
    if config.ablate is None:
        raise ConfigError(
            "the configuration has no section `ablate`, which says what is varied",
            remedy="see configs/ablate.yaml",
        )
    return config.ablate


def _with_levels(config: RunConfig, grid: AblateConfig, levels: Mapping[str, str]) -> RunConfig:
    arm = _bare(config)
    for name, level in levels.items():
        overrides: dict[str, Any] = grid.factors[name].levels[level]
        arm = with_overrides(arm, overrides, where=f"ablate.factors.{name}.levels.{level}")
    return arm


def _bare(config: RunConfig) -> RunConfig:
    return config.model_copy(update={"ablate": None, "savings": None})
