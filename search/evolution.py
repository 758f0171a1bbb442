"""The genetic algorithm with a surrogate inside its loop.

Generation 0 draws distinct genomes uniformly and evaluates all of them. Generation g > 0:

 1. Elites: the best evaluated genomes are taken over (`cached`).
 2. Offspring: parents are drawn by tournament from all individuals of generation g - 1. A child
    whose canonical form was evaluated before takes a place as `cached`. A child that is in this
    generation already is dropped and another one is bred, within bounds (`search.breeding`).
 3. Screening, from generation `surrogate.start` on: the surrogate is fitted anew to all
    evaluations and ranks the unknown children (`search.screening`). A share of them is
    evaluated, the first in that order and a random control. The others stay `predicted`. Before
    that generation, and where the surrogate steps aside, all are evaluated.
 4. Local search, where due: one-gene neighbours of the incumbent that are neither evaluated nor
    in this generation are evaluated, in the same order (with `distinct_steps` at most one for each
    new option). Without a surrogate they are drawn uniformly. The control covers these
    evaluations too: step 3 draws random evaluations ahead for them, and the missing ones are drawn
    among the neighbours. So the share of the control holds after every generation.
 5. Every individual may breed. Selection uses its measured loss, or else the prediction plus its
    spread, but never less than the incumbent's measured loss (`search.state`).

"Evaluated" means scored on all fixed batches. With a `fidelity` other than `none`, the genomes
chosen for evaluation are scored on few batches first, and those ruled out there are `screened`
(`search.ladder`). Screened individuals may breed like predicted ones. The surrogate learns an
estimate of their whole losses, and they are not scored again.

Every genome is evaluated at most once, in canonical form. The incumbent, elites, finalists, the
size of the population and the stop by patience depend on whole losses only. No decision reads a
clock or a meter. Randomness is the operators' generator, whose state is saved, and generators made
from (seed, generation, purpose), so a resumed search repeats an unbroken one bit for bit.
"""

from __future__ import annotations

from collections.abc import Container, Generator, Sequence
from dataclasses import replace
from functools import cache

import numpy as np

from clso.energy import EnergyMonitor
from clso.errors import ConfigError
from clso.genome import Genome
from clso.problem import Evaluation, Problem
from search.archive import Archive, Scored
from search.breeding import breed, draw, neighbours
from search.generation import Generation, Individual, SearchCounts
from search.ladder import SPENT_ROUNDING, Batch, Ladder
from search.screening import Screener, Screening, precedence
from search.settings import SearchSettings
from search.state import SearchState
from search.surrogates.interface import (
    MIN_TRAINING,
    FloatArray,
    Surrogate,
    SurrogateFactory,
    neighbour_means,
)
from search.toolbox import Operators

__all__ = ["SEARCH_VERSION", "Evolution"]

# Raised when a change of the code changes a search; older states and parts of studies are refused.
SEARCH_VERSION = 5
_SURROGATE, _CONTROL, _LOCAL, _NEIGHBOURS = range(4)  # purposes of a generation's own random draws

# yields batches, is sent their evaluations
_Asking = Generator[Batch, Sequence[Evaluation], None]


class Evolution:
    """The genetic algorithm, which asks its caller for evaluations.

    Args:
        problem: offers the space and the fidelities; it is not asked for evaluations here.
        seed: the only source of randomness.
        start: valid genomes to evaluate in generation 0; the other places are drawn.
        make_surrogate: makes surrogates; `None`: there is none.

    Attributes:
        state: between two generations; while one runs, its counters run ahead.
        archive: every genome scored so far.
        as_bred: slots as bred of the genomes to evaluate in this generation, by canonical form.

    Raises:
        ConfigError: more start genomes than places, or a limit too low for `settings.fidelity`.
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
        if len({problem.space.canonical(genome) for genome in start}) > settings.population:
            raise ConfigError(
                f"there are {len(start)} start genomes, expected at most the population, "
                f"{settings.population}",
                remedy="raise the population, or give the best ones only",
            )
        self._monitor = monitor
        self._make_surrogate = make_surrogate
        # features are computed once, with the first surrogate of this search, which pays for them
        describe = problem.space.describe if settings.surrogate.features else None
        self._described = replace(
            problem.space, describe=None if describe is None else cache(describe)
        )
        self._operators = Operators(
            self._space,
            crossover=settings.crossover,
            crossover_rate=settings.crossover_rate,
            mutation_rate=settings.mutation_rate,
            tournament_size=settings.tournament_size,
            seed=seed,
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
        """Continue from a state between two generations and its archive.

        Raises:
            ArtifactError: the random state is damaged.
        """
        self._operators.restore(state.random_state)
        self.state, self.archive = state, archive
        self.archive.incumbent_rungs = state.incumbent_rungs

    def find_stop_reason(self) -> None:
        """Note in the state whether the search is over."""
        self.state.find_stop_reason(
            self._settings,
            space_size=self._space.size,
            evaluations_left=self._ladder.affordable(self.state.spent),
        )

    def run_generation(self) -> Generator[Batch, Sequence[Evaluation], Generation]:
        """Breed, screen, evaluate, search locally, and bring the state to the next generation.

        Yields:
            The next batch; send its evaluations, in the order of its genomes.

        Raises:
            ConfigError: a race on a problem that reports no losses by batch.
        """
        state = self.state
        before, number, population = replace(state), state.generations, state.population
        self.as_bred = {}
        (chosen, at_random), discarded = state.screened, state.counts.n_discarded
        with self._monitor.window() as window:
            if number == 0:
                surrogate = None
                individuals = draw(self._operators, population, start=self._start)
                individuals = individuals[: self._allowed(len(individuals))]
                yield from self._evaluate(individuals)
            else:
                individuals, surrogate = yield from self._next_population()
            if self._settings.local_search.due(number):
                individuals += yield from self._local_search(individuals, surrogate)
        limit = self._settings.max_evaluations
        if (
            limit is not None
            and state.limited is None
            and state.least_limit > limit + SPENT_ROUNDING
        ):
            state.limited = before
        generation = Generation(
            number,
            individuals,
            population,
            window.measurement,
            surrogate=None if surrogate is None or state.screened[0] == chosen else surrogate.kind,
            n_random=state.screened[1] - at_random,
            n_discarded=state.counts.n_discarded - discarded,
        )
        state.finish_generation(self.archive, individuals, self._settings)
        self.find_stop_reason()
        state.random_state = self._operators.state()
        return generation

    def _rng(self, purpose: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, self.state.generations, purpose])

    def _allowed(self, wanted: int) -> int | None:
        """Return how many genomes the budget pays for; `None`: any number.

        The caller asks for `wanted` genomes at most.
        """
        state = self.state
        state.least_limit = max(state.least_limit, state.spent + self._ladder.worst_cost(wanted))
        return self._ladder.affordable(state.spent)

    def _next_population(
        self,
    ) -> Generator[Batch, Sequence[Evaluation], tuple[list[Individual], Surrogate | None]]:
        """Return the generation before local search, and the surrogate that screened it."""
        surrogate = self._fitted_surrogate()
        settings, archive = self._settings, self.archive
        elites = [Individual.cached(best, "elite") for best in archive.best(settings.elites)]
        places = self.state.population - len(elites)
        children = breed(
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
        # a candidate without a status was dropped from the pool, or the budget ended before it
        kept = [child for child in children if child.status is not None]
        return elites + kept, surrogate

    def _fitted_surrogate(self) -> Surrogate | None:
        """Return a surrogate of all evaluations; `None`: too early, or it steps aside."""
        if self._make_surrogate is None or self.state.generations < self._settings.surrogate.start:
            return None
        genomes, losses = self.archive.training_set()
        if len(genomes) < MIN_TRAINING:
            return None
        seed = np.random.SeedSequence([self._seed, self.state.generations, _SURROGATE])
        with self._monitor.window() as window:
            surrogate = self._make_surrogate(self._described, int(seed.generate_state(1)[0]))
            surrogate.fit(genomes, losses)
        self.state.charge_surrogate(window.measurement)
        return None if surrogate.kind is None else surrogate

    def _predict(
        self, surrogate: Surrogate, candidates: Sequence[Individual]
    ) -> tuple[FloatArray, FloatArray] | None:
        """Return means and spreads; `None` if one of them is not finite."""
        with self._monitor.window() as window:
            mean, std = surrogate.predict([candidate.canonical for candidate in candidates])
        self.state.charge_surrogate(window.measurement, n_predictions=len(candidates))
        finite = bool(np.isfinite(mean).all() and np.isfinite(std).all())
        return (mean, std) if finite else None

    def _choose(
        self,
        candidates: Sequence[Individual],
        predictions: tuple[FloatArray, FloatArray],
        screener: Screener,
        purpose: int,
        *,
        n_drawn: int | None = None,
    ) -> Screening:
        """Let predictions, means and spreads `(n,)`, and the random control choose; count both.

        The control is drawn among the first `n_drawn` candidates; `None`: among all.
        """
        state, settings = self.state, self._settings.surrogate
        incumbent = self.archive.incumbent_loss
        assert incumbent is not None  # a surrogate learned from finite losses
        for candidate, mean, std in zip(candidates, *predictions, strict=True):
            candidate.predict(mean, std)
        steps = [candidate.step for candidate in candidates if candidate.step is not None]
        chosen = screener.choose(
            precedence(
                settings.acquisition, *predictions, incumbent=incumbent, optimism=settings.optimism
            ),
            self._rng(purpose),
            limit=self._allowed(screener.n_wanted(len(candidates)) + screener.pending),
            alike=steps if steps and settings.distinct_steps else None,
            n_drawn=n_drawn,
        )
        if candidates:
            state.count_screened(len(chosen.best), len(chosen.random))
        return chosen

    def _screener(self, places: int, fraction: float, pending: int = 0) -> Screener:
        return Screener(
            places=places,
            fraction=fraction,
            random_fraction=self._settings.surrogate.random_fraction,
            already=self.state.screened,
            pending=pending,
        )

    def _screen(
        self, novel: list[Individual], predictions: tuple[FloatArray, FloatArray], places: int
    ) -> _Asking:
        local_search = self._settings.local_search
        screener = self._screener(
            places,
            self._settings.surrogate.full_eval_fraction,
            local_search.neighbours if local_search.due(self.state.generations) else 0,
        )
        chosen = self._choose(novel, predictions, screener, _CONTROL)
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
        steps, n_drawn = self._steps(incumbent.genome, present, surrogate)
        if not steps:
            return []
        predictions = None if surrogate is None else self._predict(surrogate, steps)
        if predictions is None:
            steps = steps[:n_drawn]
            count = min(len(steps), count)
            left = self._allowed(count)
            count = count if left is None else min(count, left)
            drawn = self._rng(_LOCAL).choice(len(steps), size=count, replace=False)
            tried = [steps[index] for index in sorted(drawn)]
        else:
            chosen = self._choose(
                steps, predictions, self._screener(count, 1.0), _LOCAL, n_drawn=n_drawn
            )
            tried = [steps[index] for index in chosen.evaluated]
        yield from self._evaluate(tried)
        return tried

    def _steps(
        self, genome: Genome, present: Container[Genome], surrogate: Surrogate | None
    ) -> tuple[list[Individual], int]:
        """Return the neighbours to choose from, and how many of the first are uniformly drawn.

        With `neighbour_pool` and a surrogate that ranks all changes at once, the pool are those of
        the lowest means. Those drawn, for the control, come before them.
        """
        archive, settings = self.archive, self._settings

        def known(canonical: Genome) -> bool:
            return archive.knows(canonical) or canonical in present

        most = settings.surrogate.neighbour_pool
        if surrogate is None or most is None:
            steps = neighbours(self._space, genome, known)
            return steps, len(steps)
        drawn = self._rng(_NEIGHBOURS).permutation(sum(self._space.cardinalities))
        means = self._neighbour_means(surrogate, genome)
        if means is None:
            steps = neighbours(self._space, genome, known, most=most, order=drawn)
            return steps, len(steps)
        # as many as local search may evaluate remain if all evaluated ones are among those drawn
        control = 2 * settings.local_search.neighbours
        steps = neighbours(self._space, genome, known, most=control, order=drawn)
        taken = {step.canonical for step in steps}
        ranked = np.argsort(means, kind="stable")
        best = neighbours(self._space, genome, known, most=most, order=ranked)
        return steps + [step for step in best if step.canonical not in taken], len(steps)

    def _neighbour_means(self, surrogate: Surrogate, genome: Genome) -> FloatArray | None:
        """Return the means of all changes, by slot and option; `None` if there are none to use."""
        with self._monitor.window() as window:
            means = neighbour_means(surrogate, genome)
        if means is None:
            return None
        joined: FloatArray = np.concatenate(means)
        self.state.charge_surrogate(window.measurement, n_predictions=len(joined))
        return joined if np.isfinite(joined).all() else None

    def _evaluate(self, individuals: Sequence[Individual]) -> _Asking:
        state, archive = self.state, self.archive
        self.as_bred |= {individual.canonical: individual.genome for individual in individuals}
        climbs = yield from self._ladder.climb(
            [individual.canonical for individual in individuals], archive.incumbent_rungs
        )
        for individual, climb in zip(individuals, climbs, strict=True):
            loss = climb.evaluation.finite_loss
            individual.evaluation, individual.fidelity = climb.evaluation, climb.fidelity
            individual.screening_loss = climb.rungs[-1].loss if climb.rungs else None
            state.spent += climb.cost
            fidelity = 1.0 if loss is None else climb.fidelity
            archive.add(Scored(individual.genome, individual.canonical, loss, fidelity))
            if fidelity < 1.0:
                individual.status = "screened"
            else:
                individual.status = "failed" if loss is None else "evaluated"
                individual.evaluated_loss = loss
        incumbent = archive.incumbent
        for individual, climb in zip(individuals, climbs, strict=True):
            if incumbent is not None and individual.canonical == incumbent.canonical:
                archive.incumbent_rungs = climb.rungs
