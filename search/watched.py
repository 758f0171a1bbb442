"""A problem that records the evaluations of one search.

Searches are compared at equal numbers of evaluations, so there is a *standing* for each whole
evaluation: the number of evaluations so far, and the best of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from clso.energy import Measurement
from clso.genome import Genome, GenomeSpace
from clso.problem import Evaluation, Extendable, Problem, Screened
from search.archive import Archive, Scored
from search.ladder import SPENT_ROUNDING

__all__ = ["Standing", "WatchedProblem", "improvements"]


@dataclass(frozen=True, slots=True)
class Standing:
    """The best genome of a search after a number of evaluations.

    Attributes:
        evaluations: so far, failed ones included; an evaluation on a part of the batches counts
            as that part, and the sum is rounded up.
        loss: the lowest; `None` while every evaluation failed.
        canonical: the genome with this loss.
        energy_j: joules of all evaluations so far; `None`: not measured.
    """

    evaluations: int
    loss: float | None
    canonical: Genome | None
    energy_j: float | None = None


class WatchedProblem:
    """A problem that records the evaluations of one search; `Extendable` if the problem is.

    Args:
        known: whole evaluations of other searches on the same problem. A loss is a pure function
            of its genome, so known evaluations are not computed again, but they count like all
            others. New whole evaluations are added. Evaluations on a part of the batches are
            always computed.

    Attributes:
        archive: the genomes evaluated on all batches so far.
        standings: one for each whole evaluation.
        reused: evaluations taken from `known`, computed by an earlier search.
        measurement: seconds and joules of all evaluations, the reused ones included.
        tokens: targets scored by all evaluations, the reused ones included.
    """

    def __init__(self, problem: Problem, known: dict[Genome, Evaluation] | None = None) -> None:
        self._problem = problem
        self._known = {} if known is None else known
        self._fidelity_reached: dict[Genome, float] = {}
        self._spent = 0.0
        self.archive = Archive()
        self.standings: list[Standing] = []
        self.reused: list[Evaluation] = []
        self.measurement = Measurement(0.0)
        self.tokens = 0
        if isinstance(problem, Extendable):
            self._extendable = problem
            self.extend = self._extend  # the attribute makes it an `Extendable`

    @property
    def space(self) -> GenomeSpace:
        """See `Problem`."""
        return self._problem.space

    @property
    def fidelities(self) -> tuple[float, ...]:
        """See `Problem`."""
        return self._problem.fidelities

    @property
    def screening(self) -> float | None:
        """See `Screened`."""
        return self._problem.screening if isinstance(self._problem, Screened) else None

    @property
    def fingerprint(self) -> str:
        """See `Problem`."""
        return self._problem.fingerprint

    @property
    def spent(self) -> int:
        """Evaluations so far, one on a part of the batches counted as that part; rounded up."""
        return math.ceil(self._spent - SPENT_ROUNDING)

    def evaluate(self, genomes: Sequence[Genome], fidelity: float = 1.0) -> list[Evaluation]:
        """Evaluate genomes and record the evaluations.

        Raises:
            ValueError: a genome that was evaluated before, or a fidelity that is not offered.
        """
        canonical = [self.space.canonical(genome) for genome in genomes]
        if fidelity < 1.0:
            evaluations = self._problem.evaluate(canonical, fidelity)
        else:
            self.reused += [self._known[key] for key in canonical if key in self._known]
            new = [key for key in canonical if key not in self._known]
            self._known.update(zip(new, self._problem.evaluate(new, fidelity), strict=True))
            evaluations = [self._known[key] for key in canonical]
        self._record(genomes, canonical, evaluations, fidelity, [fidelity] * len(canonical))
        return evaluations

    def _extend(
        self, genomes: Sequence[Genome], begun: Sequence[Evaluation], fidelity: float
    ) -> list[Evaluation]:
        # an extension costs less than a whole evaluation, so it is never taken from `known`
        canonical = [self.space.canonical(genome) for genome in genomes]
        evaluations = self._extendable.extend(canonical, begun, fidelity)
        costs = [fidelity - self._fidelity_reached[key] for key in canonical]
        self._record(genomes, canonical, evaluations, fidelity, costs)
        return evaluations

    def _record(
        self,
        genomes: Sequence[Genome],
        canonical: Sequence[Genome],
        evaluations: Sequence[Evaluation],
        fidelity: float,
        costs: Sequence[float],
    ) -> None:
        for genome, key, evaluation, cost in zip(
            genomes, canonical, evaluations, costs, strict=True
        ):
            self._spent += cost
            self.measurement = Measurement.total((self.measurement, evaluation.measurement))
            self.tokens += evaluation.tokens
            self._fidelity_reached[key] = fidelity
            if fidelity == 1.0:
                loss = evaluation.loss if evaluation.status == "evaluated" else None
                self.archive.add(Scored(tuple(genome), key, loss))
                best, energy_j = self.archive.incumbent, self.measurement.energy_j
                self.standings.append(
                    Standing(self.spent, None, None, energy_j)
                    if best is None
                    else Standing(self.spent, best.loss, best.canonical, energy_j)
                )


def improvements(standings: Iterable[Standing]) -> Iterator[Standing]:
    """Yield each standing whose loss is lower than all before, then the last with a loss."""
    best = last = None
    for standing in standings:
        if standing.loss is None:
            continue
        if best is None or best.loss is None or standing.loss < best.loss:
            best = standing
            yield standing
        last = standing
    if last is not None and last is not best:
        yield last
