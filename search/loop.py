"""The loop of a search: it asks for evaluations, is told their results, and keeps them.

`Search` works by ask and tell; `search.run` has the loops around it. Nothing is decided between
`ask` and `tell`: the next genomes depend on all results of the batches before and on nothing else.
So results may be told in any order and in pieces, and a search that was killed, resumed or
extended has the data of one that ran through.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from clso.energy import EnergyMonitor, Measurement
from clso.errors import ArtifactError
from clso.genome import Genome, GenomeSpace
from clso.problem import Evaluation, Problem, Result
from search.archive import Archive, Finalist
from search.evolution import SEARCH_VERSION, Evolution
from search.function import Function
from search.generation import Generation
from search.journal import Journal, JournalEntry
from search.ladder import Batch
from search.open_batch import OpenBatch
from search.records import Records
from search.result import SearchResult
from search.settings import SearchSettings
from search.state import SearchState, StopReason
from search.state_file import StateFile
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
        space: the number of options of each gene, a `GenomeSpace`, or a `Problem`, which may offer
            parts of its batches (`settings.fidelity`).
        settings: of the search.
        seed: the only source of randomness.
        folder: where everything is kept. The same call later goes on from there; with a larger
            budget it extends the search (see `extend`). `None`: only in memory.
        start: genomes to evaluate in generation 0, before drawn ones; their `origin` is `init` too.
        callbacks: called after each generation, in order.
        fingerprint: names everything that a loss depends on besides the genome, so that the folder
            of another function is refused. A `Problem` has its own.
        surrogate: makes surrogates in place of `settings.surrogate.kind`.
        monitor: measures generations and the surrogate; `None`: durations only.
        should_stop: asked before each generation; true interrupts the search.
        records: where rows and state are written, in place of `folder` and `seed`.

    Raises:
        ArtifactError: the folder is damaged, has another search, or cannot be written.
        ConfigError: settings that the problem does not allow, or more start genomes than the
            population has places.
        GenomeError: a start genome outside the space.
        SearchError: a budget below that of the search in the folder.
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
        if not isinstance(space, Problem):
            space = Function(GenomeSpace.of(space), fingerprint)
        self._problem = space
        self._space = space.space
        self._settings = SearchSettings() if settings is None else settings
        self._records = Records.kept_in(folder, seed) if records is None else records
        self._monitor = monitor or EnergyMonitor()
        self._callbacks = list(callbacks)
        self._should_stop = should_stop
        start_genomes = [self._space.validate(genome) for genome in start]
        self._identity = self._named(start_genomes)
        self._evolution = Evolution(
            self._problem,
            self._settings,
            seed=self._records.seed,
            start=start_genomes,
            monitor=self._monitor,
            make_surrogate=surrogate or surrogate_factory(self._settings.surrogate),
        )
        self._running: Generator[Batch, Sequence[Evaluation], Generation] | None = None
        self._begun = self._state
        self._open, self._step = OpenBatch(Batch()), 0
        self._interrupted = self._state_saved = False
        self._most_generations = self._rewinds = 0
        self._resume()

    @property
    def _state(self) -> SearchState:
        return self._evolution.state

    @property
    def incumbent(self) -> Finalist | None:
        """The best genome so far; `None` while there is none with a finite loss."""
        return self._evolution.archive.incumbent

    @property
    def result(self) -> SearchResult:
        """The outcome so far; `stop_reason` is `interrupted` while the search can go on."""
        reason: StopReason = self._state.stop_reason or "interrupted"
        return SearchResult.of(
            self._state,
            self._evolution.archive,
            self._settings.finalists,
            reason,
            getattr(self._records.sink, "table", None),
        )

    def ask(self) -> Batch:
        """Return the genomes to evaluate next, and the share of the batches to evaluate them on.

        A second call returns the genomes whose results were not told yet. The batch is empty, and
        false, when the search is over or a callback interrupted it.

        Raises:
            ArtifactError: the folder cannot be written.
        """
        while self._running is None:
            if self._interrupted or self._state.stop_reason is not None:
                return Batch()
            if self._should_stop is not None and self._should_stop():
                self._interrupted = True
                return Batch()
            self._begun = replace(self._state)
            self._step = -1
            self._running = self._evolution.run_generation()
            self._go_on(None)
        return self._open.remaining

    def tell(
        self,
        genomes: Batch | Sequence[Sequence[int]],
        results: Sequence[Result] | Mapping[int, Result],
    ) -> None:
        """Tell results of genomes that `ask` returned, all of them or some, in any order.

        With a folder, results are on disk before the search uses them. When the batch is complete,
        the next one is prepared. At the end of a generation its records and the state are written
        and the callbacks called.

        Args:
            genomes: a batch, or some genomes of it.
            results: of each genome, in the same order; or of some, by their index in `genomes`.
                A result is a loss, an `Evaluation` (with tokens, time and energy), or `None`, NaN
                or an infinity for a failure. A failure counts as evaluated and never wins.

        Raises:
            ArtifactError: the folder cannot be written.
            GenomeError: a genome outside the space.
            SearchError: a genome that was never asked for or was told already, a result that is
                no number, or another number of results than of genomes. Nothing is kept then.
        """
        archive, as_bred = self._evolution.archive, self._evolution.as_bred
        told = self._open.checked(
            genomes, results, self._space, lambda genome: archive.knows(genome) or genome in as_bred
        )
        self._keep(told)
        if self._running is not None and not self._open.remaining:
            self._go_on(self._open.evaluations)

    def extend(self, *, evaluations: int | None = None, generations: int | None = None) -> None:
        """Give the search a larger budget, or let an interrupted one go on.

        The data are then those of a search that had the larger budget from the start. Generations
        that the old budget cut short are repeated, and only genomes that they did not evaluate are
        asked for. A search that ended by patience, or because its space is exhausted, stays ended
        unless a generation was cut short.

        Args:
            evaluations: the new `max_evaluations`; `generations` grows to as many if it is less,
                as a generation may find nothing new to evaluate.
            generations: the new number of generations.

        Raises:
            ArtifactError: the folder cannot be written.
            SearchError: a budget below the present one, or below the evaluations spent.
        """
        settings = self._settings.extended(
            evaluations=evaluations, generations=generations, spent=self._state.least_limit
        )
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

    def _go_on(self, evaluations: Sequence[Evaluation] | None) -> None:
        """Go on with the generation until it asks for evaluations that the journal lacks."""
        assert self._running is not None
        try:
            while True:
                batch = (
                    next(self._running) if evaluations is None else self._running.send(evaluations)
                )
                self._step += 1
                self._open = OpenBatch(batch)
                pairs = ((genome, self._journal.known(genome, batch.fidelity)) for genome in batch)
                self._keep({genome: known for genome, known in pairs if known is not None})
                if self._open.remaining:
                    return
                evaluations = self._open.evaluations
        except StopIteration as stop:
            self._finish(stop.value)
        except BaseException:
            self._abandon()
            raise

    def _keep(self, evaluations: Mapping[Genome, Evaluation]) -> None:
        """Write results into the journal, then add them to the open batch."""
        if not self._state_saved:
            self._save()
        self._journal.write(
            JournalEntry(
                self._begun.generations,
                self._step,
                self._open.index[canonical],
                canonical,
                self._evolution.as_bred[canonical],
                self._open.fidelity,
                evaluation,
            )
            for canonical, evaluation in evaluations.items()
        )
        self._open.add(evaluations)

    def _finish(self, generation: Generation) -> None:
        """Record a generation, save the state, and call the callbacks."""
        self._running = None
        columns, incumbent = self._records.columns, self.incumbent
        row = columns | generation.row(None if incumbent is None else incumbent.loss)
        rows = [columns | individual for individual in generation.evaluation_rows()]
        try:
            self._records.sink.append("evaluations", generation.number, rows)
            self._records.sink.append("generations", generation.number, [row])
            self._save()
        except BaseException:
            self._restore(self._begun, self._evolution.archive)
            raise
        if self._state.limited is None:
            self._journal.forget()
        # all callbacks are called, also after one that interrupts
        answers = [callback(row, incumbent) for callback in self._callbacks]
        self._interrupted = any(answers)

    def _abandon(self) -> None:
        """Go back to the beginning of the generation; its results stay known."""
        if self._running is not None:
            self._running.close()
            self._running, self._open = None, OpenBatch(Batch())
            self._restore(self._begun, self._evolution.archive)

    def _restore(self, state: SearchState, archive: Archive) -> None:
        self._evolution.restore(state, archive.first(state.n_known))

    # -- identity, state and journal

    def _named(self, start: Sequence[Genome]) -> dict[str, Any]:
        """Return JSON values that name the search."""
        identity = {
            "version": SEARCH_VERSION,
            "problem": self._problem.fingerprint,
            "cardinalities": list(self._space.cardinalities),
            **self._records.identity,
            "settings": self._settings.model_dump(mode="json"),
        }
        return identity | ({"start": [list(genome) for genome in start]} if start else {})

    def _resume(self) -> None:
        """Continue from the folder, if it has a search."""
        path = self._records.journal_path
        asked, settings = self._budget, self._identity["settings"]
        unlimited = {name: value for name, value in settings.items() if name not in _BUDGET}
        name = json.dumps({**self._identity, "settings": unlimited}, sort_keys=True)
        limited = asked["max_evaluations"] is not None  # no extension takes the limit away
        free = [f"settings.{name}" for name in (_BUDGET if limited else _BUDGET[:1])]
        self._state_file = StateFile(self._records.state_path, self._identity, free=free)
        saved = self._state_file.read(self._parse)
        if saved is None and path is not None and path.exists():
            raise ArtifactError(
                f"{path} exists, but the state file beside it is missing",
                remedy="restore the state, or delete the journal to start anew",
            )
        self._journal = Journal(path, name)
        if saved is None:
            return
        state, mark = saved
        self._journal.check(mark)
        self._state_saved = True
        archive = self._journal.archive(state.generations)
        if archive.n_known != state.n_known:
            raise ArtifactError(
                f"{path} has {archive.n_known} genomes of the first {state.generations} "
                f"generations, expected {state.n_known}",
                remedy="restore it, or start the search anew",
            )
        self._journal.forget(before=(state.limited or state).generations)
        self._evolution.limit_to(self._settings)
        self._evolution.restore(state, archive)
        self._finish_rewind()
        first = {name: self._identity["settings"][name] for name in _BUDGET}
        # a call with the first budget finds the search as it was extended
        if asked not in (first, self._budget):
            self.extend(evaluations=asked["max_evaluations"], generations=asked["generations"])

    def _parse(self, value: Mapping[str, Any]) -> tuple[SearchState, Sequence[Any]]:
        self._most_generations, self._rewinds = value["most_generations"], value["rewinds"]
        self._settings = self._settings.replaced(**value["budget"])
        self._identity = value["identity"]
        n_lines, checksum = value["journal"]
        return SearchState.from_json(value), (n_lines, checksum)

    @property
    def _budget(self) -> dict[str, int | None]:
        return {name: getattr(self._settings, name) for name in _BUDGET}

    def _save(self) -> None:
        if self._records.state_path is None:
            return
        state = self._begun if self._running is not None else self._state
        self._state_file.write(
            {
                **state.to_json(),
                "budget": self._budget,
                "journal": self._journal.mark,
                "rewinds": self._rewinds,
                "most_generations": max(self._most_generations, state.generations),
            }
        )
        self._state_saved = True

    def _finish_rewind(self) -> None:
        """Do what an extension still has to do once the state is saved."""
        if self._journal.rewinds == self._rewinds:
            return
        # under the larger budget there may be fewer generations
        for part in range(self._state.generations, self._most_generations):
            for table in ("evaluations", "generations"):
                self._records.sink.append(table, part, [])
        self._journal.rewind(self._state.generations)  # marks the extension as done
