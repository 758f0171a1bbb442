r"""The rungs that a genome climbs: few batches first, all of them only if it is good enough.

Notation: a problem offers the fidelities f_1 < ... < f_m = 1 (shares of its fixed batches), one
rung each. A set of genomes starts on rung 1 together; after rung r < m some are *screened*: they
stay there with an approximate loss, which is no result. Which genomes climb on is decided by

    successive_halving   the ceil(n / eta) lowest losses of the n finite ones on the rung
    racing               all but those whose losses, batch by batch, are higher than the
                         best's by a paired one-sided Student t test at level alpha
    none                 there is one rung only, f = 1

A race is run against the lowest loss on that rung, the incumbent's included. All genomes see the
same batches, so what the batches differ in cancels out of the differences. A t test rather than
the Friedman test of F-Race, because what is wanted is the lowest mean, not the best rank, and
batches are alike in scale. The level is that of one comparison: an error loses a candidate, and
never makes a result.

What a climb costs is counted in whole evaluations: rung r costs f_r - f_{r-1} where a problem
scores only what lower rungs left (`Extendable`), and f_r where it begins anew.

Source: Jamieson and Talwalkar 2016 (successive halving); Birattari et al. 2002 (F-Race); Maron and
Moore 1994 (races).
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from scipy.special import stdtrit

from clso.energy import Measurement
from clso.errors import ConfigError
from clso.genome import Genome
from clso.problem import Evaluation, Extendable, Problem
from search.settings import FidelitySettings

__all__ = ["Batch", "Climb", "Ladder", "Rung", "is_worse"]

_ROUNDING = 1e-9  # of sums of fidelities


@dataclass(frozen=True, slots=True)
class Rung:
    """What a genome scored on a part of the batches.

    Attributes:
        fidelity: which part.
        loss: nats per token there.
        batch_nats: see `Evaluation.batch_nats`.
    """

    fidelity: float
    loss: float
    batch_nats: tuple[float, ...] | None


@dataclass(frozen=True, slots=True)
class Climb:
    """How far a genome came.

    Attributes:
        rungs: below fidelity 1, in the order climbed; a failed one is left out.
        fidelity: of the last rung it was scored on.
        loss: the finite loss there; `None`: the evaluation failed.
        evaluation: the last, with the tokens, seconds and joules of all rungs.
        cost: in whole evaluations.
    """

    rungs: tuple[Rung, ...]
    fidelity: float
    loss: float | None
    evaluation: Evaluation
    cost: float


@dataclass(frozen=True, slots=True)
class Batch:
    """Genomes to be evaluated, each for itself; false if there are none.

    Attributes:
        genomes: in canonical form, all different.
        fidelity: the share of the problem's batches to evaluate them on.
        begun: their evaluations at a lower fidelity, to go on from (`Extendable.extend`); empty:
            evaluate anew.
    """

    genomes: tuple[Genome, ...] = ()
    fidelity: float = 1.0
    begun: tuple[Evaluation, ...] = ()

    def __len__(self) -> int:
        return len(self.genomes)

    def __iter__(self) -> Iterator[Genome]:
        return iter(self.genomes)

    def evaluated_by(self, problem: Problem) -> list[Evaluation]:
        """Return the evaluations that a problem gives, in the order of the genomes."""
        if self.begun and isinstance(problem, Extendable):
            return problem.extend(self.genomes, self.begun, self.fidelity)
        return problem.evaluate(self.genomes, self.fidelity)


class Ladder:
    """Asks for scores of genomes, rung by rung.

    Args:
        problem: offers the fidelities; it is not asked for evaluations here.
        settings: which genomes climb on.
        limit: whole evaluations that may be spent; `None`: any number.

    Raises:
        ConfigError: the limit does not pay for one genome that climbs to the top.
    """

    def __init__(
        self, problem: Problem, settings: FidelitySettings, *, limit: int | None = None
    ) -> None:
        self._settings = settings
        climbs = settings.kind != "none"
        self._fidelities = problem.fidelities if climbs else problem.fidelities[-1:]
        self._extends = isinstance(problem, Extendable)
        below = [lower for lower, _ in pairwise((0.0, *self._fidelities))]
        self._steps = [
            fidelity - lower if self._extends else fidelity
            for lower, fidelity in zip(below, self._fidelities, strict=True)
        ]
        self._limit = limit
        if self.affordable(0.0) == 0:
            raise ConfigError(
                f"max_evaluations is {limit}, expected at least {self.worst_cost(1):g}: what one "
                f"genome costs that climbs the shares {self._fidelities}",
                remedy="raise max_evaluations, or set fidelity.kind to none",
            )

    def worst_cost(self, count: int) -> float:
        """Return the whole evaluations that a climb of so many genomes costs at most."""
        total = 0.0
        for step in self._steps:
            total += count * step
            if self._settings.kind == "successive_halving":
                count = self._halved(count)
        return total

    def affordable(self, spent: float) -> int | None:
        """Return how many genomes can start after so many evaluations; `None`: any number."""
        if self._limit is None:
            return None
        left = self._limit - spent
        counts = range(math.ceil(left / self._steps[0]) + 1)
        return bisect_right(counts, left + _ROUNDING, key=self.worst_cost) - 1

    def climb(
        self, genomes: Sequence[Genome], incumbent: Sequence[Rung]
    ) -> Generator[Batch, Sequence[Evaluation], list[Climb]]:
        """Score genomes as far as each climbs, in the order given.

        Yields:
            What is to be evaluated next; send the evaluations, in the order of the batch.

        Args:
            genomes: distinct, in canonical form.
            incumbent: the rungs of the lowest whole loss so far; empty: there is none yet.

        Raises:
            ConfigError: a race on a problem that does not tell its losses by batch.
        """
        parts: list[list[Evaluation]] = [[] for _ in genomes]
        rungs: list[list[Rung]] = [[] for _ in genomes]
        climbing = list(range(len(genomes)))
        for number, fidelity in enumerate(self._fidelities):
            if not climbing:
                break
            begun = [parts[index][-1] for index in climbing if self._extends and parts[index]]
            scored = yield Batch(
                tuple(genomes[index] for index in climbing), fidelity, tuple(begun)
            )
            for index, evaluation in zip(climbing, scored, strict=True):
                parts[index].append(evaluation)
            if fidelity == self._fidelities[-1]:
                break
            for index in climbing:
                loss = parts[index][-1].finite_loss
                if loss is not None:
                    rungs[index].append(Rung(fidelity, loss, parts[index][-1].batch_nats))
            standing = {
                index: rungs[index][number] for index in climbing if len(rungs[index]) > number
            }
            climbing = self._survivors(standing, incumbent[number : number + 1])
        return [
            Climb(
                rungs=tuple(own),
                fidelity=self._fidelities[len(evaluations) - 1],
                loss=evaluations[-1].finite_loss,
                evaluation=_summed(evaluations),
                cost=math.fsum(self._steps[: len(evaluations)]),
            )
            for own, evaluations in zip(rungs, parts, strict=True)
        ]

    def _survivors(self, standing: dict[int, Rung], incumbent: Sequence[Rung]) -> list[int]:
        """Return the indices of those on a rung that climb on, ascending."""
        if not standing:
            return []
        if self._settings.kind == "successive_halving":
            ranked = sorted(standing, key=lambda index: standing[index].loss)
            return sorted(ranked[: self._halved(len(ranked))])
        best = min((*incumbent, *standing.values()), key=lambda rung: rung.loss)
        return [index for index, rung in standing.items() if not self._outraced(rung, best)]

    def _outraced(self, rung: Rung, best: Rung) -> bool:
        if rung.batch_nats is None or best.batch_nats is None:
            raise ConfigError(
                "search.fidelity.kind is racing, but the problem tells no losses by batch",
                remedy="use successive_halving or none",
            )
        return is_worse(rung.batch_nats, best.batch_nats, alpha=self._settings.alpha)

    def _halved(self, count: int) -> int:
        return math.ceil(count / self._settings.eta)


def is_worse(nats: Sequence[float], best: Sequence[float], *, alpha: float) -> bool:
    r"""Test whether a mean is higher than another, both over the same n batches.

    With d the differences batch by batch, of mean m and standard deviation s (n - 1 degrees of
    freedom), it is if :math:`m > 0` and :math:`\sqrt{n} m > s t_{1-\alpha, n-1}`. One batch alone
    says nothing.

    Args:
        nats: `(n,)`.
        best: `(n,)`.
        alpha: probability of saying so of two that are equal.
    """
    differences = np.subtract(nats, best)
    n = len(differences)
    if n < 2:
        return False
    mean = float(differences.mean())
    spread = float(differences.std(ddof=1))
    return mean > 0 and math.sqrt(n) * mean > spread * float(stdtrit(n - 1, 1.0 - alpha))


def _summed(evaluations: Sequence[Evaluation]) -> Evaluation:
    return replace(
        evaluations[-1],
        tokens=sum(one.tokens for one in evaluations),
        measurement=Measurement.total(evaluation.measurement for evaluation in evaluations),
        batch_nats=None,
    )
