"""The loop of a search: it asks for evaluations, is told their results, and keeps them.

`Search` asks and is told; `search.run` has the loops around it. Between `ask` and `tell`
nothing is decided: the next genomes depend on all results of the batches before and on nothing
else. So results may be told in any order and in pieces, and a search that was killed, resumed or
extended has the data of one that ran through.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from clso.energy import EnergyMonitor, Measurement
from clso.errors import ArtifactError, ConfigError, SearchError
from clso.genome import Genome, GenomeSpace
from clso.problem import Evaluation, Problem, Result
from search.archive import Archive
from search.evolution import SEARCH_VERSION, Evolution, Generation
from search.function import Function
from search.journal import Journal, Place, Told, read_state, write_state
from search.ladder import Batch
from search.records import Records, evaluation_row, generation_row
from search.result import Finalist, SearchResult
from search.settings import SearchSettings
from search.state import SearchState, StopReason
from search.surrogates import SurrogateFactory, surrogate_factory

__all__ = ["Callback", "Search"]

Callback = Callable[[Mapping[str, Any], Finalist | None], bool | None]
"""Called after each generation with its row and the incumbent; true interrupts the search."""

_BUDGET = ("generations", "max_evaluations")


class Search:
    """A search for the genome with the lowest loss, by ask and tell.

        search = Search([8] * 12, SearchSettings(population=32), seed=0, folder="runs/mine")
        while batch := search.ask():
            search.tell(batch, [loss(genome) for genome in batch.genomes])
        search.result.genome

    Args:
        space: what is searched: the number of options of each gene, a `GenomeSpace`, or a
            `Problem`, which may offer parts of its batches (`settings.fidelity`).
        settings: of the search.
        seed: the only source of randomness.
        folder: where everything is kept; the same call later goes on from there. `None`: only
            in memory.
        start: genomes to evaluate in generation 0, before those that are drawn; their `origin`
            is `init`, like that of the drawn ones.
        callbacks: called after each generation, in order.
        fingerprint: names what a loss depends on besides the genome, so that the folder of
            another function is refused. A `Problem` has its own.
        surrogate: makes surrogates in place of `settings.surrogate.kind`.
        monitor: measures generations and the surrogate; `None`: durations only.
        should_stop: asked before each generation; true interrupts the search.
        records: where rows and state are written, in place of `folder`, and whose they are; its
            seed is that of the search.

    Raises:
        ArtifactError: what the folder holds is damaged or of another search, or it cannot be
            written.
        ConfigError: settings that the problem does not allow, or more start genomes than the
            population has places.
        GenomeError: a start genome outside the space.
    """

    def __init__(
        self,
        space: Sequence[int] | GenomeSpace | Problem,
        settings: SearchSettings | None = None,
        *,
        seed: int = 0,
        folder: str | Path | None = None,
        start: Sequence[Sequence[int]] = (),
        callbacks: Sequence[Callback] = (),
        fingerprint: str = "",
        surrogate: SurrogateFactory | None = None,
        monitor: EnergyMonitor | None = None,
        should_stop: Callable[[], bool] | None = None,
        records: Records | None = None,
    ) -> None:
        settings = SearchSettings() if settings is None else settings
        problem = (
            space if isinstance(space, Problem) else Function(GenomeSpace.of(space), fingerprint)
        )
        if records is None:
            records = Records.kept_in(folder, seed)
        run = records.run
        self._problem = problem
        self._space = problem.space
        self._settings = settings
        self._run = run
        self._sink = records.sink
        self._monitor = monitor or EnergyMonitor()
        self._state_path = records.state_path
        self._callbacks = list(callbacks)
        self._should_stop = should_stop
        self._index: dict[Genome, int] = {}
        self._begun = SearchState(random_state=[], population=0)
        self._interrupted = False
        self._most_generations = self._rewinds = 0
        self._state_saved = False
        self._running: Generator[Batch, Sequence[Evaluation], Generation] | None = None
        self._batch = Batch()
        self._results: dict[Genome, Evaluation] = {}
        self._step = 0
        self._identity: dict[str, Any] = {
            "version": SEARCH_VERSION,
            "problem": problem.fingerprint,
            "cardinalities": list(self._space.cardinalities),
            **asdict(run),
            "settings": settings.model_dump(mode="json"),
        }
        genomes = [self._space.validate(genome) for genome in start]
        if genomes:
            self._identity["start"] = [list(genome) for genome in genomes]
        if len({self._space.canonical(genome) for genome in genomes}) > settings.population:
            raise ConfigError(
                f"there are {len(genomes)} start genomes, expected at most the population, "
                f"{settings.population}",
                remedy="raise the population, or give the best ones only",
            )
        self._evolution = Evolution(
            problem,
            settings,
            seed=run.seed,
            start=genomes,
            monitor=self._monitor,
            make_surrogate=surrogate or surrogate_factory(settings.surrogate),
        )
        self._resume()

    @property
    def _state(self) -> SearchState:
        return self._evolution.state

    @property
    def incumbent(self) -> Finalist | None:
        """The best genome so far; `None` while there is none with a finite loss."""
        best = self._evolution.archive.incumbent
        if best is None or best.loss is None:
            return None
        return Finalist(best.genome, best.canonical, best.loss)

    @property
    def n_generations(self) -> int:
        """How many generations are finished."""
        return self._state.generations

    @property
    def result(self) -> SearchResult:
        """What the search came to; while it goes on, what it came to so far.

        `stop_reason` is `interrupted` where it could go on.
        """
        reason: StopReason = self._state.stop_reason or "interrupted"
        return SearchResult.of(
            self._state,
            self._evolution.archive,
            self._settings.finalists,
            reason,
            getattr(self._sink, "table", None),
        )

    def ask(self) -> Batch:
        """Return the genomes to evaluate next, and on which share of the batches.

        Asked again, it returns those that were not told yet. The batch is empty, and false, when
        the search is over or a callback interrupted it.

        Raises:
            ArtifactError: the folder cannot be written.
        """
        while self._running is None:
            if self._interrupted or self._state.stop_reason is not None:
                return Batch()
            if self._should_stop is not None and self._should_stop():
                self._interrupted = True
                return Batch()
            self._begin()
        return self._still_open()

    def tell(
        self,
        genomes: Batch | Sequence[Sequence[int]],
        results: Sequence[Result] | Mapping[int, Result],
    ) -> None:
        """Tell results of genomes that `ask` returned, all of them or some, in any order.

        With a folder, they are on disk before anything follows from them. When the batch is
        complete, the next one is prepared; at the end of a generation its records and the state
        are written and the callbacks called.

        Args:
            genomes: a batch, or some genomes of it.
            results: of each genome, in the same order; or of some, by their index in `genomes`.
                A loss, an `Evaluation` (with tokens, time and energy), or `None`, NaN or an
                infinity for one that failed: it counts as evaluated and never wins.

        Raises:
            ArtifactError: the folder cannot be written.
            GenomeError: a genome outside the space.
            SearchError: a genome that was never asked for or was told already, a result that is
                no number, or another number of results than of genomes; nothing is kept then.
        """
        told = self._checked(genomes, results)
        generation = self._state.generations
        self._keep(
            [
                (Place(generation, self._step, self._index[canonical]), canonical, evaluation)
                for canonical, evaluation in told.items()
            ]
        )
        if self._running is not None and not self._still_open():
            self._advance()

    def extend(self, *, evaluations: int | None = None, generations: int | None = None) -> None:
        """Give the search a larger budget, or let an interrupted one go on.

        The data are then those of a search that had the larger budget from the start: where the
        old one cut generations short, these are repeated, and only what they did not evaluate is
        asked for. A search that ended by patience, or because its space is exhausted, stays ended
        unless a generation was cut short.

        Args:
            evaluations: the new `max_evaluations`; `generations` grows to as many if it is less,
                as a generation may find nothing new to evaluate.
            generations: the new number of generations.

        Raises:
            ArtifactError: the folder cannot be written.
            SearchError: a budget below the present one, or below what was spent.
        """
        settings = self._larger(evaluations, generations)
        self._interrupted = False
        if settings == self._settings:
            return
        self._abandon()
        state = self._state
        if settings.max_evaluations != self._settings.max_evaluations:
            self._most_generations = max(self._most_generations, state.generations)
            self._rewinds += 1
            state = state.limited or state
        self._settings = settings
        self._evolution.limit_to(settings)
        self._restore(replace(state), self._evolution.archive)
        self._evolution.find_stop_reason()
        self._save()
        self._finish_rewind()

    def run(self) -> SearchResult:
        """Evaluate with the problem itself until the search is over.

        Raises:
            ArtifactError: the folder cannot be written.
            SearchError: the search was given a space, and there is nothing to evaluate with.
        """
        while batch := self.ask():
            if isinstance(self._problem, Function):
                # one by one, so that an interruption loses one evaluation at most
                for genome in batch:
                    with self._monitor.window() as window:
                        (evaluation,) = self._problem.evaluate([genome])
                    if evaluation.measurement == Measurement(0.0):
                        evaluation = replace(evaluation, measurement=window.measurement)
                    self.tell([genome], [evaluation])
            else:
                self.tell(batch, batch.evaluated_by(self._problem))
        return self.result

    # -- generations

    def _begin(self) -> None:
        """Start a generation, up to the first evaluations that are not known."""
        self._begun = replace(self._state)
        self._step = -1
        self._running = self._evolution.run_generation()
        self._pump(None)

    def _advance(self) -> None:
        self._pump([self._results[genome] for genome in self._batch.genomes])

    def _pump(self, evaluations: Sequence[Evaluation] | None) -> None:
        """Go on with the generation until it asks for what the journal does not know."""
        assert self._running is not None
        try:
            while True:
                self._batch = (
                    next(self._running) if evaluations is None else self._running.send(evaluations)
                )
                self._step += 1
                self._index = {genome: i for i, genome in enumerate(self._batch.genomes)}
                self._results = {}
                fidelity = self._batch.fidelity
                known = [
                    (Place(self._begun.generations, self._step, index), genome, evaluation)
                    for genome, index in self._index.items()
                    if (evaluation := self._journal.known(genome, fidelity)) is not None
                ]
                self._keep(known)
                if self._still_open():
                    return
                evaluations = [self._results[genome] for genome in self._batch.genomes]
        except StopIteration as stop:
            self._finish(stop.value)
        except BaseException:
            self._abandon()
            raise

    def _keep(self, told: Sequence[tuple[Place, Genome, Evaluation]]) -> None:
        """Write results into the journal, then use them."""
        if self._state_path is not None and not self._state_saved:
            self._save()
        as_bred, fidelity = self._evolution.as_bred, self._batch.fidelity
        self._journal.write(
            (place, Told(canonical, as_bred[canonical], fidelity, evaluation))
            for place, canonical, evaluation in told
        )
        self._results |= {canonical: evaluation for _, canonical, evaluation in told}

    def _finish(self, generation: Generation) -> None:
        """Record a generation, save the state, and call the callbacks."""
        self._running = None
        self._batch, self._index, self._results = Batch(), {}, {}
        rows = [
            evaluation_row(self._run, generation.number, index, individual)
            for index, individual in enumerate(generation.individuals)
        ]
        incumbent = self.incumbent
        row = generation_row(
            self._run,
            generation.number,
            generation.individuals,
            None if incumbent is None else incumbent.loss,
            generation.measurement,
            filtering=generation.filtering,
            population=generation.population,
        )
        try:
            self._sink.append("evaluations", generation.number, rows)
            self._sink.append("generations", generation.number, [row])
            self._save()
        except BaseException:
            self._restore(self._begun, self._evolution.archive)
            raise
        if self._state.limited is None:
            self._journal.forget()
        # all are called, whatever the first says
        answers = [callback(row, incumbent) for callback in self._callbacks]
        self._interrupted = any(answers)

    def _abandon(self) -> None:
        """Go back to the beginning of the generation; what was told of it stays known."""
        if self._running is not None:
            self._running.close()
            self._running = None
            self._batch, self._index, self._results = Batch(), {}, {}
            self._restore(self._begun, self._evolution.archive)

    def _restore(self, state: SearchState, archive: Archive) -> None:
        self._evolution.restore(state, archive.first(state.n_known))

    def _still_open(self) -> Batch:
        """Return the part of the batch that was not told yet."""
        batch = self._batch
        indices = [i for i, genome in enumerate(batch.genomes) if genome not in self._results]
        if len(indices) == len(batch):
            return batch
        return Batch(
            tuple(batch.genomes[i] for i in indices),
            batch.fidelity,
            tuple(batch.begun[i] for i in indices) if batch.begun else (),
        )

    def _checked(
        self,
        genomes: Batch | Sequence[Sequence[int]],
        results: Sequence[Result] | Mapping[int, Result],
    ) -> dict[Genome, Evaluation]:
        asked = list(genomes)
        if isinstance(genomes, Batch) and genomes.fidelity != self._batch.fidelity:
            raise SearchError(
                f"the batch is of fidelity {genomes.fidelity:g}, but the search asked for "
                f"{self._batch.fidelity:g}: it was told already"
            )
        if isinstance(results, Mapping):
            pairs = [(index, results[index]) for index in results]
            missing = [index for index, _ in pairs if not 0 <= index < len(asked)]
            if missing:
                raise SearchError(
                    f"there is a result for index {missing[0]}, expected 0 to {len(asked) - 1}"
                )
        else:
            if len(results) != len(asked):
                raise SearchError(
                    f"there are {len(results)} results, expected {len(asked)}, one for each genome",
                    remedy="tell some genomes of a batch only as tell(genomes, results), or as "
                    "tell(batch, {index: result})",
                )
            pairs = list(enumerate(results))
        told: dict[Genome, Evaluation] = {}
        for index, result in pairs:
            canonical = self._space.canonical(asked[index])
            if canonical in told or canonical in self._results:
                raise SearchError(f"genome {canonical} was told already")
            if canonical not in self._index:
                known = self._evolution.archive.knows(canonical)
                known = known or canonical in self._evolution.as_bred
                raise SearchError(
                    f"genome {canonical} was {'told already' if known else 'never asked for'}",
                    remedy="ask returns the genomes to evaluate; start takes others to begin with",
                )
            told[canonical] = Evaluation.of(result, canonical)
        return told

    # -- what is kept

    def _resume(self) -> None:
        """Take up what the folder holds."""
        search = json.dumps(self._unlimited(self._identity), sort_keys=True)
        if self._state_path is None:
            self._journal = Journal(None, search)
            return
        path = self._state_path.with_suffix(".journal")
        saved = read_state(self._state_path, self._identity, self._parse)
        if saved is None:
            if path.exists():
                raise ArtifactError(
                    f"{path} is there, but not the state beside it, {self._state_path.name}",
                    remedy="restore the state, or delete the journal to start anew",
                )
            self._journal = Journal(path, search)
            return
        state, mark = saved
        self._journal = Journal(path, search)
        self._journal.check(mark)
        self._state_saved = True
        archive = self._journal.archive(state.generations)
        if archive.n_known != state.n_known:
            raise ArtifactError(
                f"{path} has {archive.n_known} genomes of the first {state.generations} "
                f"generations, expected {state.n_known}",
                remedy="restore it, or start the search anew",
            )
        self._journal.keep_from((state.limited or state).generations)
        self._evolution.limit_to(self._settings)
        self._evolution.restore(state, archive)
        self._finish_rewind()

    def _parse(self, value: Mapping[str, Any]) -> tuple[SearchState, Sequence[Any]]:
        self._most_generations, self._rewinds = value["most_generations"], value["rewinds"]
        self._settings = self._settings.replaced(**value["budget"])
        # the identity is that of the search as it was begun
        self._identity = value["identity"]
        n_lines, checksum = value["journal"]
        return SearchState.from_json(value), (n_lines, checksum)

    def _save(self) -> None:
        if self._state_path is None:
            return
        state = self._begun if self._running is not None else self._state
        budget = {name: getattr(self._settings, name) for name in _BUDGET}
        value = {
            **state.to_json(),
            "budget": budget,
            "journal": self._journal.mark,
            "rewinds": self._rewinds,
            "most_generations": max(self._most_generations, state.generations),
        }
        write_state(self._state_path, value, self._identity)
        self._state_saved = True

    def _finish_rewind(self) -> None:
        """Do what an extension still has to do once the state is saved."""
        if self._journal.rewinds == self._rewinds:
            return
        # the shorter generations may have been more than there will be of the whole ones
        for part in range(self._state.generations, self._most_generations):
            for table in ("evaluations", "generations"):
                self._sink.append(table, part, [])
        self._journal.rewind(self._state.generations)  # says that all of this is done

    def _larger(self, evaluations: int | None, generations: int | None) -> SearchSettings:
        settings, state = self._settings, self._state
        if evaluations is not None:
            least = settings.max_evaluations or state.least_limit
            if evaluations < least:
                raise SearchError(
                    f"evaluations is {evaluations}, expected at least {least:g}, which the search "
                    "may have used already"
                )
            settings = settings.replaced(
                max_evaluations=evaluations,
                generations=max(settings.generations, evaluations),
            )
        if generations is not None:
            if generations < self._settings.generations:
                raise SearchError(
                    f"generations is {generations}, expected at least {self._settings.generations}"
                )
            settings = settings.replaced(generations=generations)
        return settings

    @staticmethod
    def _unlimited(identity: Mapping[str, Any]) -> dict[str, Any]:
        settings = {
            name: value for name, value in identity["settings"].items() if name not in _BUDGET
        }
        return {**identity, "settings": settings}
