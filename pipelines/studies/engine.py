"""The engine of studies: parts that are stored once computed, and searches judged on unseen blocks.

A study asks the same of several arms, methods or models, mostly once per seed. The rows of one
answer are a *part*, stored as soon as they are there, in a folder that is named by a digest of all
that the rows follow from. What is stored is reused, and what is missing is computed, whatever else
the study has.

Searches see the first half of the validation blocks that genomes are scored on. What they find is
judged by the second half, which none of them sees. The test split is not read.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from clso.artifacts import Parts, read_table, remove
from clso.digest import digest_of
from clso.energy import Measurement
from clso.errors import ConfigError, WorkError
from pipelines.config import RunConfig
from pipelines.context import RunContext
from pipelines.families import AnyFamily
from pipelines.stages import families_of
from search.records import MemorySink
from search.result import SearchResult
from search.run import run_search
from search.settings import SearchSettings
from search.surrogates import metered, surrogate_factory
from search.validated import Halves
from search.watched import Standing, WatchedProblem

__all__ = ["JudgedSearch", "Part", "Row", "Study", "family_of", "judged_search"]

Row = dict[str, Any]


@dataclass(frozen=True)
class Part:
    """A piece of a study, stored on its own.

    Attributes:
        folder: its name in the run's folder of states; parts of several numbers share it.
        number: in the folder, such as a seed.
        rows: computes the rows; called if they are not stored.
        label: what the progress says of it.
    """

    folder: str
    number: int
    rows: Callable[[], Sequence[Row]]
    label: str


@dataclass(frozen=True)
class Study:
    """The stored parts of one study of a run.

    Attributes:
        run: the run that is studied.
        table: of the rows; it names their schema.
        version: raised whenever a change of code changes what a stored part would hold.
    """

    run: RunContext
    table: str
    version: int | Sequence[int]

    def key(self, **values: Any) -> str:  # noqa: ANN401 - any JSON value
        """Return 16 hexadecimal digits of what rows follow from."""
        return digest_of({"version": self.version, **values})[:16]

    def path(self, part: Part) -> Path:
        """Return the file of a part."""
        return self._parts(part).path(part.number)

    def _parts(self, part: Part) -> Parts:
        return Parts(self.run.folder.state / part.folder, self.table)

    def rows(self, title: str, parts: Sequence[Part]) -> pa.Table:
        """Return the rows of all parts, computing what is not stored.

        Args:
            title: what the progress calls the parts together.
            parts: in the order of their rows; their table has the column `loss`.
        """
        tables = []
        with self.run.reporter.task(title, total=len(parts)) as task:
            for part in parts:
                path = self.path(part)
                if not path.exists():
                    self._parts(part).write(part.number, part.rows())
                tables.append(read_table(path, self.table))
                loss = tables[-1]["loss"][-1].as_py()
                said = "no finite loss" if loss is None else f"{loss:.4f}"
                task.update(len(tables), f"{part.label}: {said}")
        return pa.concat_tables(tables)

    def clean(self, prefix: str, kept: Collection[str]) -> None:
        """Delete the folders of a prefix that other settings have left.

        Args:
            prefix: of the folders' names, before a hyphen.
            kept: names of the folders that stay.
        """
        for folder in self.run.folder.state.glob(f"{prefix}-*"):
            if folder.name not in kept:
                remove(folder)


@dataclass(frozen=True)
class JudgedSearch:
    """A search of one half of the validation blocks, and its best genome's loss on the other.

    Evaluations, tokens and joules are those of all genomes that the search asked for, from when
    they were computed, so that searches that share evaluations compare.

    Attributes:
        result: of the search.
        watched: the problem, with all that the search evaluated.
        surrogate_costs: what each fit and each prediction of the surrogate took, after how many
            evaluations.
        held_back_loss: of the best genome, on the half that the search did not see.
    """

    result: SearchResult
    watched: WatchedProblem
    surrogate_costs: list[tuple[int, Measurement]]
    held_back_loss: float

    def energy_j_at(self, standing: Standing) -> float | None:
        """Return the joules up to a standing, the surrogate's included; `None`: not measured."""
        joules = [cost.energy_j for at, cost in self.surrogate_costs if at < standing.evaluations]
        joules.append(standing.energy_j)
        measured = [value for value in joules if value is not None]
        return math.fsum(measured) if len(measured) == len(joules) else None

    @property
    def columns(self) -> Row:
        """Columns of losses and costs; energy is `None` where a part of it was not measured."""
        surrogate = self.result.surrogate_cost or Measurement(0.0)
        total = Measurement.total((self.watched.measurement, surrogate))
        return {
            "loss": self.result.best.loss,
            "held_back_loss": self.held_back_loss,
            "evaluations": self.watched.spent,
            "predictions": self.result.n_predictions,
            "tokens": self.watched.tokens,
            **total.columns,
            "surrogate_energy_j": surrogate.energy_j,
        }


def judged_search(
    run: RunContext,
    halves: Halves,
    settings: SearchSettings,
    *,
    seed: int,
    family: str,
    floor: float | None = None,
) -> JudgedSearch:
    """Search one half of the validation blocks and judge the best genome by the other.

    Args:
        run: the run that is studied.
        halves: the problem.
        settings: of the search.
        seed: of the search.
        family: the name of what is searched.
        floor: the search ends after the generation that brings its loss to it or below.

    Raises:
        WorkError: the best genome has no finite loss on the half that was held back.
    """
    watched = WatchedProblem(halves.searched, halves.known_of(halves.searched))

    def at_floor() -> bool:
        loss = watched.standings[-1].loss if watched.standings else None
        return floor is not None and loss is not None and loss <= floor

    surrogate_costs: list[tuple[int, Measurement]] = []
    make_surrogate = surrogate_factory(settings.surrogate)
    if make_surrogate is not None:
        make_surrogate = metered(
            make_surrogate,
            run.monitor,
            lambda cost: surrogate_costs.append((watched.spent, cost)),
        )
    result = run_search(
        watched,
        settings,
        seed=seed,
        family=family,
        run_id=run.run_id,
        sink=MemorySink(),
        monitor=run.monitor,
        should_stop=at_floor,
        surrogate=make_surrogate,
    )
    best = result.best.canonical
    held_back_loss = halves.judged(best)
    if held_back_loss is None:
        raise WorkError(
            f"genome {best} has a finite loss on the first half of the validation blocks, but none "
            "on the second",
            remedy="the library makes models overflow: lower gpt.library.gain",
        )
    return JudgedSearch(result, watched, surrogate_costs, held_back_loss)


def family_of(config: RunConfig, name: str, *, asked_by: str = "--family") -> AnyFamily:
    """Return a family of a run by its name.

    Args:
        config: of the run.
        name: of the family.
        asked_by: what gave the name, for messages.

    Raises:
        ConfigError: the run does not have it.
    """
    for family in families_of(config):
        if family.name == name:
            return family
    raise ConfigError(
        f"{asked_by} is {name}, but families has only {', '.join(config.families)}",
        remedy=f"--set families=[{name}]",
    )
