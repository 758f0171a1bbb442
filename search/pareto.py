"""Search for models with a low loss and low costs: NSGA-II over several objectives.

Generation 0 draws distinct genomes, sets of all sizes among them, and evaluates all. Generation
g > 0 breeds as many children as the population has places. None of them was evaluated before.
All are evaluated, and the best of parents and children are kept, by rank, then crowding. Parents
are drawn by tournaments of two in the same order.

The front is that of all evaluated genomes, not of the last population alone. Each genome is
evaluated once, in canonical form. A failed evaluation is on no front. Costs are counted, never
measured: no decision reads a clock or a meter, and so joules are no objective.

Source: Deb, Pratap, Agarwal and Meyarivan 2002.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import TypeAdapter

from clso.energy import EnergyMonitor, Measurement
from clso.genome import Genome
from clso.problem import CostedProblem, GenomeCost
from clso.progress import SILENT, Reporter
from search.archive import Scored
from search.breeding import breed, draw
from search.generation import Individual
from search.journal import Journal, JournalEntry
from search.pareto_result import (
    OBJECTIVES,
    ParetoMember,
    ParetoResult,
    ParetoStop,
    check_objectives,
)
from search.records import Records
from search.settings import ParetoSettings
from search.state_file import StateFile
from search.toolbox import Operators, Parent, Point, crowded_order, front, hypervolume

__all__ = ["run_pareto"]

_VERSION = 1  # raised when a change of the code changes a search; older states are refused


def run_pareto(
    problem: CostedProblem,
    settings: ParetoSettings,
    objectives: Sequence[str],
    records: Records,
    *,
    monitor: EnergyMonitor | None = None,
    reporter: Reporter = SILENT,
    should_stop: Callable[[], bool] | None = None,
) -> ParetoResult:
    """Search a problem's genomes for the Pareto front of loss and costs.

    Args:
        objectives: two or more of `OBJECTIVES`, the loss among them.
        records: where a row of `pareto_generations` per generation and the state are written; the
            same call later goes on from there.
        monitor: measures generations; `None`: durations only.
        reporter: told the size of the front and the best loss after every generation.
        should_stop: asked between generations; true ends the search as `"interrupted"`.

    Raises:
        ArtifactError: the saved state is damaged or of another search, or cannot be written.
        ConfigError: the objectives make no front.
    """
    search = _ParetoSearch(
        problem, settings, check_objectives(objectives), records, monitor or EnergyMonitor()
    )
    state = search.state
    with reporter.task(f"front of {records.family}", total=settings.generations) as task:
        task.update(state.generations, search.note())
        while state.stop_reason is None:
            if should_stop is not None and should_stop():
                return search.result("interrupted")
            search.run_generation()
            task.update(state.generations, search.note())
    return search.result(state.stop_reason)


@dataclass(slots=True, kw_only=True)
class _State:
    """The state between two generations, with the population in crowded order."""

    random_state: list[Any]
    generations: int = 0
    population: list[Genome] = field(default_factory=list)
    bounds: tuple[Point, Point] | None = None
    stop_reason: Literal["generations", "exhausted"] | None = None


_STATE = TypeAdapter(_State)


class _ParetoSearch:
    def __init__(
        self,
        problem: CostedProblem,
        settings: ParetoSettings,
        objectives: tuple[str, ...],
        records: Records,
        monitor: EnergyMonitor,
    ) -> None:
        self._problem = problem
        self._space = problem.space
        self._settings = settings
        self._objectives = objectives
        self._records = records
        self._monitor = monitor
        self._operators = Operators(
            self._space,
            crossover=settings.crossover,
            crossover_rate=settings.crossover_rate,
            mutation_rate=settings.mutation_rate,
            tournament_size=2,
            seed=records.seed,
            any_size=True,
        )
        self.state = _State(random_state=self._operators.state())
        self._resume()
        self.archive = self._journal.archive(self.state.generations)
        self._journal.forget(before=self.state.generations)
        self._costs: dict[Genome, GenomeCost] = {}
        self._points: dict[Genome, Point] = {}
        self._front: list[Genome] = []
        self._place(self.archive)

    def _resume(self) -> None:
        """Open state and journal, and continue from them if there are any."""
        identity = {
            "version": _VERSION,
            "problem": self._problem.fingerprint,
            "cardinalities": list(self._space.cardinalities),
            **self._records.identity,
            "settings": self._settings.model_dump(),
            "objectives": list(self._objectives),
        }
        self._state_file = StateFile(self._records.state_path, identity)
        saved = self._state_file.read(
            lambda value: (_STATE.validate_python(value), value["journal"])
        )
        self._journal = Journal(self._records.journal_path, json.dumps(identity, sort_keys=True))
        if saved is not None:
            self.state, mark = saved
            self._journal.check(mark)
            self._operators.restore(self.state.random_state)

    def note(self) -> str:
        """Return the size of the front and the lowest loss as text."""
        loss = self.archive.incumbent_loss
        return "" if loss is None else f"{len(self._front)} on the front, best {loss:.4f}"

    def run_generation(self) -> None:
        """Breed, evaluate, select, record, and save the state."""
        state, size = self.state, self._settings.population
        with self._monitor.window() as window:
            if state.generations == 0:
                individuals = draw(self._operators, size)
            else:
                individuals = breed(
                    self._operators,
                    self._parents(),
                    self.archive,
                    places=size,
                    factor=1.0,
                    present=self.archive,
                )
            n_failed = self._evaluate(individuals)
            new = [individual.canonical for individual in individuals]
            candidates = state.population + [genome for genome in new if genome in self._points]
            order = crowded_order([self._points[genome] for genome in candidates], size)
            state.population = [candidates[index] for index in order]
        self._record(len(new), n_failed, window.measurement)
        state.generations += 1
        if state.generations == self._settings.generations:
            state.stop_reason = "generations"
        elif not new or len(self.archive) >= self._space.size:
            state.stop_reason = "exhausted"
        state.random_state = self._operators.state()
        self._save()
        self._journal.forget()

    def _save(self) -> None:
        self._state_file.write(
            {**_STATE.dump_python(self.state, mode="json"), "journal": self._journal.mark}
        )

    def _parents(self) -> list[Parent]:
        """Return the population, with the place in crowded order as the loss of tournaments."""
        population = (self.archive.get(genome) for genome in self.state.population)
        return [
            Parent(scored.genome, float(place))
            for place, scored in enumerate(population)
            if scored is not None
        ]

    def _evaluate(self, individuals: Sequence[Individual]) -> int:
        """Score individuals, enter them, and return how many failed."""
        if not individuals:
            return 0
        if self.state.generations == 0:
            self._save()  # a journal always has its state beside it
        genomes = [individual.canonical for individual in individuals]
        # an interrupted generation may have left evaluations
        known = {genome: self._journal.known(genome, 1.0) for genome in genomes}
        unknown = [genome for genome in genomes if known[genome] is None]
        computed = dict(zip(unknown, self._problem.evaluate(unknown, 1.0), strict=True))
        entries = [
            JournalEntry(
                self.state.generations,
                0,
                index,
                individual.canonical,
                individual.genome,
                1.0,
                known[individual.canonical] or computed[individual.canonical],
            )
            for index, individual in enumerate(individuals)
        ]
        self._journal.write(entries)
        entered = [entry.scored for entry in entries]
        for scored in entered:
            self.archive.add(scored)
        self._place(entered)
        return sum(scored.loss is None for scored in entered)

    def _place(self, entered: Iterable[Scored]) -> None:
        """Count the costs of genomes with a loss, and update the front."""
        for scored in entered:
            if scored.loss is not None:
                cost = self._problem.cost(scored.canonical)
                self._costs[scored.canonical] = cost
                self._points[scored.canonical] = tuple(
                    OBJECTIVES[name](scored.loss, cost) for name in self._objectives
                )
                self._front.append(scored.canonical)
        self._front = [
            self._front[index] for index in front([self._points[genome] for genome in self._front])
        ]
        if self.state.bounds is None and self._points:
            columns = list(zip(*self._points.values(), strict=True))
            self.state.bounds = tuple(map(min, columns)), tuple(map(max, columns))

    def _record(self, n_new: int, n_failed: int, measurement: Measurement) -> None:
        bounds = self.state.bounds
        row = {
            **self._records.columns,
            "generation": self.state.generations,
            "n_evaluated": n_new - n_failed,
            "n_failed": n_failed,
            "n_front": len(self._front),
            "hypervolume": None
            if bounds is None
            else hypervolume((self._points[genome] for genome in self._front), *bounds),
            "best_loss": self.archive.incumbent_loss,
            **measurement.columns,
        }
        self._records.sink.append("pareto_generations", self.state.generations, [row])

    def result(self, stop_reason: ParetoStop) -> ParetoResult:
        on_front = set(self._front)
        members = [
            ParetoMember(
                scored.canonical,
                scored.loss,
                self._costs[scored.canonical],
                scored.canonical in on_front,
            )
            for scored in self.archive
            if scored.loss is not None
        ]
        members.sort(key=lambda member: (not member.on_front, member.loss, member.genome))
        return ParetoResult(
            members=tuple(members),
            objectives=self._objectives,
            bounds=self.state.bounds,
            generations=self.state.generations,
            n_failed=len(self.archive) - len(members),
            stop_reason=stop_reason,
        )
