r"""What NSGA-II is made of, by DEAP: sorting by dominance, crowded selection, hypervolume.

Notation: a *point* is a genome's values of m objectives, all to be minimised and finite. A point
dominates another if it is nowhere worse and somewhere better. Rank 0 are the points that none
dominates, rank r those that only points of lower ranks do. The crowding of a point is how far its
neighbours of the same rank lie apart, summed over the objectives, infinite at the ends.

Source: Deb, Pratap, Agarwal and Meyarivan 2002, sections III.A to III.C.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from deap import base, tools
from deap.benchmarks.tools import hypervolume as deap_hypervolume

__all__ = ["Point", "crowded_order", "front", "hypervolume"]

Point = tuple[float, ...]


class _Fitness(base.Fitness):  # type: ignore[misc]  # DEAP has no types
    def __init__(self, point: Point) -> None:
        self.weights = (-1.0,) * len(point)  # by instance: as many objectives as there are
        super().__init__(point)


class _Placed:
    """What DEAP sorts: a fitness, and where its point stood."""

    def __init__(self, index: int, point: Point) -> None:
        self.index = index
        self.fitness = _Fitness(point)


def _placed(points: Sequence[Point]) -> list[_Placed]:
    if len({len(point) for point in points}) > 1:
        raise ValueError("points differ in the number of their objectives")
    if not all(math.isfinite(value) for point in points for value in point):
        raise ValueError("a point has a value that is not finite")
    return [_Placed(index, point) for index, point in enumerate(points)]


def front(points: Sequence[Point]) -> list[int]:
    """Return the indices of the points that no other dominates, ascending; equal ones all stay."""
    if not points:
        return []
    (members,) = tools.sortNondominated(_placed(points), len(points), first_front_only=True)
    return sorted(member.index for member in members)


def crowded_order(points: Sequence[Point], count: int) -> list[int]:
    """Return the indices of the `count` best points, best first: by rank, then by crowding.

    A tournament among places in this order is the crowded comparison. Equal points follow each
    other as they came.
    """
    chosen: list[_Placed] = []
    placed = _placed(points)
    for members in tools.sortNondominated(placed, min(count, len(placed))):
        # which points are crowded must not depend on the order in which dominance was found
        members.sort(key=lambda member: member.index)
        chosen += tools.selNSGA2(members, len(members))
        # one whole rank at a time: selNSGA2 orders only the last rank that it selects from
    del chosen[count:]
    return [member.index for member in chosen]


def hypervolume(points: Iterable[Point], best: Point, worst: Point) -> float:
    """Return how much of the objectives' space is dominated by some point, up to `worst`.

    The unit is the box from `best` to `worst`, so that no objective outweighs another; an
    objective in which the two are equal counts by its own unit. What lies beyond `worst` counts
    for nothing, points below `best` may make it more than 1.

    Source: Zitzler and Thiele 1998.
    """
    spans = [high - low or 1.0 for low, high in zip(best, worst, strict=True)]
    scaled = [
        tuple((value - low) / span for value, low, span in zip(point, best, spans, strict=True))
        for point in points
    ]
    corner = [(high - low) / span for low, high, span in zip(best, worst, spans, strict=True)]
    inside = [
        point
        for point in scaled
        if all(value < end for value, end in zip(point, corner, strict=True))
    ]
    return float(deap_hypervolume(_placed(inside), ref=corner)) if inside else 0.0
