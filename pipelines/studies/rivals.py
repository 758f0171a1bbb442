"""The study `clso rivals`: does a search of sets beat simpler ones at equal cost?

All methods see the first half of the validation blocks; the second half is read once a method has
ended, for the loss that it did not select by. The library and the number of slots are the same for
all. What is finished of a study is reused, seed by seed and method by method. The test split is
not read.

A family may add methods that only its models allow (`ModelFamily.rivals`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow as pa

from clso.artifacts import Run, load_run, write_table
from clso.errors import ConfigError
from clso.genome import Genome
from clso.problem import Evaluation
from clso.progress import SILENT, Reporter
from clso.studies import study_sections
from clso.studies.rivals import METHODS
from pipelines.config import RunConfig
from pipelines.context import open_context
from pipelines.families import AnyFamily
from pipelines.families.base import Rivals
from pipelines.stages import families_of, run_foundations
from pipelines.studies.engine import Part, Row, Study, family_of
from search.evolution import SEARCH_VERSION
from search.records import MemorySink
from search.rivals import greedy_forward, random_search
from search.run import run_search
from search.settings import SearchSettings
from search.validated import Halves
from search.watched import Standing, WatchedProblem, improvements

__all__ = ["rivals"]

# Raised whenever a change of code changes what a stored part would hold.
_VERSION = 1
_BUDGETS = (100, 150, 300, 600, 1200)


def rivals(
    config: RunConfig,
    out: Path,
    reporter: Reporter = SILENT,
    *,
    family: str | None = None,
    seeds: int = 10,
    evaluations: Sequence[int] = (),
) -> Run:
    """Run every method for every seed; write `rivals.parquet`, figure and the manifest's note.

    Args:
        config: the run whose data set, library and search settings are compared.
        out: the output folder.
        reporter: hears of the progress.
        family: the name of the one that is searched; `None`: the first whose genomes pick sets.
        seeds: of the methods, from the run's own upwards.
        evaluations: the budgets to compare at; none: 100, 150, 300, 600, 1,200 and as many as
            greedy forward selection takes to complete.

    Raises:
        ConfigError: the genomes of the family pick no sets.
    """
    searched = _chosen(config, family)
    with open_context(config, out, reporter) as run:
        run_foundations(run, searched)
        halves = Halves(*searched.halves(run.experiment))
        space = halves.searched.space
        own = searched.rivals(run.experiment)
        settings = searched.search_settings(config)
        methods = _Methods(
            Study(run, "rivals", [_VERSION, SEARCH_VERSION]),
            searched,
            halves,
            own,
            settings,
            max(evaluations, default=None),
        )
        every = range(config.seed, config.seed + seeds)
        tables = [methods.table("greedy", every)]
        completion = max(tables[0]["evaluations"].to_pylist())
        if methods.limit is None:
            # the others get as many evaluations as greedy selection took
            methods.limit = completion
        # a family's own methods have no randomness: one seed stands for all
        tables += [methods.table(name, every[:1]) for name in own.methods]
        tables += [methods.table(name, every) for name in ("search", "random")]
        budgets = sorted(evaluations) or [
            *(budget for budget in _BUDGETS if budget < completion),
            completion,
        ]
        write_table(run.folder.table("rivals"), pa.concat_tables(tables), "rivals")
        run.note(
            rivals={
                "family": searched.name,
                "seeds": seeds,
                "evaluations": budgets,
                "slots": len(space.exchangeable),
                "functions": space.slots[space.exchangeable[0]].cardinality - 1,
                "searched_on": "first half of the validation blocks",
                "held_back": "second half of the validation blocks",
                "search": settings.model_dump(mode="json"),
            }
        )
        studied = load_run(run.folder.path)
        for section in study_sections(studied, "rivals"):
            section.write_figures(run.folder.figures)
    return studied


def _chosen(config: RunConfig, name: str | None) -> AnyFamily:
    families = families_of(config) if name is None else [family_of(config, name)]
    for family in families:
        if family.picks_sets:
            return family
    raise ConfigError(
        f"the genomes of {', '.join(family.name for family in families)} pick no sets, which "
        "greedy selection needs",
        remedy="--set families=[mixture]",
    )


@dataclass
class _Methods:
    """The methods of a study on one problem.

    Attributes:
        study: stores their rows.
        family: the family searched.
        halves: the problem.
        own: the family's own methods.
        settings: of the genetic algorithm.
        limit: evaluations at most; `None`: until a method ends by itself.
    """

    study: Study
    family: AnyFamily
    halves: Halves
    own: Rivals
    settings: SearchSettings
    limit: int | None

    def __post_init__(self) -> None:
        # the study says how long a search lasts
        asked = self.settings.replaced(
            generations=1, patience=None, max_evaluations=None, finalists=1
        )
        key = self.study.key(
            searched=self.halves.searched.fingerprint,
            held_back=self.halves.held_back.fingerprint,
            search=asked.model_dump(mode="json"),
            limit=self.limit,
            **self.own.identity,
        )
        self._folder = f"rivals-{key}"
        self.study.clean("rivals", [self._folder])
        self._known: dict[Genome, Evaluation] = {}

    def table(self, method: str, seeds: Sequence[int]) -> pa.Table:
        """Return a method's rows for all seeds, running what is not stored."""
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
