"""The genetic algorithm with a surrogate inside its loop.

Generation 0 draws distinct genomes uniformly and evaluates all of them. Generation g > 0:

 1. Elites: the best evaluated genomes are taken over (`cached`).
 2. Offspring: parents are drawn by tournament from all individuals of generation g - 1. A child
    whose canonical form was evaluated before takes a place as `cached`; one that stands in this
    generation already is dropped and another bred, within bounds (`search.breeding`).
 3. Screening, from generation `surrogate.start` on: the surrogate is fitted anew to all
    evaluations and ranks the unknown children (`search.acquisition`). A share of them is
    evaluated, the first in that order and a random control; the rest stay `predicted`. Before,
    and in generations where the surrogate steps aside, all are evaluated.
 4. Local search, where due: one-gene neighbours of the incumbent that are neither evaluated nor
    in this generation are evaluated, in the same order (with `distinct_steps` one at most of those
    that bring in the same option); drawn uniformly without a surrogate.
    The control covers these evaluations too: step 3 draws ahead for them, and what it cannot
    is drawn among the neighbours, so the control's share holds after every generation.
 5. Every individual may breed, by its measured loss or, if only predicted, by the prediction
    plus its spread, but never below the incumbent's measured loss (`search.succession`).

"Evaluated" means scored on all fixed batches. With a `fidelity` other than `none`, those chosen
for it are scored on few batches first, and who is ruled out there is `screened` (`search.ladder`):
such a one may breed as the predicted do, the surrogate learns the estimate that follows from its
loss on that part, and it is not scored again.

Every genome is evaluated at most once, in canonical form. The incumbent, elites, finalists, the
size of the population and the stop by patience read whole losses only. No decision reads a clock
or a meter. Randomness is the operators' generator, whose state is saved, and generators made
from (seed, generation, purpose), so a resumed search repeats an unbroken one bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from clso.energy import EnergyMonitor, Measurement
from clso.problem import Problem
from clso.progress import SILENT, Reporter
from search.acquisition import precedence
from search.archive import Scored, Screened
from search.breeding import breed, cached, draw
from search.checkpoint import SearchState, load_state, save_state
from search.ladder import Ladder
from search.local_search import neighbours
from search.records import (
    Filtering,
    Individual,
    RecordSink,
    RunIdentity,
    SearchCounts,
    evaluation_row,
    generation_row,
)
from search.result import SearchResult
from search.screening import Screening, screen
from search.settings import SearchSettings
from search.succession import stop_reason, succeed
from search.surrogates import FloatArray, Surrogate, SurrogateFactory, surrogate_factory
from search.toolbox import Operators

__all__ = ["SEARCH_VERSION", "run_search"]

# Raised when a change of the code changes a search; older states and parts of studies are refused.
SEARCH_VERSION = 4
_MIN_TRAINING = 2
_SURROGATE, _CONTROL, _LOCAL, _NEIGHBOURS = range(4)  # purposes of a generation's own random draws


def run_search(
    problem: Problem,
    settings: SearchSettings,
    *,
    seed: int,
    family: str,
    run_id: str,
    sink: RecordSink,
    state_path: Path | None = None,
    monitor: EnergyMonitor | None = None,
    reporter: Reporter = SILENT,
    should_stop: Callable[[], bool] | None = None,
    surrogate: SurrogateFactory | None = None,
) -> SearchResult:
    """Search a problem's genomes for the lowest loss.

    Args:
        problem: what a genome costs.
        settings: of the search.
        seed: the only source of randomness.
        family: the `family` column of the records, and the name shown to the reporter.
        run_id: the `run_id` column.
        sink: receives every generation's rows before its state is saved.
        state_path: where the state is saved after every generation, and resumed from.
        monitor: measures generations and the surrogate; `None`: durations only.
        reporter: told the incumbent after every generation.
        should_stop: asked between generations; true ends the search as `"interrupted"`, and the
            same call later goes on from there.
        surrogate: makes surrogates in place of `settings.surrogate.kind`.

    Raises:
        ArtifactError: the saved state is damaged or of another search, or cannot be written.
        ConfigError: `settings.fidelity` asks for what the problem or the budget does not allow.
    """
    search = _Search(
        problem,
        settings,
        RunIdentity(run_id, seed, family),
        sink,
        state_path,
        monitor or EnergyMonitor(),
        surrogate or surrogate_factory(settings.surrogate),
    )
    state = search.state
    with reporter.task(f"search {family}", total=settings.generations) as task:
        task.update(state.generations, search.note())
        while state.stop_reason is None:
            if should_stop is not None and should_stop():
                return SearchResult.of(state, settings.finalists, "interrupted")
            search.run_generation()
            task.update(state.generations, search.note())
    return SearchResult.of(state, settings.finalists, state.stop_reason)


class _Search:
    def __init__(
        self,
        problem: Problem,
        settings: SearchSettings,
        run: RunIdentity,
        sink: RecordSink,
        state_path: Path | None,
        monitor: EnergyMonitor,
        make_surrogate: SurrogateFactory | None,
    ) -> None:
        self._problem = problem
        self._space = problem.space
        self._settings = settings
        self._run = run
        self._sink = sink
        self._state_path = state_path
        self._monitor = monitor
        self._make_surrogate = make_surrogate
        # asked once, when the first surrogate of this search is made, and charged with it
        describe = problem.space.describe if settings.surrogate.features else None
        self._known = replace(problem.space, describe=None if describe is None else cache(describe))
        self._ladder = Ladder(problem, settings.fidelity, limit=settings.max_evaluations)
        self._operators = Operators(
            self._space.cardinalities,
            crossover=settings.crossover,
            crossover_rate=settings.crossover_rate,
            mutation_rate=settings.mutation_rate,
            tournament_size=settings.tournament_size,
            seed=run.seed,
            exchangeable=self._space.exchangeable,
        )
        self._identity: dict[str, Any] = {
            "version": SEARCH_VERSION,
            "problem": problem.fingerprint,
            "cardinalities": list(self._space.cardinalities),
            **asdict(run),
            "settings": settings.model_dump(mode="json"),
        }
        saved = None if state_path is None else load_state(state_path, self._identity)
        if saved is None:
            self.state = SearchState(
                random_state=self._operators.state(), population=settings.population
            )
        else:
            self.state = saved
            self._operators.restore(saved.random_state)

    def note(self) -> str:
        """Say the incumbent's loss."""
        loss = self.state.archive.incumbent_loss
        return "" if loss is None else f"best {loss:.4f}"

    def run_generation(self) -> None:
        """Breed, screen, evaluate, search locally, record, and save the state."""
        state = self.state
        (chosen, at_random), discarded = state.screened, state.counts.n_discarded
        with self._monitor.window() as window:
            if state.generations == 0:
                surrogate = None
                individuals = draw(self._space, self._operators, state.population)
                individuals = individuals[: self._evaluations_left]
                self._evaluate(individuals)
            else:
                surrogate = self._fitted_surrogate()
                individuals, surrogate = self._next_population(surrogate)
            if self._settings.local_search.due(state.generations):
                individuals += self._local_search(individuals, surrogate)
        filtering = Filtering(
            surrogate.kind if surrogate is not None and state.screened[0] > chosen else None,
            n_random=state.screened[1] - at_random,
            n_discarded=state.counts.n_discarded - discarded,
        )
        self._record(individuals, filtering, window.measurement)
        self._advance(individuals)

    def _rng(self, purpose: int) -> np.random.Generator:
        return np.random.default_rng([self._run.seed, self.state.generations, purpose])

    @property
    def _evaluations_left(self) -> int | None:
        return self._ladder.affordable(self.state.spent)

    def _next_population(
        self, surrogate: Surrogate | None
    ) -> tuple[list[Individual], Surrogate | None]:
        """Return the generation before local search, and the surrogate if it screened it."""
        settings, archive = self._settings, self.state.archive
        elites = [cached(scored, "elite") for scored in archive.best(settings.elites)]
        places = self.state.population - len(elites)
        children = breed(
            self._space,
            self._operators,
            self.state.parents,
            archive,
            places=places,
            factor=1.0 if surrogate is None else settings.surrogate.pool_factor,
            present={elite.canonical for elite in elites},
        )
        novel = [child for child in children if child.status is None]
        places -= len(children) - len(novel)
        predictions = None if surrogate is None else self._predict(surrogate, novel)
        if predictions is None:
            surrogate = None
            self._evaluate(novel[:places][: self._evaluations_left])
        else:
            self._screen(novel, predictions, places)
        # what got no number (dropped from the pool, or the budget ended) is no individual
        kept = [child for child in children if child.status is not None]
        return elites + kept, surrogate

    def _fitted_surrogate(self) -> Surrogate | None:
        """Return a surrogate of all evaluations; `None` too early, or if it steps aside."""
        if self._make_surrogate is None or self.state.generations < self._settings.surrogate.start:
            return None
        genomes, losses = self.state.archive.training_set()
        if len(genomes) < _MIN_TRAINING:
            return None
        seed = np.random.SeedSequence([self._run.seed, self.state.generations, _SURROGATE])
        with self._monitor.window() as window:
            surrogate = self._make_surrogate(self._known, int(seed.generate_state(1)[0]))
            surrogate.fit(genomes, losses)
        self.state.charge_surrogate(window.measurement)
        return None if surrogate.kind is None else surrogate

    def _predict(
        self, surrogate: Surrogate, candidates: Sequence[Individual]
    ) -> tuple[FloatArray, FloatArray] | None:
        """Return means and spreads; `None` if they are no finite numbers and say nothing."""
        with self._monitor.window() as window:
            mean, std = surrogate.predict([candidate.canonical for candidate in candidates])
        self.state.charge_surrogate(window.measurement, n_predictions=len(candidates))
        finite = bool(np.isfinite(mean).all() and np.isfinite(std).all())
        return (mean, std) if finite else None

    def _choose(
        self,
        predictions: tuple[FloatArray, FloatArray],
        places: int,
        *,
        fraction: float,
        purpose: int,
        follow: int = 0,
        alike: Sequence[Hashable] | None = None,
    ) -> Screening:
        """Let means and spreads `(n,)` and the random control choose, and keep count of both."""
        state = self.state
        mean, std = predictions
        settings, incumbent = self._settings.surrogate, state.archive.incumbent_loss
        assert incumbent is not None  # a surrogate learned from finite losses
        chosen = screen(
            precedence(
                settings.acquisition, mean, std, incumbent=incumbent, optimism=settings.optimism
            ),
            places,
            limit=self._evaluations_left,
            follow=follow,
            fraction=fraction,
            random_fraction=settings.random_fraction,
            already=state.screened,
            alike=alike if settings.distinct_steps else None,
            rng=self._rng(purpose),
        )
        if len(mean):
            state.count_screened(len(chosen.best), len(chosen.random))
        return chosen

    def _screen(
        self, novel: list[Individual], predictions: tuple[FloatArray, FloatArray], places: int
    ) -> None:
        local_search = self._settings.local_search
        chosen = self._choose(
            predictions,
            places,
            fraction=self._settings.surrogate.full_eval_fraction,
            purpose=_CONTROL,
            follow=local_search.neighbours if local_search.due(self.state.generations) else 0,
        )
        for individual, mean, std in zip(novel, *predictions, strict=True):
            individual.guess(mean, std)
        for index in chosen.predicted:
            novel[index].status = "predicted"
        self._evaluate([novel[index] for index in chosen.evaluated])
        n_discarded = sum(individual.status is None for individual in novel)
        self.state.counts += SearchCounts(n_discarded=n_discarded)

    def _local_search(
        self, individuals: Sequence[Individual], surrogate: Surrogate | None
    ) -> list[Individual]:
        archive, left = self.state.archive, self._evaluations_left
        incumbent = archive.incumbent
        if incumbent is None or left == 0:
            return []
        present = {individual.canonical for individual in individuals}
        most = None if surrogate is None else self._settings.surrogate.neighbour_pool
        candidates = neighbours(
            self._space,
            incumbent.genome,
            lambda one: archive.knows(one) or one in present,
            most=most,
            rng=self._rng(_NEIGHBOURS),
        )
        steps = [Individual(one.genome, one.canonical, "local_search") for one in candidates]
        if not steps:
            return []
        count = self._settings.local_search.neighbours
        predictions = None if surrogate is None else self._predict(surrogate, steps)
        if predictions is None:
            count = min(len(steps), count if left is None else min(count, left))
            drawn = self._rng(_LOCAL).choice(len(steps), size=count, replace=False)
            tried = [steps[index] for index in sorted(drawn)]
        else:
            for step, mean, std in zip(steps, *predictions, strict=True):
                step.guess(mean, std)
            alike = [one.brings for one in candidates]
            chosen = self._choose(predictions, count, fraction=1.0, purpose=_LOCAL, alike=alike)
            tried = [steps[index] for index in chosen.evaluated]
        self._evaluate(tried)
        return tried

    def _evaluate(self, individuals: Sequence[Individual]) -> None:
        state, archive = self.state, self.state.archive
        climbs = self._ladder.climb([one.canonical for one in individuals], archive.incumbent_rungs)
        for individual, climb in zip(individuals, climbs, strict=True):
            individual.evaluation, individual.fidelity = climb.evaluation, climb.fidelity
            individual.screening_loss = climb.rungs[-1].loss if climb.rungs else None
            state.spent += climb.cost
            if climb.loss is not None and climb.fidelity < 1.0:
                individual.status = "screened"
                archive.screen_out(Screened(individual.canonical, climb.fidelity, climb.loss))
                continue
            individual.status = "failed" if climb.loss is None else "evaluated"
            individual.evaluated_loss = climb.loss
            archive.add(Scored(individual.genome, individual.canonical, climb.loss))
        incumbent = archive.incumbent
        for individual, climb in zip(individuals, climbs, strict=True):
            if incumbent is not None and individual.canonical == incumbent.canonical:
                archive.incumbent_rungs = climb.rungs

    def _record(
        self, individuals: Sequence[Individual], filtering: Filtering, measurement: Measurement
    ) -> None:
        generation = self.state.generations
        rows = [
            evaluation_row(self._run, generation, number, individual)
            for number, individual in enumerate(individuals)
        ]
        self._sink.append("evaluations", generation, rows)
        row = generation_row(
            self._run,
            generation,
            individuals,
            self.state.archive.incumbent_loss,
            measurement,
            filtering=filtering,
            population=self.state.population,
        )
        self._sink.append("generations", generation, [row])

    def _advance(self, individuals: Sequence[Individual]) -> None:
        state = self.state
        succeed(state, individuals, self._settings)
        state.stop_reason = stop_reason(
            state,
            self._settings,
            space_size=self._space.size,
            evaluations_left=self._evaluations_left,
        )
        state.random_state = self._operators.state()
        if self._state_path is not None:
            save_state(self._state_path, state, self._identity)
