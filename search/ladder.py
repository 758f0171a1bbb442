r"""The rungs that a genome climbs: few batches first, all of them only if it is good enough.

Notation: a problem offers the fidelities f_1 < ... < f_m = 1 (shares of its fixed batches), one
rung each. A set of genomes starts on rung 1 together. After rung r < m some are *screened*: they
stay there with an approximate loss, which is no result. The kind of the ladder says which genomes
climb on:

    successive_halving   the ceil(n / eta) lowest losses of the n finite ones on the rung
    racing               all genomes but those whose losses, batch by batch, are higher than the
                         lowest loss by a paired one-sided Student t test at level alpha
    none                 there is one rung only, f = 1

A race compares with the lowest loss on that rung, the incumbent's included. All genomes see the
same batches, so differences between batches cancel out. F-Race uses the Friedman test. Here a t
test is better: the lowest mean is wanted, not the best rank, and all batches have the same scale.
The level is that of one comparison. An error loses a candidate and never makes a result.

The cost of a climb is counted in whole evaluations. Rung r costs f_r - f_{r-1} if the problem
scores only the batches that lower rungs left (`Extendable`), and f_r otherwise. A rung of
approximate losses (`Screened`) leaves nothing that a higher one could use.

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
from clso.problem import Evaluation, Extendable, Problem, Screened
from search.settings import FidelitySettings

__all__ = ["SPENT_ROUNDING", "Batch", "Climb", "Ladder", "Rung"]

SPENT_ROUNDING = 1e-9  # error that a sum of fidelities may have


@dataclass(frozen=True, slots=True)
class Rung:
    """The loss of a genome on a part of the batches.

    Attributes:
        fidelity: share of the batches.
        loss: nats per token there.
        batch_nats: see `Evaluation.batch_nats`.
    """

    fidelity: float
    loss: float
    batch_nats: tuple[float, ...] | None

    def is_worse_than(self, best: Rung, *, alpha: float) -> bool:
        r"""Test whether this loss is higher than another on the same n batches.

        With d the differences batch by batch, of mean m and standard deviation s (n - 1 degrees of
        freedom), it is higher if :math:`m > 0` and :math:`\sqrt{n} m > s t_{1-\alpha, n-1}`; alpha
        is the probability of a yes if both are equal. With one batch there is no test, and the
        answer is no.

        Raises:
            ConfigError: the problem reports no losses by batch.
        """
        if self.batch_nats is None or best.batch_nats is None:
            raise ConfigError(
                "search.fidelity.kind is racing, but the problem tells no losses by batch",
                remedy="use successive_halving or none",
            )
        differences = np.subtract(self.batch_nats, best.batch_nats)
        n = len(differences)
        if n < 2:
            return False
        mean = float(differences.mean())
        spread = float(differences.std(ddof=1))
        return mean > 0 and math.sqrt(n) * mean > spread * float(stdtrit(n - 1, 1.0 - alpha))


@dataclass(frozen=True, slots=True)
class Climb:
    """How far a genome came on the ladder.

    Attributes:
        rungs: below fidelity 1, in the order climbed, without a failed one.
        fidelity: of the last rung that the genome was scored on.
        evaluation: the last one, with the tokens, seconds and joules of all rungs.
        cost: in whole evaluations.
    """

    rungs: tuple[Rung, ...]
    fidelity: float
    evaluation: Evaluation
    cost: float


@dataclass(frozen=True, slots=True)
class Batch:
    """Genomes to be evaluated independently; false if there are none.

    Attributes:
        genomes: in canonical form, all different.
        fidelity: the share of the problem's batches to evaluate them on.
        begun: their evaluations at a lower fidelity, for `Extendable.extend`; empty: evaluate
            from the beginning.
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
        limit: whole evaluations that may be spent; `None`: any number.

    Raises:
        ConfigError: the limit is too low for one genome on all rungs.
    """

    def __init__(
        self, problem: Problem, settings: FidelitySettings, *, limit: int | None = None
    ) -> None:
        self._settings = settings
        climbs = settings.kind != "none"
        self._fidelities = problem.fidelities if climbs else problem.fidelities[-1:]
        self._extends = isinstance(problem, Extendable)
        self._screening = problem.screening if isinstance(problem, Screened) else None
        self._steps = [
            fidelity - lower if self._leaves_something(lower) else fidelity
            for lower, fidelity in pairwise((0.0, *self._fidelities))
        ]
        self._limit = limit
        if self.affordable(0.0) == 0:
            raise ConfigError(
                f"max_evaluations is {limit}, expected at least {self.worst_cost(1):g}: what one "
                f"genome costs that climbs the shares {self._fidelities}",
                remedy="raise max_evaluations, or set fidelity.kind to none",
            )

    def worst_cost(self, count: int) -> float:
        """Return the maximum cost of a climb of `count` genomes, in whole evaluations."""
        total = 0.0
        for step in self._steps:
            total += count * step
            if self._settings.kind == "successive_halving":
                count = self._halved(count)
        return total

    def affordable(self, spent: float) -> int | None:
        """Return how many genomes can start once `spent` is spent; `None`: any number."""
        if self._limit is None:
            return None
        left = self._limit - spent
        counts = range(math.ceil(left / self._steps[0]) + 1)
        return bisect_right(counts, left + SPENT_ROUNDING, key=self.worst_cost) - 1

    def climb(
        self, genomes: Sequence[Genome], incumbent: Sequence[Rung]
    ) -> Generator[Batch, Sequence[Evaluation], list[Climb]]:
        """Score genomes as far as each climbs, and return the climbs in the same order.

        Yields:
            The next batch; send its evaluations, in the order of its genomes.

        Args:
            genomes: distinct, in canonical form.
            incumbent: rungs of the lowest whole loss so far; empty: there is none yet.

        Raises:
            ConfigError: a race on a problem that reports no losses by batch.
        """
        parts: list[list[Evaluation]] = [[] for _ in genomes]
        rungs: list[list[Rung]] = [[] for _ in genomes]
        climbing = list(range(len(genomes)))
        for rung, fidelity in enumerate(self._fidelities):
            if not climbing:
                break
            extends = rung > 0 and self._leaves_something(self._fidelities[rung - 1])
            begun = [parts[index][-1] for index in climbing if extends]
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
            standing = {index: rungs[index][rung] for index in climbing if len(rungs[index]) > rung}
            climbing = self._survivors(standing, incumbent[rung : rung + 1])
        return [
            Climb(
                rungs=tuple(own),
                fidelity=self._fidelities[len(evaluations) - 1],
                evaluation=_summed(evaluations),
                cost=math.fsum(self._steps[: len(evaluations)]),
            )
            for own, evaluations in zip(rungs, parts, strict=True)
        ]

    def _survivors(self, standing: dict[int, Rung], incumbent: Sequence[Rung]) -> list[int]:
        """Return the indices of the genomes that climb on, ascending."""
        if not standing:
            return []
        if self._settings.kind == "successive_halving":
            ranked = sorted(standing, key=lambda index: standing[index].loss)
            return sorted(ranked[: self._halved(len(ranked))])
        best = min((*incumbent, *standing.values()), key=lambda rung: rung.loss)
        alpha = self._settings.alpha
        return [i for i, rung in standing.items() if not rung.is_worse_than(best, alpha=alpha)]

    def _leaves_something(self, fidelity: float) -> bool:
        """Return whether a higher rung goes on from an evaluation at a fidelity."""
        return self._extends and fidelity != self._screening

    def _halved(self, count: int) -> int:
        return math.ceil(count / self._settings.eta)


def _summed(evaluations: Sequence[Evaluation]) -> Evaluation:
    if len(evaluations) == 1 and evaluations[0].batch_nats is None:
        return evaluations[0]
    return replace(
        evaluations[-1],
        tokens=sum(evaluation.tokens for evaluation in evaluations),
        measurement=Measurement.total(evaluation.measurement for evaluation in evaluations),
        batch_nats=None,
    )
