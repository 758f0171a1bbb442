"""What a search has found after each of its evaluations.

Searches are compared at equal numbers of evaluations, so what is kept is a *standing* per
evaluation: how many there were, and the best of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from clso.genome import Genome, GenomeSpace
from clso.problem import Evaluation, Extendable, Problem
from search.archive import Archive, Scored

__all__ = ["Standing", "Watched", "falling", "watch"]

_ROUNDING = 1e-9  # of sums of fidelities


@dataclass(frozen=True, slots=True)
class Standing:
    """The best of a search after so many evaluations.

    Attributes:
        evaluations: so far, failed ones included; those on a part of the batches count as that
            part, and their sum is rounded up.
        loss: the lowest; `None` while every evaluation failed.
        canonical: the genome that has it.
        energy_j: joules of all evaluations so far; `None`: not measured.
    """

    evaluations: int
    loss: float | None
    canonical: Genome | None
    energy_j: float | None = None


class Watched:
    """A problem that keeps a standing for every evaluation that one search asks of it.

    Args:
        problem: does the work.
        known: whole evaluations that other searches asked for. A loss is a pure function of its
            genome, so they are not computed again; they count all the same. New ones are added.
            Evaluations on a part of the batches are always computed.

    Attributes:
        archive: what was evaluated whole so far.
        standings: one per whole evaluation.
        from_known: evaluations that were taken from `known`, the new ones included.
    """

    def __init__(self, problem: Problem, known: dict[Genome, Evaluation] | None = None) -> None:
        self._problem = problem
        self._known = {} if known is None else known
        self._reached: dict[Genome, float] = {}
        self.archive = Archive()
        self.standings: list[Standing] = []
        self._spent = 0.0
        self._energy_j: float | None = 0.0
        self.from_known: list[Evaluation] = []

    @property
    def space(self) -> GenomeSpace:
        """See `Problem.space`."""
        return self._problem.space

    @property
    def fidelities(self) -> tuple[float, ...]:
        """See `Problem.fidelities`."""
        return self._problem.fidelities

    @property
    def spent(self) -> int:
        """Evaluations so far, those on a part of the batches as that part; rounded up."""
        return math.ceil(self._spent - _ROUNDING)

    @property
    def fingerprint(self) -> str:
        """See `Problem.fingerprint`."""
        return self._problem.fingerprint

    def evaluate(self, genomes: Sequence[Genome], fidelity: float = 1.0) -> list[Evaluation]:
        """Have genomes evaluated, and note what that makes of the best.

        Raises:
            ValueError: a genome that was asked for before, or a fidelity that is not offered.
        """
        canonical = [self.space.canonical(genome) for genome in genomes]
        if fidelity < 1.0:
            evaluations = self._problem.evaluate(canonical, fidelity)
        else:
            new = [one for one in canonical if one not in self._known]
            self._known.update(zip(new, self._problem.evaluate(new, fidelity), strict=True))
            evaluations = [self._known[one] for one in canonical]
            self.from_known += evaluations
        self._note(genomes, canonical, evaluations, fidelity, [fidelity] * len(canonical))
        return evaluations

    def _note(
        self,
        genomes: Sequence[Genome],
        canonical: Sequence[Genome],
        evaluations: Sequence[Evaluation],
        fidelity: float,
        costs: Sequence[float],
    ) -> None:
        for genome, one, evaluation, cost in zip(
            genomes, canonical, evaluations, costs, strict=True
        ):
            self._spent += cost
            if self._energy_j is None or evaluation.energy_j is None:
                self._energy_j = None
            else:
                self._energy_j += evaluation.energy_j
            self._reached[one] = fidelity
            if fidelity == 1.0:
                loss = evaluation.loss if evaluation.status == "evaluated" else None
                scored = Scored(tuple(genome), one, loss)
                self.archive.add(scored)
                self._note_standing(scored)

    def _note_standing(self, scored: Scored) -> None:
        best = self.standings[-1] if self.standings else Standing(0, None, None)
        if scored.loss is not None and (best.loss is None or scored.loss < best.loss):
            best = Standing(0, scored.loss, scored.canonical)
        self.standings.append(Standing(self.spent, best.loss, best.canonical, self._energy_j))


class _WatchedExtendable(Watched):
    """The same of a problem whose evaluations go on from smaller shares of the batches."""

    def __init__(self, problem: Extendable, known: dict[Genome, Evaluation] | None = None) -> None:
        super().__init__(problem, known)
        self._extendable = problem

    def extend(
        self, genomes: Sequence[Genome], begun: Sequence[Evaluation], fidelity: float
    ) -> list[Evaluation]:
        """See `Extendable.extend`; what it takes is never what a whole evaluation would."""
        canonical = [self.space.canonical(genome) for genome in genomes]
        evaluations = self._extendable.extend(canonical, begun, fidelity)
        costs = [fidelity - self._reached[one] for one in canonical]
        self._note(genomes, canonical, evaluations, fidelity, costs)
        return evaluations


def watch(problem: Problem, known: dict[Genome, Evaluation] | None = None) -> Watched:
    """Return a `Watched` problem that can be extended if the problem can."""
    if isinstance(problem, Extendable):
        return _WatchedExtendable(problem, known)
    return Watched(problem, known)


def falling(standings: Iterable[Standing]) -> Iterator[Standing]:
    """Return the standings that are lower than all before, and the last."""
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
