"""What a search for several things at once can minimise."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from clso.errors import ConfigError
from clso.problem import GenomeCost

__all__ = ["OBJECTIVES", "check_objectives"]

OBJECTIVES: Final[Mapping[str, Callable[[float, GenomeCost], float]]] = {
    "loss": lambda loss, _: loss,
    "stored_bytes": lambda _, cost: float(cost.stored_bytes),
    "flops": lambda _, cost: float(cost.flops_per_token),
}
"""What can be minimised, by name; a value follows from a measured loss and counted costs."""


def check_objectives(names: Sequence[str]) -> tuple[str, ...]:
    """Return the objectives' names if a front can be searched for.

    Raises:
        ConfigError: one is unknown or named twice, there is only one, or the loss is missing.
    """
    known = ", ".join(OBJECTIVES)
    for name in names:
        if name.startswith("energy"):
            raise ConfigError(
                f"{name!r} is no objective: no decision of a search reads a meter",
                remedy=f"choose among {known}; joules of the front's models are measured anyway",
            )
        if name not in OBJECTIVES:
            raise ConfigError(f"{name!r} is no objective", remedy=f"the objectives are {known}")
    if len(set(names)) < len(names):
        raise ConfigError(f"objectives are {', '.join(names)}, expected each once")
    if len(names) < 2:
        raise ConfigError(
            f"a front has two objectives or more, and there is {', '.join(names) or 'none'}",
            remedy=f"name several of {known}; for the loss alone there is `clso search`",
        )
    if "loss" not in names:
        raise ConfigError(
            f"objectives are {', '.join(names)}, expected the loss among them",
            remedy="without it the front is the cheapest model alone, which predicts nothing",
        )
    return tuple(names)
