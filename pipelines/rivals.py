"""The study `clso rivals`: does the mixture's search beat simpler ones at equal cost?

All searches see the first half of the validation blocks; the second half is read once a search
has ended, for the loss that it did not select by. Functions, weights on tune and the number of
slots are the same for all. What is finished of a study is reused, seed by seed and method by
method. The test split is not read.

EM on all functions at once is charged by its columns and steps, in evaluations of genomes with
all slots filled. The heaviest functions are taken after ever more steps, since few steps leave the
weights near where they began; all at once, the reference, has the steps of a final model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from clso.artifacts import (
    append_part,
    load_run,
    part_path,
    read_table,
    remove,
    write_table,
)
from clso.digest import digest_of
from clso.errors import ConfigError
from clso.genome import Genome
from clso.mixture.all_at_once import all_functions, cost_of_all, halves, heaviest
from clso.mixture.evaluator import MixtureProblem, Scored
from clso.problem import Evaluation
from clso.studies.rivals import METHODS, rivals_sections
from pipelines.context import RunContext
from pipelines.families.mixture import MIXTURE
from pipelines.stages import run_foundations
from pipelines.stages.mixture_functions import FunctionLibrary
from search.evolution import SEARCH_VERSION
from search.loop import run_search
from search.records import MemorySink
from search.rivals import greedy_forward, random_search
from search.settings import SearchSettings
from search.watched import Standing, WatchedProblem, falling

__all__ = ["run_rivals"]

# Raised whenever a change of code changes what a stored part would hold.
_VERSION = 1
_BUDGETS = (100, 150, 300, 600, 1200)
_ORDER = ("greedy", "all_at_once", "top_weight", "search", "random")
_LONGER = tuple(2**power for power in range(7))  # EM on all functions, in steps of an evaluation
_ONCE = ("all_at_once", "top_weight")  # no randomness: one seed stands for all

Row = dict[str, Any]


@dataclass(frozen=True)
class _Arena:
    """One problem for all.

    Attributes:
        searched: mixtures of K functions on the first half of validation.
        held_back: the same on the second half.
        unlimited: mixtures of all functions on the first half, with the steps of a final model.
        unlimited_held_back: the same on the second half.
    """

    searched: MixtureProblem
    held_back: MixtureProblem
    unlimited: MixtureProblem
    unlimited_held_back: MixtureProblem

    @classmethod
    def of(cls, context: RunContext) -> _Arena:
        config = context.config.mixture
        columns = FunctionLibrary(context.experiment).scored()
        first, second = halves(columns["validation"])

        def problem(validation: Scored, slots: int, steps: int) -> MixtureProblem:
            return MixtureProblem(
                columns["tune"],
                validation,
                slots=slots,
                bucketings=config.bucketings,
                smoothing=config.smoothing,
                steps=steps,
            )

        n_functions = len(columns["tune"].columns.names)
        return cls(
            problem(first, config.slots, config.steps),
            problem(second, config.slots, config.steps),
            problem(first, n_functions, config.final_steps),
            problem(second, n_functions, config.final_steps),
        )


def run_rivals(context: RunContext, *, seeds: int, evaluations: Sequence[int] = ()) -> Path:
    """Run every search for every seed; write `rivals.parquet`, figure and the manifest's note.

    Args:
        context: of the run whose data set, functions and search settings are compared.
        seeds: of the searches, from the run's own upwards.
        evaluations: the budgets to compare at; none: 100, 150, 300, 600, 1,200 and as many as
            greedy forward selection takes to complete.

    Returns:
        The run's folder.

    Raises:
        ConfigError: the configuration has no mixture family.
    """
    config = context.config
    if MIXTURE.name not in config.families:
        raise ConfigError(
            f"families is {config.families}, and rivals are those of the {MIXTURE.name}'s search",
            remedy=f"--set families=[{MIXTURE.name}]",
        )
    run_foundations(context, MIXTURE)
    arena = _Arena.of(context)
    settings = MIXTURE.search_settings(config)
    every = [config.seed + number for number in range(seeds)]
    limit = max(evaluations, default=None)
    study = _Study(context, arena, settings, limit)
    tables = []
    for method in _ORDER:
        tables.append(study.table(method, every[:1] if method in _ONCE else every))
        if limit is None and method == "greedy":
            # the others get as many evaluations as greedy selection took
            study.limit = max(tables[-1]["evaluations"].to_pylist())
    rivals = pa.concat_tables(tables)
    completion = max(tables[_ORDER.index("greedy")]["evaluations"].to_pylist())
    budgets = sorted(evaluations) or [
        *(budget for budget in _BUDGETS if budget < completion),
        completion,
    ]
    write_table(context.folder.table("rivals"), rivals, "rivals")
    context.note(
        rivals={
            "family": MIXTURE.name,
            "seeds": seeds,
            "evaluations": budgets,
            "slots": config.mixture.slots,
            "functions": len(arena.searched.names),
            "searched_on": "first half of the validation blocks",
            "held_back": "second half of the validation blocks",
            "search": settings.model_dump(mode="json"),
        }
    )
    run = load_run(context.folder.path)
    for section in rivals_sections(run):
        section.write_figures(run.folder.figures)
    return context.folder.path


class _Study:
    """Searches of one arena, each stored as a part once it has ended."""

    def __init__(
        self, context: RunContext, arena: _Arena, settings: SearchSettings, limit: int | None
    ) -> None:
        self._context = context
        self._arena = arena
        self._settings = settings
        self.limit = limit
        self._known: dict[Genome, Evaluation] = {}
        # how long a search lasts is the study's to say
        asked = settings.replaced(generations=1, patience=None, max_evaluations=None, finalists=1)
        key = digest_of(
            {
                "version": [_VERSION, SEARCH_VERSION],
                "searched": arena.searched.fingerprint,
                "held_back": arena.held_back.fingerprint,
                "unlimited": arena.unlimited.fingerprint,
                "search": asked.model_dump(mode="json"),
                "limit": limit,
            }
        )
        self._parts = context.folder.state / f"rivals-{key[:16]}"
        for other in context.folder.state.glob("rivals-*"):
            if other != self._parts:
                remove(other)

    def table(self, method: str, seeds: Sequence[int]) -> pa.Table:
        """Return a method's rows for all seeds, running what is not stored."""
        tables = []
        with self._context.reporter.task(METHODS[method], total=len(seeds)) as task:
            for number, seed in enumerate(seeds):
                path = part_path(self._parts / method, seed)
                if not path.exists():
                    append_part(path.parent, seed, self._rows(method, seed), "rivals")
                tables.append(read_table(path, "rivals"))
                best = tables[-1]["loss"].to_pylist()[-1]
                task.update(number + 1, f"seed {seed}: {best:.4f}")
        return pa.concat_tables(tables)

    def _rows(self, method: str, seed: int) -> list[Row]:
        watched = WatchedProblem(self._arena.searched, self._known)
        run: dict[str, Callable[[], Iterator[Standing]]] = {
            "search": partial(self._evolve, watched, seed),
            "random": partial(random_search, watched, seed=seed, limit=self.limit),
            "greedy": partial(greedy_forward, watched, seed=seed, limit=self.limit),
            "top_weight": partial(self._weigh, watched),
            "all_at_once": self._take_all,
        }
        steps = list(falling(run[method]()))
        arena = self._arena
        held_back = arena.unlimited_held_back if method == "all_at_once" else arena.held_back
        unread = held_back.evaluate([step.canonical for step in steps if step.canonical])
        return [
            {
                "run_id": self._context.run_id,
                "seed": seed,
                "family": MIXTURE.name,
                "method": method,
                "evaluations": step.evaluations,
                "loss": step.loss,
                "held_back_loss": evaluation.loss,
            }
            for step, evaluation in zip(steps, unread, strict=True)
        ]

    def _evolve(self, watched: WatchedProblem, seed: int) -> Iterator[Standing]:
        assert self.limit is not None
        settings = self._settings.lasting(self.limit)
        run_search(
            watched, settings, seed=seed, family=MIXTURE.name, run_id="rivals", sink=MemorySink()
        )
        yield from watched.standings

    def _weigh(self, watched: WatchedProblem) -> Iterator[Standing]:
        slots = len(watched.space.exchangeable)
        bucketings = range(len(self._arena.searched.bucketings))
        steps = self._context.config.mixture.steps
        for longer in _LONGER:
            # shared weights only, which an evaluation takes half of its steps for
            spent = math.ceil(self._cost_of_all * longer / 2)
            if self.limit is not None and spent >= self.limit:
                return
            picked = heaviest(self._arena.unlimited, slots, steps=longer * steps)
            filled = (*picked, *([0] * (slots - len(picked))))
            genomes = [(*filled, number) for number in bucketings]
            begun = len(watched.standings)
            if watched.space.canonical(genomes[-1]) not in watched.archive:
                watched.evaluate(genomes)
            for standing in watched.standings[begun:]:
                yield replace(standing, evaluations=spent + standing.evaluations)

    def _take_all(self) -> Iterator[Standing]:
        config = self._context.config.mixture
        watched = WatchedProblem(self._arena.unlimited)
        watched.evaluate(all_functions(self._arena.unlimited))
        for standing in watched.standings:
            cost = standing.evaluations * self._cost_of_all * config.final_steps / config.steps
            yield replace(standing, evaluations=math.ceil(cost))

    @property
    def _cost_of_all(self) -> float:
        """Evaluations that a mixture of all functions is worth, at equal steps."""
        searched = self._arena.searched
        return cost_of_all(len(searched.names), len(searched.space.exchangeable))
