"""The study `clso rivals`: a search of sets against simpler methods at equal cost.

All methods read the first half of the validation blocks, and have the same library and number of
slots. The second half is read when a method has ended. Rows are stored for each method and seed.
The test split is not read.

A family may add methods of its own (`ModelFamily.rivals`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from clso.artifacts import Run, write_table
from clso.errors import ConfigError
from clso.genome import Genome
from clso.problem import Evaluation
from clso.progress import SILENT, Reporter
from clso.studies.rivals import METHODS
from pipelines.config import ConfigSource, RunConfig, read_config
from pipelines.context import RunContext
from pipelines.families import AnyFamily
from pipelines.families.base import Rivals
from pipelines.studies.engine import Part, Row, Study, with_figures
from search.evolution import SEARCH_VERSION
from search.records import MemorySink
from search.rivals import greedy_forward, random_search
from search.run import run_search
from search.settings import SearchSettings
from search.validated import Halves
from search.watched import Standing, WatchedProblem, improvements

__all__ = ["check", "rivals"]

# Raised whenever a change of code changes the rows of a part.
_VERSION = 1
_BUDGETS = (100, 150, 300, 600, 1200)


def rivals(
    config: ConfigSource,
    overrides: Mapping[str, Any] | None = None,
    *,
    out: str | Path = "artifacts",
    family: str | None = None,
    seeds: int = 10,
    evaluations: Sequence[int] = (),
    reporter: Reporter = SILENT,
) -> Run:
    """Compare a search with random search, greedy selection and the family's own methods.

    Args:
        config, overrides, out, reporter: as for `pipelines.run`.
        family: name of the model family; `None`: the first whose genomes pick sets.
        seeds: searches of each kind, from the run's own seed upwards.
        evaluations: budgets to compare at; none: 100, 150, 300, 600, 1,200 and as many as greedy
            forward selection needs.

    Returns:
        The run, with the table `rivals`.

    Raises:
        ConfigError: the genomes of the family pick no sets.
        ClsoError: the work cannot be done.
    """
    config = read_config(config, overrides)
    searched = check(config, family)
    with RunContext.open(config, out, reporter) as run:
        searched.prepare(run)
        methods = _Methods(
            Study(run, "rivals", [_VERSION, SEARCH_VERSION]),
            searched,
            Halves(*searched.halves(run.experiment)),
            searched.rivals(run.experiment),
            searched.search_settings(config),
            max(evaluations, default=None),
        )
        table, completion = methods.compared(range(config.seed, config.seed + seeds))
        write_table(run.folder.table("rivals"), table, "rivals")
        smaller = [budget for budget in _BUDGETS if budget < completion]
        budgets = sorted(evaluations) or [*smaller, completion]
        run.note(rivals={"seeds": seeds, "evaluations": budgets, **methods.description()})
        return with_figures(run, "rivals")


def check(config: RunConfig, family: str | None = None, **unchecked: object) -> AnyFamily:
    """Return the family that is searched.

    Raises:
        ConfigError: the run does not have it, or its genomes pick no sets.
    """
    families = config.searched_families([] if family is None else [family])
    for searched in families:
        if searched.picks_sets:
            return searched
    raise ConfigError(
        f"the genomes of {', '.join(searched.name for searched in families)} pick no sets, which "
        "greedy selection needs",
        remedy="search a family whose genomes do: --set families=[mixture]",
    )


@dataclass
class _Methods:
    """The methods of a study on one problem.

    Attributes:
        own: the family's own methods.
        settings: of the genetic algorithm.
        limit: the most evaluations; `None`: as many as greedy selection needs.
    """

    study: Study
    family: AnyFamily
    halves: Halves
    own: Rivals
    settings: SearchSettings
    limit: int | None

    def __post_init__(self) -> None:
        # the study sets the length of a search
        search = self.settings.replaced(
            generations=1, patience=None, max_evaluations=None, finalists=1
        )
        key = self.study.key(
            searched=self.halves.searched.fingerprint,
            held_back=self.halves.held_back.fingerprint,
            search=search.model_dump(mode="json"),
            limit=self.limit,
            **self.own.identity,
        )
        self._folder = f"rivals-{key}"
        self.study.clean("rivals", [self._folder])
        self._known: dict[Genome, Evaluation] = {}

    def compared(self, seeds: Sequence[int]) -> tuple[pa.Table, int]:
        """Return the rows of all methods, and the evaluations that greedy selection needs."""
        tables = [self._table("greedy", seeds)]
        completion = max(tables[0]["evaluations"].to_pylist())
        if self.limit is None:
            self.limit = completion
        # a family's own methods have no randomness: one seed is enough
        tables += [self._table(name, seeds[:1]) for name in self.own.methods]
        tables += [self._table(name, seeds) for name in ("search", "random")]
        return pa.concat_tables(tables), completion

    def description(self) -> dict[str, Any]:
        """Return the entries of the manifest about the problem and the search."""
        space = self.halves.searched.space
        return {
            "family": self.family.name,
            "slots": len(space.exchangeable),
            "functions": space.slots[space.exchangeable[0]].cardinality - 1,
            "searched_on": "first half of the validation blocks",
            "held_back": "second half of the validation blocks",
            "search": self.settings.model_dump(mode="json"),
        }

    def _table(self, method: str, seeds: Sequence[int]) -> pa.Table:
        """Return a method's rows for all seeds, running it where rows are not stored."""
        folder = f"{self._folder}/{method}"
        return self.study.rows(
            METHODS.get(method, method),
            [
                Part(folder, seed, partial(self._rows, method, seed), f"seed {seed}")
                for seed in seeds
            ],
        )

    def _rows(self, method: str, seed: int) -> list[Row]:
        watched = WatchedProblem(self.halves.searched, self._known)
        methods: Mapping[str, Callable[[], Iterator[Standing]]] = {
            "search": lambda: self._evolve(watched, seed),
            "random": lambda: random_search(watched, seed=seed, limit=self.limit),
            "greedy": lambda: greedy_forward(watched, seed=seed, limit=self.limit),
        }
        if method in methods:
            standings, held_back = methods[method](), self.halves.held_back
        else:
            standings = self.own.methods[method](watched, self.limit)
            held_back = self.own.held_back.get(method, self.halves.held_back)
        steps = list(improvements(standings))
        judged = held_back.evaluate([step.canonical for step in steps if step.canonical])
        return [
            {
                "run_id": self.study.run.run_id,
                "seed": seed,
                "family": self.family.name,
                "method": method,
                "evaluations": step.evaluations,
                "loss": step.loss,
                "held_back_loss": evaluation.loss,
            }
            for step, evaluation in zip(steps, judged, strict=True)
        ]

    def _evolve(self, watched: WatchedProblem, seed: int) -> Iterator[Standing]:
        assert self.limit is not None
        run_search(
            watched,
            self.settings.lasting(self.limit),
            seed=seed,
            family=self.family.name,
            run_id="rivals",
            sink=MemorySink(),
        )
        yield from watched.standings
