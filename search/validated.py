"""One search at a fixed budget, judged by a loss that it did not select by.

The search reads one half of the validation blocks. Its best genome is then scored on the other
half. Searches share their evaluations, so each genome is computed once. A search is still charged
as if it had computed all of its evaluations itself. Its seconds and joules are

    measured around the search  +  measured when its reused evaluations were computed

so the charge does not depend on the order of the searches. Scoring on the other half is not
charged.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from clso.energy import EnergyMonitor, Measurement
from clso.engine import Shared
from clso.errors import MeterError
from clso.genome import Genome
from clso.problem import Evaluation, Problem
from search.records import MemorySink
from search.run import run_search
from search.settings import Budget, SearchSettings
from search.watched import WatchedProblem

__all__ = ["Halves", "ValidatedLoss"]


@dataclass(frozen=True)
class Halves:
    """The same genomes on both halves of the validation blocks.

    Attributes:
        searched: the half that the search reads.
        held_back: the half that judges the search.
        known: evaluations on both halves, by the problems' fingerprints; shared by all searches.
    """

    searched: Problem
    held_back: Problem
    known: dict[str, dict[Genome, Evaluation]] = field(default_factory=dict)

    @property
    def shared(self) -> Shared[Halves]:
        """Both halves for the workers of an engine; each adds the evaluations that it makes."""
        return Shared(f"{self.searched.fingerprint} {self.held_back.fingerprint}", self)

    def known_of(self, problem: Problem) -> dict[Genome, Evaluation]:
        """Return the known evaluations of one of the two problems."""
        return self.known.setdefault(problem.fingerprint, {})

    def judged(self, canonical: Genome) -> float | None:
        """Return a genome's loss on the half held back; `None` if it has no finite loss there."""
        known = self.known_of(self.held_back)
        if canonical not in known:
            (known[canonical],) = self.held_back.evaluate([canonical])
        return known[canonical].loss

    def search(
        self,
        settings: SearchSettings,
        budget: Budget,
        *,
        seed: int,
        family: str,
        monitor: EnergyMonitor | None = None,
        should_stop: Callable[[int, float | None], bool] | None = None,
    ) -> ValidatedLoss:
        """Search one half until the budget is spent, and judge the best genome by the other half.

        Args:
            settings: of the search; the budget replaces their limits.
            monitor: measures; a budget of joules needs one.
            should_stop: asked between generations with the spent part of the budget, in units of
                `Budget.whole`, and the incumbent's loss on the half held back (`None`: no
                incumbent yet). True ends the search.

        Raises:
            MeterError: a budget of joules, and no meter that measures them.
        """
        search = _BudgetedSearch(self, budget, monitor or EnergyMonitor(), should_stop)
        return search.run(settings, seed=seed, family=family)


@dataclass(frozen=True, slots=True)
class ValidatedLoss:
    """The outcome of one search.

    Attributes:
        seed: of the search.
        loss: of the best genome on the half held back; `None`: no genome has a finite loss.
        search_loss: of the same genome on the half that was searched.
        evaluations: number of evaluations, failed ones included.
        duration_s: seconds, as if the search had computed all of its evaluations itself.
        energy_j: joules, likewise; `None` = not measured.
        energy_source: the meters of the joules.
        estimated: whether these meters estimate.
        complete: false if `should_stop` ended the search before its budget was spent.
    """

    seed: int
    loss: float | None
    search_loss: float | None
    evaluations: int
    duration_s: float
    energy_j: float | None
    energy_source: str | None
    estimated: bool | None
    complete: bool


class _BudgetedSearch:
    """A search of one half, its charge, and its end."""

    def __init__(
        self,
        halves: Halves,
        budget: Budget,
        monitor: EnergyMonitor,
        should_stop: Callable[[int, float | None], bool] | None,
    ) -> None:
        self._halves = halves
        self._budget = budget
        self._monitor = monitor
        self._should_stop = should_stop
        self._watched = WatchedProblem(halves.searched, halves.known_of(halves.searched))
        self._uncharged_s = self._uncharged_j = 0.0
        self._stopped = False

    def run(self, settings: SearchSettings, *, seed: int, family: str) -> ValidatedLoss:
        """Search, then score the best genome on the half held back."""
        with self._monitor.window() as window:
            run_search(
                self._watched,
                self._budget.settings(settings),
                seed=seed,
                family=family,
                run_id="validated",
                sink=MemorySink(),
                monitor=self._monitor,
                should_stop=lambda: self._is_over(window.so_far()),
            )
        measured, best = window.measurement, self._watched.standings[-1]
        duration_s = measured.duration_s - self._uncharged_s
        duration_s += sum(reused.measurement.duration_s for reused in self._watched.reused)
        energy_j = self._charged_j(measured)
        return ValidatedLoss(
            seed=seed,
            loss=self._judged(best.canonical),
            search_loss=best.loss,
            evaluations=best.evaluations,
            duration_s=duration_s,
            energy_j=energy_j,
            energy_source=None if energy_j is None else measured.energy_source,
            estimated=None if energy_j is None else measured.estimated,
            complete=not self._stopped,
        )

    def _is_over(self, measured: Measurement) -> bool:
        """Return whether the joules are spent or the caller stops the search."""
        if not self._watched.standings:
            return False
        energy_j, limit_j = self._charged_j(measured), self._budget.energy_j
        if limit_j is not None:
            if energy_j is None:
                raise MeterError(
                    "the budget is in joules, but no meter measured those of a generation",
                    remedy="give tune.budget.evaluations, or another energy.meter",
                )
            if energy_j >= limit_j:
                return True
        if self._should_stop is not None:
            best = self._watched.standings[-1]
            # judging is not charged; work too short for the meter has no joules to subtract
            with self._monitor.window() as window:
                spent = self._budget.spent(best.evaluations, energy_j)
                self._stopped = self._should_stop(spent, self._judged(best.canonical))
            self._uncharged_s += window.measurement.duration_s
            self._uncharged_j += window.measurement.energy_j or 0.0
        return self._stopped

    def _judged(self, canonical: Genome | None) -> float | None:
        return None if canonical is None else self._halves.judged(canonical)

    def _charged_j(self, measured: Measurement) -> float | None:
        """Return the joules of the search so far; `None`: not measured."""
        reused_j = [reused.measurement.energy_j for reused in self._watched.reused]
        if measured.energy_j is None or None in reused_j:
            return None
        own_j = measured.energy_j - self._uncharged_j
        return own_j + sum(joules for joules in reused_j if joules is not None)
