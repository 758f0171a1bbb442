"""The objectives and the outcome of a search for a Pareto front."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from clso.errors import ConfigError
from clso.genome import Genome
from clso.problem import GenomeCost
from search.result import no_finite_loss
from search.toolbox import Point

__all__ = ["OBJECTIVES", "ParetoMember", "ParetoResult", "ParetoStop", "check_objectives"]

ParetoStop = Literal["generations", "exhausted", "interrupted"]

OBJECTIVES: Final[Mapping[str, Callable[[float, GenomeCost], float]]] = {
    "loss": lambda loss, _: loss,
    "stored_bytes": lambda _, cost: float(cost.stored_bytes),
    "flops": lambda _, cost: float(cost.flops_per_token),
}
"""Each objective as a function of a measured loss and counted costs."""


@dataclass(frozen=True, slots=True)
class ParetoMember:
    """An evaluated genome in canonical form, its measured loss and its counted costs."""

    genome: Genome
    loss: float
    cost: GenomeCost
    on_front: bool


@dataclass(frozen=True, slots=True)
class ParetoResult:
    """The outcome of a search.

    Attributes:
        members: every genome with a loss; the front first, each part by loss.
        objectives: the names of the minimised objectives.
        bounds: best and worst values of the objectives in the first generation with a finite loss,
            the unit of the hypervolume; `None` without a finite loss.
        generations: number of finished generations.
        n_failed: evaluations without a finite loss.
        stop_reason: why there were no more generations.
    """

    members: tuple[ParetoMember, ...]
    objectives: tuple[str, ...]
    bounds: tuple[Point, Point] | None
    generations: int
    n_failed: int
    stop_reason: ParetoStop

    @property
    def front(self) -> tuple[ParetoMember, ...]:
        """The members that no other member dominates, by loss.

        Raises:
            WorkError: no evaluation gave a finite loss.
        """
        if not self.members:
            raise no_finite_loss(self.n_failed)
        return tuple(member for member in self.members if member.on_front)


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
