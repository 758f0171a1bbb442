"""What a search for several things at once hands back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from clso.errors import WorkError
from clso.genome import Genome
from clso.problem import GenomeCost
from search.toolbox import Point

__all__ = ["ParetoMember", "ParetoResult", "ParetoStop"]

ParetoStop = Literal["generations", "exhausted", "interrupted"]


@dataclass(frozen=True, slots=True)
class ParetoMember:
    """An evaluated genome in canonical form, its measured loss and its counted costs."""

    genome: Genome
    loss: float
    cost: GenomeCost
    on_front: bool


@dataclass(frozen=True, slots=True)
class ParetoResult:
    """The outcome.

    Attributes:
        members: every genome with a loss; the front first, each part by loss.
        objectives: what was minimised.
        bounds: the objectives' best and worst values in the first generation with a finite loss,
            between which hypervolume is counted; `None` without any.
        generations: how many were run.
        n_failed: evaluations without a finite loss.
        stop_reason: why no more were.
    """

    members: tuple[ParetoMember, ...]
    objectives: tuple[str, ...]
    bounds: tuple[Point, Point] | None
    generations: int
    n_failed: int
    stop_reason: ParetoStop

    @property
    def front(self) -> tuple[ParetoMember, ...]:
        """The members that no other dominates, by loss.

        Raises:
            WorkError: no evaluation gave a finite loss.
        """
        if not self.members:
            raise WorkError(
                f"none of the {self.n_failed} evaluated genomes has a finite loss",
                remedy="look at what the loss returns; where a crystalline GPT overflows, lower "
                "gpt.library.gain",
            )
        return tuple(member for member in self.members if member.on_front)
