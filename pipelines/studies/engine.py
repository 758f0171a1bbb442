"""The engine of studies: stored parts, and searches that are judged on held-back blocks.

A study computes rows for several arms, methods or models, mostly once per seed. The rows of one
computation are a *part*. It is stored at once, in a folder named by a digest of everything that
the rows follow from. Stored parts are reused; missing parts are computed, by the workers of the
run's engine. A part is a pure function of the problems and its own arguments, so no row depends on
who computes it.

Searches read the first half of the validation blocks. The genomes that they find are judged on the
second half, which no search reads. The test split is not read.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from clso.artifacts import Parts, Run, load_run, remove
from clso.digest import digest_of
from clso.energy import EnergyMonitor, Measurement
from clso.engine import Shared
from clso.errors import WorkError
from clso.genome import Genome
from clso.studies import study_sections
from pipelines.context import RunContext
from search.methods import run_method
from search.own_work import OwnWork
from search.records import MemorySink
from search.result import SearchResult
from search.run import run_search
from search.settings import SearchSettings
from search.surrogates import SurrogateFactory, metered, surrogate_factory
from search.validated import Halves
from search.watched import Standing, WatchedProblem

__all__ = ["JudgedSearch", "Part", "Row", "Study", "with_figures"]

Row = dict[str, Any]


@dataclass(frozen=True)
class Part:
    """A piece of a study, stored on its own.

    Attributes:
        folder: a name in the run's folder of states, the same for parts with other numbers.
        number: of the part in the folder, such as a seed.
        rows: computes the rows from the value that the parts share, such as the problems; called
            if they are not stored. Workers get it pickled.
        label: name of the part in the progress.
    """

    folder: str
    number: int
    rows: Callable[[Any], Sequence[Row]]
    label: str


@dataclass(frozen=True)
class Study:
    """The stored parts of one study of a run.

    Attributes:
        table: of the rows, which names their schema.
        version: raised whenever a change of code changes the rows of a part.
        shown: the column of losses that the progress shows.
    """

    run: RunContext
    table: str
    version: int | Sequence[int]
    shown: str = "loss"

    def key(self, **values: Any) -> str:  # noqa: ANN401 - any JSON value
        """Return 16 hexadecimal digits of all values that the rows follow from."""
        return digest_of({"version": self.version, **values})[:16]

    def path(self, part: Part) -> Path:
        """Return the file of a part."""
        return self._parts(part).path(part.number)

    def _parts(self, part: Part) -> Parts:
        return Parts(self.run.folder.state / part.folder, self.table, self.run.uid)

    def rows(
        self, title: str, parts: Sequence[Part], shared: Shared[Any], *, here: bool = False
    ) -> list[pa.Table]:
        """Return the rows of each part, computing the missing ones; `title` names them together.

        Args:
            shared: the value that the parts share.
            here: compute them in this process, one after the other.
        """
        tables: dict[int, pa.Table] = {}
        with self.run.reporter.task(title, total=len(parts)) as task:

            def add(number: int) -> None:
                tables[number] = self._parts(parts[number]).read_part(parts[number].number)
                loss = tables[number][self.shown][-1].as_py()
                shown = "no finite loss" if loss is None else f"{loss:.4f}"
                task.update(len(tables), f"{parts[number].label}: {shown}")

            missing = []
            for number, part in enumerate(parts):
                if self.path(part).exists():
                    add(number)
                else:
                    missing.append(number)
            functions = [parts[number].rows for number in missing]
            if here:
                computed: Generator[tuple[int, Sequence[Row]], None, None] = (
                    (index, rows(shared.value)) for index, rows in enumerate(functions)
                )
            else:
                computed = self.run.experiment.engine.map(_called, shared, functions)
            with closing(computed):
                for index, rows in computed:
                    part = parts[missing[index]]
                    self._parts(part).write(part.number, rows)
                    add(missing[index])
        return [tables[number] for number in range(len(parts))]

    def clean(self, prefix: str, kept: Collection[str]) -> None:
        """Delete the folders `prefix-*` that other settings have left; those `kept` stay."""
        for folder in self.run.folder.state.glob(f"{prefix}-*"):
            if folder.name not in kept:
                remove(folder)


def _called(value: object, rows: Callable[[Any], Sequence[Row]]) -> Sequence[Row]:
    return rows(value)


@dataclass(frozen=True)
class JudgedSearch:
    """A search on one half of the validation blocks, judged on the other half.

    Evaluations, tokens and joules count every genome that the search asked for, also if another
    search had evaluated it before. So searches that share evaluations can be compared.

    Attributes:
        watched: the problem, with the evaluations of the search.
        surrogate_costs: the cost of each fit and prediction of the surrogate, with the number of
            evaluations before it; of another method, all that it did besides evaluations.
        held_back_loss: the best genome's loss on the half that the search did not read.
    """

    result: SearchResult
    watched: WatchedProblem
    surrogate_costs: list[tuple[int, Measurement]]
    held_back_loss: float

    @classmethod
    def run(
        cls,
        run_id: str,
        halves: Halves,
        settings: SearchSettings,
        *,
        seed: int,
        family: str,
        monitor: EnergyMonitor,
        floor: float | None = None,
        start: Sequence[Genome] = (),
        method: str | None = None,
    ) -> JudgedSearch:
        """Search on one half of the validation blocks, and judge the best genome on the other.

        The search begins with the genomes `start`. It ends after the first generation whose best
        loss is not above `floor`. `method` is one of `search.methods`; `None`: the genetic
        algorithm.

        Raises:
            WorkError: the best genome has no finite loss on the half that was held back.
        """
        watched = WatchedProblem(halves.searched, halves.known_of(halves.searched))
        work = OwnWork(monitor)

        def at_floor() -> bool:
            loss = watched.standings[-1].loss if watched.standings else None
            return floor is not None and loss is not None and loss <= floor

        if method is None:
            result = run_search(
                watched,
                settings,
                start=start,
                seed=seed,
                family=family,
                run_id=run_id,
                sink=MemorySink(),
                monitor=monitor,
                should_stop=at_floor,
                surrogate=_metered(settings, monitor, watched, work),
            )
        else:
            result = run_method(
                method, watched, settings, seed=seed, start=start, work=work, should_stop=at_floor
            )
        held_back_loss = halves.judged(result.best.canonical)
        if held_back_loss is None:
            raise WorkError(
                f"genome {result.best.canonical} has a finite loss on the first half of the "
                "validation blocks, but none on the second",
                remedy="the library makes models overflow: lower gpt.library.gain",
            )
        return cls(result, watched, work.costs, held_back_loss)

    def energy_j_at(self, standing: Standing) -> float | None:
        """Return the joules up to a standing, the surrogate's included; `None`: not measured."""
        joules = [cost.energy_j for at, cost in self.surrogate_costs if at < standing.evaluations]
        joules.append(standing.energy_j)
        measured = [value for value in joules if value is not None]
        return math.fsum(measured) if len(measured) == len(joules) else None

    @property
    def spent(self) -> Measurement:
        """The cost of all evaluations and of the surrogate."""
        surrogate = self.result.surrogate_cost or Measurement(0.0)
        return Measurement.total((self.watched.measurement, surrogate))

    @property
    def columns(self) -> Row:
        """Columns of losses and costs; energy is `None` where a part of it was not measured."""
        surrogate = self.result.surrogate_cost or Measurement(0.0)
        return {
            "loss": self.result.best.loss,
            "held_back_loss": self.held_back_loss,
            "evaluations": self.watched.spent,
            "predictions": self.result.n_predictions,
            "tokens": self.watched.tokens,
            **self.spent.columns,
            "surrogate_energy_j": surrogate.energy_j,
        }


def _metered(
    settings: SearchSettings, monitor: EnergyMonitor, watched: WatchedProblem, work: OwnWork
) -> SurrogateFactory | None:
    """Return what makes the settings' surrogates, whose costs go to `work`; `None`: none."""
    factory = surrogate_factory(settings.surrogate)
    if factory is None:
        return None
    return metered(factory, monitor, lambda cost: work.costs.append((watched.spent, cost)))


def with_figures(run: RunContext, study: str, family: str | None = None) -> Run:
    """Return the stored run, after writing the figures of a study, named by its table."""
    studied = load_run(run.folder.path)
    for section in study_sections(studied, study, family):
        section.write_figures(run.folder.figures)
    return studied
