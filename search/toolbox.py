r"""DEAP's operators on genomes, with a random generator of their own, and the sorting of NSGA-II.

No other module imports DEAP. Genomes enter and leave as tuples of int. Inside they are lists,
since DEAP's crossover works in place and would corrupt views. Fitness is a loss: lower is better.
It is never NaN, because DEAP's comparisons with NaN depend on the order. Failures have
`WORST_LOSS` instead.

Exchangeable slots (`GenomeSpace.exchangeable`) are bred as a set. Before crossover, a pick that
both parents have is moved to the same slot in both, so that every child has it exactly once. A
pick drawn into such a slot is one that the genome does not have yet. Option 0 is drawn as rarely
as any other, so such sets are nearly always full. Where small sets matter (`any_size`), the number
of picks is drawn too, and a slot that mutates is emptied half of the time.

NSGA-II sorts by dominance and crowding. A *point* is a genome's values of m objectives, all finite
and to be minimised. A point dominates another if it is nowhere worse and somewhere better. Rank 0
are the points that no other dominates; rank r are the points that only points of lower ranks
dominate. The crowding of a point is the distance between its neighbours of the same rank, summed
over the objectives. It is infinite at the ends.

Source: Deb, Pratap, Agarwal and Meyarivan 2002, sections III.A to III.C.
"""

from __future__ import annotations

import importlib.util
import math
import random
import sys
from collections.abc import Iterable, Iterator, Sequence
from types import ModuleType
from typing import Any, Literal, NamedTuple

from deap import base, tools
from deap.benchmarks.tools import hypervolume as deap_hypervolume

from clso.errors import ArtifactError
from clso.genome import Genome, GenomeSpace

__all__ = [
    "WORST_LOSS",
    "Child",
    "Operators",
    "Parent",
    "Point",
    "crowded_order",
    "front",
    "hypervolume",
]

Point = tuple[float, ...]

WORST_LOSS = sys.float_info.max
_EMPTIED = 0.5  # share of a set's mutated slots that are emptied, where sets of all sizes are bred


class Parent(NamedTuple):
    """A genome that may breed, and the loss that selection uses for it."""

    genome: Genome
    loss: float


class Child(NamedTuple):
    """A new genome; its origin is `"mutation"` if mutation changed one of its genes."""

    genome: Genome
    origin: Literal["crossover", "mutation", "random"]


class _Fitness(base.Fitness):  # type: ignore[misc]  # DEAP has no types
    weights = (-1.0,)


class _Individual(list[int]):
    def __init__(self, parent: Parent) -> None:
        super().__init__(parent.genome)
        self.fitness = _Fitness((parent.loss,))


def _private_copy(name: str, generator: random.Random) -> ModuleType:
    # DEAP draws from the process-wide `random`. A private copy of its module draws from our own
    # generator, so a search is repeatable and disturbs no other user of `random`.
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    vars(module)["random"] = generator
    return module


class Operators:
    """Tournament selection, crossover and mutation within each slot's bounds.

    Args:
        crossover: `"uniform"` swaps each gene with probability 1/2, `"two_point"` a stretch.
        crossover_rate: probability that a pair of parents is crossed.
        mutation_rate: probability that a gene is redrawn uniformly from its slot.
        tournament_size: parents drawn (with repetition) per tournament; the lowest loss wins.
        seed: of the one generator of all operators.
        any_size: draw and breed sets of all sizes.
    """

    def __init__(
        self,
        space: GenomeSpace,
        *,
        crossover: Literal["uniform", "two_point"],
        crossover_rate: float,
        mutation_rate: float,
        tournament_size: int,
        seed: int,
        any_size: bool = False,
    ) -> None:
        self.space = space
        self._cardinalities = space.cardinalities
        self._set_slots = space.exchangeable
        self._any_size = any_size
        # a stretch between two points needs two genes
        self._crossover_rate = crossover_rate if len(self._cardinalities) > 1 else 0.0
        self._random = random.Random(seed)  # noqa: S311 - no secret depends on it
        self._toolbox: Any = base.Toolbox()
        self._toolbox.register("clone", list)  # a child's loss is not known; genes are all it is
        mating = _private_copy("deap.tools.crossover", self._random)
        if crossover == "uniform":
            self._toolbox.register("mate", mating.cxUniform, indpb=0.5)
        else:
            self._toolbox.register("mate", mating.cxTwoPoint)
        self._toolbox.register(
            "mutate",
            _private_copy("deap.tools.mutation", self._random).mutUniformInt,
            low=[0] * len(self._cardinalities),
            up=[cardinality - 1 for cardinality in self._cardinalities],  # DEAP's are inclusive
            indpb=mutation_rate,
        )
        self._toolbox.register(
            "select",
            _private_copy("deap.tools.selection", self._random).selTournament,
            tournsize=tournament_size,
        )

    def random_genome(self) -> Genome:
        """Draw every gene uniformly, the picks of a set without repetition."""
        genes = [self._random.randrange(cardinality) for cardinality in self._cardinalities]
        self._redraw_repeated(genes)
        if self._any_size:
            size = self._random.randrange(len(self._set_slots) + 1)
            for slot in self._set_slots[size:]:
                genes[slot] = 0
        return tuple(genes)

    def offspring(self, parents: Sequence[Parent]) -> Iterator[Child]:
        """Yield children without end: two parents by tournament, crossover, then mutation.

        Raises:
            ValueError: a parent's loss is not finite, or there are no parents.
        """
        if not parents or not all(math.isfinite(parent.loss) for parent in parents):
            raise ValueError("breeding needs parents, each with a finite loss")
        individuals = [_Individual(parent) for parent in parents]
        while True:
            # selection returns references, and the same parent may come twice
            first, second = map(self._toolbox.clone, self._toolbox.select(individuals, k=2))
            if self._random.random() < self._crossover_rate:
                self._align(second, first)
                first, second = self._toolbox.mate(first, second)
            yield self._mutated(first)
            yield self._mutated(second)

    def _mutated(self, individual: list[int]) -> Child:
        before = tuple(individual)
        (individual,) = self._toolbox.mutate(individual)
        after = tuple(individual)
        if after != before:
            if self._any_size:
                for slot in self._set_slots:
                    if after[slot] != before[slot] and self._random.random() < _EMPTIED:
                        individual[slot] = 0
            self._redraw_repeated(individual)
            after = tuple(individual)
        return Child(after, "crossover" if after == before else "mutation")

    def _align(self, genes: list[int], pattern: Sequence[int]) -> None:
        """Move the picks that `pattern` has too to the slots where `pattern` has them."""
        slot_of = {pattern[slot]: slot for slot in self._set_slots if pattern[slot]}
        placed: dict[int, int] = {}
        others = []
        for slot in self._set_slots:
            home = slot_of.get(genes[slot])
            if home is None or home in placed:
                others.append(genes[slot])
            else:
                placed[home] = genes[slot]
        # the picks that crossover swaps must not depend on slots that earlier swaps left
        self._random.shuffle(others)
        for slot in self._set_slots:
            genes[slot] = placed[slot] if slot in placed else others.pop()

    def _redraw_repeated(self, genes: list[int]) -> None:
        """Draw another pick for each slot that repeats an earlier one, while there are any left."""
        picked: set[int] = set()
        for slot in self._set_slots:
            if genes[slot] in picked:
                taken = picked.union(genes[slot] for slot in self._set_slots)
                free = [pick for pick in range(self._cardinalities[slot]) if pick not in taken]
                genes[slot] = self._random.choice(free) if free else 0
            if genes[slot]:
                picked.add(genes[slot])

    def state(self) -> list[Any]:
        """Return the generator's state as JSON values."""
        version, words, gauss = self._random.getstate()
        return [version, list(words), gauss]

    def restore(self, state: Sequence[Any]) -> None:
        """Continue from a state that `state` returned.

        Raises:
            ArtifactError: the value is no state of this generator.
        """
        try:
            version, words, gauss = state
            self._random.setstate((version, tuple(words), gauss))
        except (TypeError, ValueError) as error:
            raise ArtifactError(
                f"the search's random state is damaged: {error}",
                remedy="start the search anew with --fresh",
            ) from error


class _Costs(base.Fitness):  # type: ignore[misc]  # DEAP has no types
    def __init__(self, point: Point) -> None:
        self.weights = (-1.0,) * len(point)  # the number of objectives varies
        super().__init__(point)


class _Placed:
    """A fitness that DEAP sorts, and the index of its point."""

    def __init__(self, index: int, point: Point) -> None:
        self.index = index
        self.fitness = _Costs(point)


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

    A tournament among places in this order is the crowded comparison. Equal points keep their
    order.
    """
    chosen: list[_Placed] = []
    placed = _placed(points)
    for members in tools.sortNondominated(placed, min(count, len(placed))):
        # crowding must not depend on DEAP's order within a rank
        members.sort(key=lambda member: member.index)
        # one whole rank at a time, since selNSGA2 orders only the last rank that it selects from
        chosen += tools.selNSGA2(members, len(members))
    del chosen[count:]
    return [member.index for member in chosen]


def hypervolume(points: Iterable[Point], best: Point, worst: Point) -> float:
    """Return the volume of the objectives' space that some point dominates, up to `worst`.

    The unit is the box from `best` to `worst`, so that no objective outweighs another. An
    objective in which the two are equal counts in its own unit. Points beyond `worst` count
    nothing. Points below `best` can make the volume larger than 1.

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
