"""The study `clso rivals`: a search against simpler methods at equal cost.

All methods read the first half of the validation blocks, and have the same library and number of
slots. The second half is read when a method has ended. Rows are stored for each method and seed.
The test split is not read.

Searches of sets are compared with greedy forward selection, others with coordinate descent. Where
a run's search begins with genomes of the family, coordinate descent begins with the same. A family
may add methods of its own (`ModelFamily.rivals`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from clso.artifacts import Run
from clso.engine import Shared
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
from search.rivals import coordinate_descent, greedy_forward, random_search
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
        family: name of the model family; `None`: the first whose genomes pick sets, or else the
            first.
        seeds: searches of each kind, from the run's own seed upwards.
        evaluations: budgets to compare at; none: 100, 150, 300, 600, 1,200 and as many as the
            greedy method needs.

    Returns:
        The run, with the table `rivals`.

    Raises:
        ConfigError: the run does not have the family.
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
        run.folder.write("rivals", table)
        smaller = [budget for budget in _BUDGETS if budget < completion]
        budgets = sorted(evaluations) or [*smaller, completion]
        asked = {"seeds": seeds, "evaluations": budgets, "asked_evaluations": sorted(evaluations)}
        run.note(rivals={**asked, **methods.description()})
        return with_figures(run, "rivals")


def check(config: RunConfig, family: str | None = None, **unchecked: object) -> AnyFamily:
    """Return the family that is searched.

    Raises:
        ConfigError: the run does not have it.
    """
    families = config.searched_families([] if family is None else [family])
    return next((searched for searched in families if searched.picks_sets), families[0])


@dataclass
class _Methods:
    """The methods of a study on one problem.

    Attributes:
        own: the family's own methods.
        settings: of the genetic algorithm.
        limit: the most evaluations; `None`: as many as the greedy method needs.
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
        self.start = self.family.first_genomes(self.halves.searched, self.settings)
        self._folder = f"rivals-{key}"
        self.study.clean("rivals", [self._folder])
        self._shared = Shared(self._folder, _Problems(self.halves, self.own))

    def compared(self, seeds: Sequence[int]) -> tuple[pa.Table, int]:
        """Return the rows of all methods, and the evaluations that the greedy one needs."""
        name = "greedy" if self.family.picks_sets else "one_pass"
        greedy = self._table("greedy selection", {name: seeds}, self._folder)
        completion = max(greedy["evaluations"].to_pylist())
        if self.limit is None:
            self.limit = completion
        # a family's own methods have no randomness: one seed is enough
        others = dict.fromkeys(self.own.methods, seeds[:1]) | {"search": seeds, "random": seeds}
        if not self.family.picks_sets:
            others["descent"] = seeds
        # the limit may follow from the seeds that are asked for
        found = self._table("the other methods", others, f"{self._folder}/{self.limit}")
        return pa.concat_tables([greedy, found]), completion

    def description(self) -> dict[str, Any]:
        """Return the entries of the manifest about the problem and the search."""
        space = self.halves.searched.space
        picked = [space.slots[slot].cardinality for slot in space.exchangeable]
        return {
            "family": self.family.name,
            "slots": len(picked) or len(space.slots),
            "functions": picked[0] - 1 if picked else None,
            "start": len(self.start),
            "searched_on": "first half of the validation blocks",
            "held_back": "second half of the validation blocks",
            "search": self.settings.model_dump(mode="json"),
        }

    def _table(self, title: str, methods: Mapping[str, Sequence[int]], folder: str) -> pa.Table:
        """Return the rows of methods with their seeds, running those whose rows are not stored."""
        method = _Method(
            self.study.run.run_id, self.family.name, self.settings, self.limit, self.start
        )
        parts = [
            Part(
                f"{folder}/{name}",
                seed,
                partial(_rows, method=method, name=name, seed=seed),
                f"{METHODS.get(name, name)}, seed {seed}",
            )
            for name, seeds in methods.items()
            for seed in seeds
        ]
        return pa.concat_tables(self.study.rows(title, parts, self._shared))


@dataclass(frozen=True)
class _Problems:
    """What all methods read; `known` has the evaluations that they have made in this process."""

    halves: Halves
    own: Rivals
    known: dict[Genome, Evaluation] = field(default_factory=dict)


@dataclass(frozen=True)
class _Method:
    """What the methods have in common besides the problems."""

    run_id: str
    family: str
    settings: SearchSettings
    limit: int | None
    start: tuple[Genome, ...]

    def evolve(self, watched: WatchedProblem, seed: int) -> Iterator[Standing]:
        """Search with the genetic algorithm."""
        assert self.limit is not None
        run_search(
            watched,
            self.settings.lasting(self.limit),
            seed=seed,
            family=self.family,
            run_id="rivals",
            sink=MemorySink(),
            start=self.start,
        )
        yield from watched.standings


def _rows(problems: _Problems, *, method: _Method, name: str, seed: int) -> list[Row]:
    """Run a method, and return a row for each improvement."""
    halves, own, limit = problems.halves, problems.own, method.limit
    watched = WatchedProblem(halves.searched, problems.known)
    descend = partial(coordinate_descent, watched, seed=seed, start=method.start, limit=limit)
    general: Mapping[str, Callable[[], Iterator[Standing]]] = {
        "search": lambda: method.evolve(watched, seed),
        "random": lambda: random_search(watched, seed=seed, limit=limit),
        "greedy": lambda: greedy_forward(watched, seed=seed, limit=limit),
        "one_pass": lambda: descend(passes=1),
        "descent": lambda: descend(),
    }
    if name in general:
        standings, held_back = general[name](), halves.held_back
    else:
        standings = own.methods[name](watched, limit)
        held_back = own.held_back.get(name, halves.held_back)
    steps = list(improvements(standings))
    judged = held_back.evaluate([step.canonical for step in steps if step.canonical])
    return [
        {
            "run_id": method.run_id,
            "seed": seed,
            "family": method.family,
            "method": name,
            "evaluations": step.evaluations,
            "loss": step.loss,
            "held_back_loss": evaluation.loss,
        }
        for step, evaluation in zip(steps, judged, strict=True)
    ]
