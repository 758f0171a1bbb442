"""Search for models that are good, small and fast at once: NSGA-II over loss and costs.

Generation 0 draws distinct genomes, sets of all sizes among them, and evaluates all. Generation
g > 0 breeds as many children as the population has places, none of which was ever evaluated,
evaluates all of them, and keeps the best of parents and children by rank, then crowding. Parents
are drawn by tournaments of two in the same order.

The front is that of all genomes evaluated, each once, in canonical form, not of the last
population alone; an evaluation that failed is on no front. Costs are counted, never measured: no
decision reads a clock or a meter, and so joules are no objective.

Source: Deb, Pratap, Agarwal and Meyarivan 2002.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from clso.energy import EnergyMonitor, Measurement
from clso.errors import ConfigError
from clso.genome import Genome
from clso.problem import CostedProblem, Evaluation, GenomeCost
from clso.progress import SILENT, Reporter
from search.archive import Archive, Scored
from search.breeding import breed, draw
from search.journal import Journal, Place, Told, read_state, write_state
from search.objectives import OBJECTIVES, check_objectives
from search.pareto_result import ParetoMember, ParetoResult, ParetoStop
from search.records import RecordSink, RunIdentity
from search.toolbox import Operators, Parent, Point, crowded_order, front, hypervolume

__all__ = ["ParetoSettings", "run_pareto"]

_VERSION = 1  # raised when a change of the code changes a search; older states are refused


@dataclass(frozen=True, slots=True, kw_only=True)
class ParetoSettings:
    """NSGA-II.

    Attributes:
        population: places of a generation, and children that each later one evaluates.
        generations: the initial population is the first.
        crossover_rate: probability per pair of parents.
        mutation_rate: probability per gene.

    Raises:
        ConfigError: a value out of its range.
    """

    population: int = 40
    generations: int = 15
    crossover: Literal["uniform", "two_point"] = "uniform"
    crossover_rate: float = 0.75
    mutation_rate: float = 0.08

    def __post_init__(self) -> None:
        for name, least in (("population", 2), ("generations", 1)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} is {getattr(self, name)}, expected at least {least}")
        for name in ("crossover_rate", "mutation_rate"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} is {getattr(self, name)}, expected 0 to 1")


def run_pareto(
    problem: CostedProblem,
    settings: ParetoSettings,
    objectives: Sequence[str],
    *,
    seed: int,
    family: str,
    run_id: str,
    sink: RecordSink,
    state_path: Path | None = None,
    monitor: EnergyMonitor | None = None,
    reporter: Reporter = SILENT,
    should_stop: Callable[[], bool] | None = None,
) -> ParetoResult:
    """Search a problem's genomes for the Pareto front of loss and costs.

    Args:
        problem: what a genome scores and costs.
        settings: of the search.
        objectives: two or more of `OBJECTIVES`, the loss among them.
        seed: the only source of randomness.
        family: the `family` column of the records, and the name shown to the reporter.
        run_id: the `run_id` column.
        sink: receives a row of `pareto_generations` per generation, before its state is saved.
        state_path: where the state is saved after every generation, and resumed from.
        monitor: measures generations; `None`: durations only.
        reporter: told the front's size and the best loss after every generation.
        should_stop: asked between generations; true ends the search as `"interrupted"`, and the
            same call later goes on from there.

    Raises:
        ArtifactError: the saved state is damaged or of another search, or cannot be written.
        ConfigError: objectives that make no front.
    """
    search = _ParetoSearch(
        problem,
        settings,
        check_objectives(objectives),
        RunIdentity(run_id, seed, family),
        sink,
        state_path,
        monitor or EnergyMonitor(),
    )
    state = search.state
    with reporter.task(f"front of {family}", total=settings.generations) as task:
        task.update(state.generations, search.note())
        while state.stop_reason is None:
            if should_stop is not None and should_stop():
                return search.result("interrupted")
            search.run_generation()
            task.update(state.generations, search.note())
    return search.result(state.stop_reason)


@dataclass(slots=True, kw_only=True)
class _State:
    """What one generation leaves to the next; the population in crowded order."""

    random_state: list[Any]
    generations: int = 0
    population: list[Genome] = field(default_factory=list)
    bounds: tuple[Point, Point] | None = None
    stop_reason: Literal["generations", "exhausted"] | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "random_state": self.random_state,
            "generations": self.generations,
            "population": [list(genome) for genome in self.population],
            "bounds": self.bounds,
            "stop_reason": self.stop_reason,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> _State:
        bounds = value["bounds"]
        return cls(
            random_state=value["random_state"],
            generations=int(value["generations"]),
            population=[tuple(genome) for genome in value["population"]],
            bounds=None if bounds is None else (tuple(bounds[0]), tuple(bounds[1])),
            stop_reason=value["stop_reason"],
        )


class _ParetoSearch:
    def __init__(
        self,
        problem: CostedProblem,
        settings: ParetoSettings,
        objectives: tuple[str, ...],
        run: RunIdentity,
        sink: RecordSink,
        state_path: Path | None,
        monitor: EnergyMonitor,
    ) -> None:
        self._problem = problem
        self._space = problem.space
        self._settings = settings
        self._objectives = objectives
        self._run = run
        self._sink = sink
        self._state_path = state_path
        self._monitor = monitor
        self._operators = Operators(
            self._space.cardinalities,
            crossover=settings.crossover,
            crossover_rate=settings.crossover_rate,
            mutation_rate=settings.mutation_rate,
            tournament_size=2,
            seed=run.seed,
            exchangeable=self._space.exchangeable,
            any_size=True,
        )
        self._identity: dict[str, Any] = {
            "version": _VERSION,
            "problem": problem.fingerprint,
            "cardinalities": list(self._space.cardinalities),
            **asdict(run),
            "settings": asdict(settings),
            "objectives": list(objectives),
        }
        self.state = _State(random_state=self._operators.state())
        saved = None
        if state_path is not None:
            saved = read_state(
                state_path,
                self._identity,
                lambda value: (_State.from_json(value), value["journal"]),
            )
        self._journal = Journal(
            None if state_path is None else state_path.with_suffix(".journal"),
            json.dumps(self._identity, sort_keys=True),
        )
        if saved is not None:
            self.state = saved[0]
            self._journal.check(saved[1])
        self.archive = self._journal.archive(self.state.generations)
        self._journal.keep_from(self.state.generations)
        self._operators.restore(self.state.random_state)
        self._costs: dict[Genome, GenomeCost] = {}
        self._points: dict[Genome, Point] = {}
        self._front: list[Genome] = []
        self._place(self.archive)

    def note(self) -> str:
        """Say how many are on the front, and the lowest loss."""
        loss = self.archive.incumbent_loss
        return "" if loss is None else f"{len(self._front)} on the front, best {loss:.4f}"

    def run_generation(self) -> None:
        """Breed, evaluate, select, record, and save the state."""
        state, size = self.state, self._settings.population
        with self._monitor.window() as window:
            if state.generations == 0:
                individuals = draw(self._space, self._operators, size)
            else:
                individuals = breed(
                    self._space,
                    self._operators,
                    self._parents(),
                    self.archive,
                    places=size,
                    factor=1.0,
                    present=self.archive,
                )
            new = [Scored(one.genome, one.canonical, None) for one in individuals]
            n_failed = self._evaluate(new)
            candidates = [
                *state.population,
                *(s.canonical for s in new if s.canonical in self._points),
            ]
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
        if self._state_path is not None:
            value = {**self.state.to_json(), "journal": self._journal.mark}
            write_state(self._state_path, value, self._identity)

    def _parents(self) -> list[Parent]:
        """Return the population, a tournament being won by who comes first in crowded order."""
        found = (self.archive.get(genome) for genome in self.state.population)
        return [
            Parent(scored.genome, float(place))
            for place, scored in enumerate(found)
            if scored is not None
        ]

    def _evaluate(self, new: Sequence[Scored]) -> int:
        """Score genomes, enter them, and return how many failed."""
        if not new:
            return 0
        if self.state.generations == 0:
            self._save()  # a journal always has its state beside it
        entered = []
        for one, evaluation in zip(new, self._evaluations(new), strict=True):
            entered.append(Scored(one.genome, one.canonical, evaluation.finite_loss))
            self.archive.add(entered[-1])
        self._place(entered)
        return sum(one.loss is None for one in entered)

    def _evaluations(self, new: Sequence[Scored]) -> list[Evaluation]:
        """Return evaluations from an interrupted generation, or have the problem make them."""
        known = {one.canonical: self._journal.known(one.canonical, 1.0) for one in new}
        unknown = [canonical for canonical, evaluation in known.items() if evaluation is None]
        computed = dict(zip(unknown, self._problem.evaluate(unknown, 1.0), strict=True))
        evaluations = [known[one.canonical] or computed[one.canonical] for one in new]
        self._journal.write(
            (
                Place(self.state.generations, 0, index),
                Told(one.canonical, one.genome, 1.0, evaluation),
            )
            for index, (one, evaluation) in enumerate(zip(new, evaluations, strict=True))
        )
        return evaluations

    def _place(self, entered: Archive | Sequence[Scored]) -> None:
        """Cost what has a loss, and take it into the front."""
        for one in entered:
            if one.loss is not None:
                cost = self._problem.cost(one.canonical)
                self._costs[one.canonical] = cost
                self._points[one.canonical] = tuple(
                    OBJECTIVES[name](one.loss, cost) for name in self._objectives
                )
                self._front.append(one.canonical)
        self._front = [
            self._front[index] for index in front([self._points[genome] for genome in self._front])
        ]
        if self.state.bounds is None and self._points:
            columns = list(zip(*self._points.values(), strict=True))
            self.state.bounds = tuple(map(min, columns)), tuple(map(max, columns))

    def _record(self, n_new: int, n_failed: int, measurement: Measurement) -> None:
        bounds = self.state.bounds
        row = {
            "run_id": self._run.run_id,
            "seed": self._run.seed,
            "family": self._run.family,
            "generation": self.state.generations,
            "n_evaluated": n_new - n_failed,
            "n_failed": n_failed,
            "n_front": len(self._front),
            "hypervolume": None
            if bounds is None
            else hypervolume((self._points[genome] for genome in self._front), *bounds),
            "best_loss": self.archive.incumbent_loss,
            "duration_s": measurement.duration_s,
            "energy_j": measurement.energy_j,
            "energy_source": measurement.energy_source,
            "estimated": measurement.estimated,
        }
        self._sink.append("pareto_generations", self.state.generations, [row])

    def result(self, stop_reason: ParetoStop) -> ParetoResult:
        """Sum up."""
        on_front = set(self._front)
        members = [
            ParetoMember(
                one.canonical, one.loss, self._costs[one.canonical], one.canonical in on_front
            )
            for one in self.archive
            if one.loss is not None
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
