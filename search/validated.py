"""One search at a fixed budget, judged by a loss that it did not select by.

The search reads one half of the validation blocks; what it found is then scored on the other. A
genome is computed once however many searches ask for it, but each search is charged as if it had
paid for all of its evaluations itself: its time and joules are

    measured around it  +  what the evaluations that it reused took when they were computed

so that searches compare, whichever came first. Scoring on the other half is nobody's cost.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from clso.energy import EnergyMonitor
from clso.errors import MeterError
from clso.genome import Genome
from clso.problem import Evaluation, Problem
from search.records import MemorySink
from search.run import run_search
from search.settings import Budget, SearchSettings
from search.watched import WatchedProblem

__all__ = ["Halves", "Progress", "ValidatedLoss", "validated_search"]


@dataclass(frozen=True)
class Halves:
    """The same genomes on both halves of the validation blocks.

    Attributes:
        searched: what the search reads.
        held_back: what it is judged by.
        known: evaluations of both, by the problems' fingerprints; shared, so none is repeated.
    """

    searched: Problem
    held_back: Problem
    known: dict[str, dict[Genome, Evaluation]] = field(default_factory=dict)

    def known_of(self, problem: Problem) -> dict[Genome, Evaluation]:
        """Return what is known of one of the two."""
        return self.known.setdefault(problem.fingerprint, {})

    def judged(self, canonical: Genome) -> float | None:
        """Return a genome's loss on the half held back; `None` if it has no finite one."""
        known = self.known_of(self.held_back)
        if canonical not in known:
            (known[canonical],) = self.held_back.evaluate([canonical])
        return known[canonical].loss


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a search stands between two generations.

    Attributes:
        spent: of the budget, in units of `Budget.whole`.
        loss: of the incumbent on the half held back; `None` while it has none.
    """

    spent: int
    loss: float | None


@dataclass(frozen=True, slots=True)
class ValidatedLoss:
    """What one search came to.

    Attributes:
        seed: of the search.
        loss: of what it found, on the half held back; `None`: nothing has a finite loss.
        search_loss: the same on the half that was searched.
        evaluations: real ones, failed ones included.
        duration_s: as if it had computed all of them itself.
        energy_j: the same in joules; `None` = not measured.
        energy_source: the meters behind it.
        estimated: whether they estimate.
        complete: false if it was stopped before its budget was spent.
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


def validated_search(
    halves: Halves,
    settings: SearchSettings,
    budget: Budget,
    *,
    seed: int,
    family: str,
    monitor: EnergyMonitor | None = None,
    should_stop: Callable[[Progress], bool] | None = None,
) -> ValidatedLoss:
    """Search one half for as long as the budget lasts, and score what is found on the other.

    Args:
        halves: the problem.
        settings: of the search; how long it lasts is the budget's to say.
        budget: of the search.
        seed: of the search.
        family: the name of what is searched.
        monitor: measures; a budget of joules needs one.
        should_stop: told between generations; true ends the search there.

    Raises:
        MeterError: a budget of joules without a meter that sees them.
    """
    monitor = monitor or EnergyMonitor()
    searched = halves.searched
    watched = WatchedProblem(searched, halves.known_of(searched))
    aside_s = aside_j = 0.0
    stopped = False

    def charge_j(measured_j: float | None) -> float | None:
        reused_j = [evaluation.measurement.energy_j for evaluation in watched.reused]
        if measured_j is None or None in reused_j:
            return None
        return measured_j - aside_j + sum(joules for joules in reused_j if joules is not None)

    def stop() -> bool:
        nonlocal aside_s, aside_j, stopped
        if not watched.standings:
            return False
        energy_j = charge_j(window.so_far().energy_j)
        if budget.energy_j is not None:
            if energy_j is None:
                raise MeterError(
                    "the budget is in joules, but the meter saw none of a generation's",
                    remedy="give tune.budget.evaluations, or another energy.meter",
                )
            if energy_j >= budget.energy_j:
                return True
        if should_stop is None:
            return False
        with monitor.window() as aside:
            best = watched.standings[-1]
            loss = None if best.canonical is None else halves.judged(best.canonical)
            spent = budget.spent(best.evaluations, energy_j)
            stopped = should_stop(Progress(spent, loss))
        aside_s += aside.measurement.duration_s
        # what was too short for the meter to see is nothing to take off
        aside_j += aside.measurement.energy_j or 0.0
        return stopped

    with monitor.window() as window:
        run_search(
            watched,
            budget.settings(settings),
            seed=seed,
            family=family,
            run_id="validated",
            sink=MemorySink(),
            monitor=monitor,
            should_stop=stop,
        )
    measured, best = window.measurement, watched.standings[-1]
    duration_s = measured.duration_s - aside_s
    duration_s += sum(evaluation.measurement.duration_s for evaluation in watched.reused)
    energy_j = charge_j(measured.energy_j)
    return ValidatedLoss(
        seed=seed,
        loss=None if best.canonical is None else halves.judged(best.canonical),
        search_loss=best.loss,
        evaluations=best.evaluations,
        duration_s=duration_s,
        energy_j=energy_j,
        energy_source=None if energy_j is None else measured.energy_source,
        estimated=None if energy_j is None else measured.estimated,
        complete=not stopped,
    )
