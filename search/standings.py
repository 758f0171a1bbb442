"""What a search has found after each of its evaluations.

Searches are compared at equal numbers of evaluations, so what is kept is a *standing* per
evaluation: how many there were, and the best of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from clso.genome import Genome, GenomeSpace
from clso.problem import Evaluation, Problem
from search.archive import Archive, Scored

__all__ = ["Standing", "Watched", "falling"]


@dataclass(frozen=True, slots=True)
class Standing:
    """The best of a search after so many evaluations.

    Attributes:
        evaluations: so far, failed ones included.
        loss: the lowest; `None` while every evaluation failed.
        canonical: the genome that has it.
    """

    evaluations: int
    loss: float | None
    canonical: Genome | None


class Watched:
    """A problem that keeps a standing for every evaluation that one search asks of it.

    Args:
        problem: does the work.
        known: evaluations that other searches asked for. A loss is a pure function of its
            genome, so they are not computed again; they count all the same. New ones are added.

    Attributes:
        archive: what was asked for so far.
        standings: one per evaluation.
    """

    def __init__(self, problem: Problem, known: dict[Genome, Evaluation] | None = None) -> None:
        self._problem = problem
        self._known = {} if known is None else known
        self.archive = Archive()
        self.standings: list[Standing] = []

    @property
    def space(self) -> GenomeSpace:
        """See `Problem.space`."""
        return self._problem.space

    @property
    def fidelities(self) -> tuple[float, ...]:
        """Only whole evaluations are counted."""
        return (1.0,)

    @property
    def fingerprint(self) -> str:
        """See `Problem.fingerprint`."""
        return self._problem.fingerprint

    def evaluate(self, genomes: Sequence[Genome], fidelity: float = 1.0) -> list[Evaluation]:
        """Have genomes evaluated, and note what that makes of the best.

        Raises:
            ValueError: a genome that was asked for before, or another fidelity than 1.
        """
        if fidelity != 1.0:
            raise ValueError(f"fidelity is {fidelity}, expected 1.0")
        canonical = [self.space.canonical(genome) for genome in genomes]
        new = [one for one in canonical if one not in self._known]
        self._known.update(zip(new, self._problem.evaluate(new, fidelity), strict=True))
        for genome, one in zip(genomes, canonical, strict=True):
            evaluation = self._known[one]
            loss = evaluation.loss if evaluation.status == "evaluated" else None
            scored = Scored(tuple(genome), one, loss)
            self.archive.add(scored)
            self._note_standing(scored)
        return [self._known[one] for one in canonical]

    def _note_standing(self, scored: Scored) -> None:
        best = self.standings[-1] if self.standings else Standing(0, None, None)
        if scored.loss is not None and (best.loss is None or scored.loss < best.loss):
            best = Standing(0, scored.loss, scored.canonical)
        self.standings.append(Standing(len(self.archive), best.loss, best.canonical))


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
