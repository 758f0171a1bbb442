"""The genetic algorithm with a surrogate inside its loop.

Generation 0 draws distinct genomes uniformly and evaluates all of them. Generation g > 0:

 1. Elites: the best evaluated genomes are taken over (`cached`).
 2. Offspring: parents are drawn by tournament from all individuals of generation g - 1. A child
    whose canonical form was evaluated before takes a place as `cached`; a child that stands in
    this generation already is dropped and another one is bred, within bounds (`search.breeding`).
 3. Screening, from generation `surrogate.start` on: the surrogate is fitted anew to all
    evaluations and ranks the unknown children (`search.acquisition`). A share of them is
    evaluated, the first in that order and a random control; the others stay `predicted`. Before
    that generation, and where the surrogate steps aside, all are evaluated.
 4. Local search, where due: one-gene neighbours of the incumbent that are neither evaluated nor
    in this generation are evaluated, in the same order (with `distinct_steps` at most one of
    those that bring in the same option); drawn uniformly without a surrogate.
    The control covers these evaluations too: step 3 draws ahead for them, and what it cannot
    draw is drawn among the neighbours, so the control's share holds after every generation.
 5. Every individual may breed, by its measured loss or, if only predicted, by the prediction
    plus its spread, but never below the incumbent's measured loss (`search.state`).

"Evaluated" means scored on all fixed batches. With a `fidelity` other than `none`, the genomes
chosen for evaluation are scored on few batches first, and what is ruled out there is `screened`
(`search.ladder`): screened individuals may breed like predicted ones, the surrogate learns the
estimate that follows from the loss on that part, and they are not scored again.

Every genome is evaluated at most once, in canonical form. The incumbent, elites, finalists, the
size of the population and the stop by patience depend on whole losses only. No decision reads a
clock or a meter. Randomness is the operators' generator, whose state is saved, and generators made
from (seed, generation, purpose), so a resumed search repeats an unbroken one bit for bit.
"""

from __future__ import annotations

from collections.abc import Generator, Hashable, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from clso.energy import EnergyMonitor, Measurement
from clso.genome import Genome
from clso.problem import Evaluation, Problem
from search.acquisition import precedence
from search.archive import Archive, Scored, Screened
from search.breeding import breed, cached, draw
from search.ladder import Batch, Ladder
from search.local_search import neighbours
from search.records import Filtering, Individual, SearchCounts
from search.screening import Screening, n_wanted, screen
from search.settings import SearchSettings
from search.state import SearchState, stop_reason, succeed
from search.surrogates.interface import FloatArray, Surrogate, SurrogateFactory
from search.toolbox import Operators

__all__ = ["SEARCH_VERSION", "Evolution", "Generation"]

# Raised when a change of the code changes a search; older states and parts of studies are refused.
SEARCH_VERSION = 4
_MIN_TRAINING = 2
_ROUNDING = 1e-9  # of sums of fidelities
_SURROGATE, _CONTROL, _LOCAL, _NEIGHBOURS = range(4)  # purposes of a generation's own random draws

# yields what is to be evaluated, is sent the evaluations
_Asking = Generator[Batch, Sequence[Evaluation], None]


@dataclass(frozen=True)
class Generation:
    """A generation whose individuals are all scored.

    Attributes:
        number: from 0.
        individuals: all of them, in order.
        population: places that it had, local search's apart.
        filtering: what the surrogate did.
        measurement: of the whole generation, the surrogate included.
    """

    number: int
    individuals: list[Individual]
    population: int
    filtering: Filtering
    measurement: Measurement


class Evolution:
    """The genetic algorithm, which asks for evaluations instead of having them made.

    Args:
        problem: has the space and the fidelities; it is not asked for evaluations here.
        settings: of the search.
        seed: the only source of randomness.
        start: genomes to evaluate in generation 0; the other places are drawn.
        monitor: measures generations and the surrogate.
        make_surrogate: `None`: there is none.

    Attributes:
        state: between two generations; while one runs, its counters run ahead.
        archive: every genome scored so far.
        as_bred: slots as bred of the genomes asked for in this generation, by canonical form.

    Raises:
        ConfigError: `settings.fidelity` asks for what the problem or the budget does not allow.
    """

    def __init__(
        self,
        problem: Problem,
        settings: SearchSettings,
        *,
        seed: int,
        start: Sequence[Genome],
        monitor: EnergyMonitor,
        make_surrogate: SurrogateFactory | None,
    ) -> None:
        self._problem = problem
        self._space = problem.space
        self._seed = seed
        self._start = start
        self._monitor = monitor
        self._make_surrogate = make_surrogate
        # asked once, when the first surrogate of this search is made, and charged with it
        describe = problem.space.describe if settings.surrogate.features else None
        self._known = replace(problem.space, describe=None if describe is None else cache(describe))
        self._operators = Operators(
            self._space.cardinalities,
            crossover=settings.crossover,
            crossover_rate=settings.crossover_rate,
            mutation_rate=settings.mutation_rate,
            tournament_size=settings.tournament_size,
            seed=seed,
            exchangeable=self._space.exchangeable,
        )
        self.limit_to(settings)
        self.archive = Archive()
        self.as_bred: dict[Genome, Genome] = {}
        self.state = SearchState(
            random_state=self._operators.state(), population=settings.population
        )

    def limit_to(self, settings: SearchSettings) -> None:
        """Go on with other `generations` and `max_evaluations`."""
        self._settings = settings
        self._ladder = Ladder(self._problem, settings.fidelity, limit=settings.max_evaluations)

    def restore(self, state: SearchState, archive: Archive) -> None:
        """Continue from a state between two generations and the archive it had.

        Raises:
            ArtifactError: its random state is damaged.
        """
        self._operators.restore(state.random_state)
        self.state, self.archive = state, archive
        self.archive.incumbent_rungs = state.incumbent_rungs

    def find_stop_reason(self) -> None:
        """Note in the state whether the search is over."""
        self.state.stop_reason = stop_reason(
            self.state,
            self._settings,
            space_size=self._space.size,
            evaluations_left=self._ladder.affordable(self.state.spent),
        )

    def run_generation(self) -> Generator[Batch, Sequence[Evaluation], Generation]:
        """Breed, screen, evaluate, search locally; the state is then that of the next generation.

        Yields:
            What is to be evaluated; send the evaluations, in the order of the batch.

        Raises:
            ConfigError: a race on a problem that does not tell its losses by batch.
        """
        state = self.state
        before, number, population = replace(state), state.generations, state.population
        self.as_bred = {}
        (chosen, at_random), discarded = state.screened, state.counts.n_discarded
        with self._monitor.window() as window:
            if number == 0:
                surrogate = None
                individuals = draw(self._space, self._operators, population, start=self._start)
                individuals = individuals[: self._allowed(len(individuals))]
                yield from self._evaluate(individuals)
            else:
                surrogate = self._fitted_surrogate()
                individuals, surrogate = yield from self._next_population(surrogate)
            if self._settings.local_search.due(number):
                individuals += yield from self._local_search(individuals, surrogate)
        filtering = Filtering(
            surrogate.kind if surrogate is not None and state.screened[0] > chosen else None,
            n_random=state.screened[1] - at_random,
            n_discarded=state.counts.n_discarded - discarded,
        )
        limit = self._settings.max_evaluations
        if limit is not None and state.limited is None and state.least_limit > limit + _ROUNDING:
            state.limited = before
        succeed(state, self.archive, individuals, self._settings)
        self.find_stop_reason()
        state.random_state = self._operators.state()
        return Generation(number, individuals, population, filtering, window.measurement)

    def _rng(self, purpose: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, self.state.generations, purpose])

    def _allowed(self, wanted: int) -> int | None:
        """Return how many evaluations the budget allows where so many are wanted at most.

        `None`: any number.
        """
        state = self.state
        state.least_limit = max(state.least_limit, state.spent + self._ladder.worst_cost(wanted))
        return self._ladder.affordable(state.spent)

    def _next_population(
        self, surrogate: Surrogate | None
    ) -> Generator[Batch, Sequence[Evaluation], tuple[list[Individual], Surrogate | None]]:
        """Return the generation before local search, and the surrogate if it screened it."""
        settings, archive = self._settings, self.archive
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
            wanted = novel[:places]
            yield from self._evaluate(wanted[: self._allowed(len(wanted))])
        else:
            yield from self._screen(novel, predictions, places)
        # what got no number (dropped from the pool, or the budget ended) is no individual
        kept = [child for child in children if child.status is not None]
        return elites + kept, surrogate

    def _fitted_surrogate(self) -> Surrogate | None:
        """Return a surrogate of all evaluations; `None` too early, or if it steps aside."""
        if self._make_surrogate is None or self.state.generations < self._settings.surrogate.start:
            return None
        genomes, losses = self.archive.training_set()
        if len(genomes) < _MIN_TRAINING:
            return None
        seed = np.random.SeedSequence([self._seed, self.state.generations, _SURROGATE])
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
        settings, incumbent = self._settings.surrogate, self.archive.incumbent_loss
        assert incumbent is not None  # a surrogate learned from finite losses
        chosen = screen(
            precedence(
                settings.acquisition, mean, std, incumbent=incumbent, optimism=settings.optimism
            ),
            places,
            limit=self._allowed(n_wanted(len(mean), places, fraction) + follow),
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
    ) -> _Asking:
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
        yield from self._evaluate([novel[index] for index in chosen.evaluated])
        n_discarded = sum(individual.status is None for individual in novel)
        self.state.counts += SearchCounts(n_discarded=n_discarded)

    def _local_search(
        self, individuals: Sequence[Individual], surrogate: Surrogate | None
    ) -> Generator[Batch, Sequence[Evaluation], list[Individual]]:
        archive, count = self.archive, self._settings.local_search.neighbours
        incumbent = archive.incumbent
        if incumbent is None or self._allowed(1) == 0:
            return []
        present = {individual.canonical for individual in individuals}
        most = None if surrogate is None else self._settings.surrogate.neighbour_pool
        candidates = neighbours(
            self._space,
            incumbent.genome,
            lambda canonical: archive.knows(canonical) or canonical in present,
            most=most,
            rng=self._rng(_NEIGHBOURS),
        )
        steps = [
            Individual(neighbour.genome, neighbour.canonical, "local_search")
            for neighbour in candidates
        ]
        if not steps:
            return []
        predictions = None if surrogate is None else self._predict(surrogate, steps)
        if predictions is None:
            count = min(len(steps), count)
            left = self._allowed(count)
            count = count if left is None else min(count, left)
            drawn = self._rng(_LOCAL).choice(len(steps), size=count, replace=False)
            tried = [steps[index] for index in sorted(drawn)]
        else:
            for step, mean, std in zip(steps, *predictions, strict=True):
                step.guess(mean, std)
            alike = [neighbour.brings for neighbour in candidates]
            chosen = self._choose(predictions, count, fraction=1.0, purpose=_LOCAL, alike=alike)
            tried = [steps[index] for index in chosen.evaluated]
        yield from self._evaluate(tried)
        return tried

    def _evaluate(self, individuals: Sequence[Individual]) -> _Asking:
        state, archive = self.state, self.archive
        self.as_bred |= {individual.canonical: individual.genome for individual in individuals}
        climbs = yield from self._ladder.climb(
            [individual.canonical for individual in individuals], archive.incumbent_rungs
        )
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
