"""Many searches, arm by arm and seed by seed, each stored as a part once it has ended.

Arms that solve the same problem share its evaluations, and each is charged as if it had paid for
its own: evaluations, tokens and joules are those of the genomes that it asked for, from when they
were computed. What is finished is reused, whichever other arms a study has; only searches that may
end at a floor are run again where the floor is another.

A search lasts as long as its budget. It may end sooner in two ways: by its arm's `search.patience`,
where the study allows it, and where its loss is at the study's floor.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from clso.artifacts import append_part, part_path, read_table
from clso.digest import digest_of
from clso.energy import Measurement
from clso.errors import ConfigError
from pipelines.arm_problems import ArmProblem, open_arm
from pipelines.config import Arm
from pipelines.context import RunContext
from pipelines.families import AnyFamily
from search.evolution import SEARCH_VERSION
from search.loop import run_search
from search.records import MemorySink
from search.result import SearchResult
from search.settings import SearchSettings
from search.surrogates import metered, surrogate_factory
from search.watched import Standing, WatchedProblem

__all__ = ["ArmSearch", "ArmSearches"]

# Raised whenever a change of code changes what a stored part would hold.
_VERSION = 2

Row = dict[str, Any]


@dataclass(frozen=True)
class ArmSearch:
    """One search that has ended.

    Attributes:
        result: what it handed back.
        standings: the best after each of its whole evaluations.
        evaluations: that it spent, those on a part of the batches as that part.
        tokens: that its evaluations scored.
        measurement: seconds and joules of its evaluations, from when they were computed.
        surrogate_costs: what each fit and each prediction took, after how many evaluations.
    """

    result: SearchResult
    standings: list[Standing]
    evaluations: int
    tokens: int
    measurement: Measurement
    surrogate_costs: list[tuple[int, Measurement]]

    def energy_j_at(self, standing: Standing) -> float | None:
        """Return the joules up to a standing, those of the surrogate that led there included."""
        joules = [cost.energy_j for at, cost in self.surrogate_costs if at < standing.evaluations]
        joules.append(standing.energy_j)
        return math.fsum(one for one in joules if one is not None) if None not in joules else None

    @property
    def costs(self) -> Row:
        """Columns of what the search took; energy is `None` where a part was not measured."""
        surrogate = self.result.surrogate_cost or Measurement(0.0)
        total = Measurement.total((self.measurement, surrogate))
        return {
            "evaluations": self.evaluations,
            "predictions": self.result.n_predictions,
            "tokens": self.tokens,
            "duration_s": total.duration_s,
            "energy_j": total.energy_j,
            "surrogate_energy_j": surrogate.energy_j,
            "energy_source": total.energy_source,
            "estimated": total.estimated,
        }


class ArmSearches:
    """The searches of one study.

    Args:
        context: of the run that is studied.
        study: its name, and that of the table that its rows are of.
        family: the one searched.
        evaluations: budget of each search.
        columns: returns what its table has of a search besides arm, losses and costs.
        patient: whether a search may end by its arm's `search.patience`.
    """

    def __init__(
        self,
        context: RunContext,
        study: str,
        family: AnyFamily,
        evaluations: int,
        columns: Callable[[Arm, ArmSearch], Row],
        *,
        patient: bool = False,
    ) -> None:
        self._context = context
        self._study = study
        self._family = family
        self._evaluations = evaluations
        self._columns = columns
        self._patient = patient
        self._open: tuple[str, ArmProblem] | None = None
        self.genes: dict[str, list[Row]] = {}

    def table(
        self, arms: Sequence[Arm], seeds: Sequence[int], *, floor: float | None = None
    ) -> pa.Table:
        """Return the rows of all arms and seeds, running what is not stored.

        Args:
            arms: to search.
            seeds: of the searches of each.
            floor: a search ends after the generation that brings its loss to it or below.
        """
        keys = {arm.name: self._family.key(arm.config) for arm in arms}
        tables: dict[str, pa.Table] = {}
        order = list(dict.fromkeys(keys.values()))
        for arm in sorted(arms, key=lambda arm: order.index(keys[arm.name])):
            tables[arm.name] = self._arm_table(arm, seeds, floor)
        return pa.concat_tables([tables[arm.name] for arm in arms])

    def problem(self, arm: Arm) -> ArmProblem:
        """Return what an arm searches, opened unless it was the last to be asked for."""
        key = self._family.key(arm.config)
        if self._open is None or self._open[0] != key:
            self._open = None  # one at a time: a library's dense matrices fill the memory
            self._open = key, open_arm(self._context, arm.config, self._family)
        return self._open[1]

    def _arm_table(self, arm: Arm, seeds: Sequence[int], floor: float | None) -> pa.Table:
        problem = self.problem(arm)
        self.genes[arm.name] = problem.genes
        parts = self._context.folder.state / self._study / self._part_key(problem, arm, floor)
        tables = []
        with self._context.reporter.task(arm.name, total=len(seeds)) as task:
            for number, seed in enumerate(seeds):
                path = part_path(parts, seed)
                if not path.exists():
                    append_part(
                        parts, seed, [self._searched(problem, arm, seed, floor)], self._study
                    )
                tables.append(read_table(path, self._study))
                task.update(number + 1, f"seed {seed}: {tables[-1]['loss'][0].as_py():.4f}")
        return pa.concat_tables(tables)

    def settings(self, arm: Arm) -> SearchSettings:
        """Return an arm's search, which lasts as long as the study says."""
        settings = self._family.search_settings(arm.config)
        patience = settings.patience if self._patient else None
        return settings.lasting(self._evaluations, patience=patience)

    def check_different(self, arms: Sequence[Arm]) -> None:
        """Refuse two arms that are the same search.

        Raises:
            ConfigError: they are.
        """
        seen: dict[tuple[str, str], str] = {}
        for arm in arms:
            what = (
                self._family.key(arm.config),
                digest_of(self.settings(arm).model_dump(mode="json")),
            )
            if what in seen:
                raise ConfigError(
                    f"the arms {seen[what]!r} and {arm.name!r} are the same search of the "
                    f"{self._family.name} family",
                    remedy="override something that it reads (mixture.search, where there is "
                    "one, stands in for search), or drop one of them",
                )
            seen[what] = arm.name

    def _part_key(self, problem: ArmProblem, arm: Arm, floor: float | None) -> str:
        return digest_of(
            {
                "version": [_VERSION, SEARCH_VERSION],
                "searched": problem.searched.fingerprint,
                "held_back": problem.held_back.fingerprint,
                "search": self.settings(arm).model_dump(mode="json"),
                "floor": floor,
                "arm": [arm.name, arm.factor, arm.level],
            }
        )[:16]

    def _searched(self, problem: ArmProblem, arm: Arm, seed: int, floor: float | None) -> Row:
        settings = self.settings(arm)
        watched = WatchedProblem(problem.searched, problem.known)

        def arrived() -> bool:
            loss = watched.standings[-1].loss if watched.standings else None
            return floor is not None and loss is not None and loss <= floor

        surrogate_costs: list[tuple[int, Measurement]] = []
        make_surrogate = surrogate_factory(settings.surrogate)
        if make_surrogate is not None:
            make_surrogate = metered(
                make_surrogate,
                self._context.monitor,
                lambda cost: surrogate_costs.append((watched.spent, cost)),
            )
        result = run_search(
            watched,
            settings,
            seed=seed,
            family=self._family.name,
            run_id=self._context.run_id,
            sink=MemorySink(),
            monitor=self._context.monitor,
            should_stop=arrived,
            surrogate=make_surrogate,
        )
        search = ArmSearch(
            result,
            watched.standings,
            watched.spent,
            watched.tokens,
            watched.measurement,
            surrogate_costs,
        )
        (held_back_loss,) = problem.held_back_losses([result.best.canonical])
        return {
            "run_id": self._context.run_id,
            "seed": seed,
            "family": self._family.name,
            "arm": arm.name,
            "loss": result.best.loss,
            "held_back_loss": held_back_loss,
            **search.costs,
            **self._columns(arm, search),
        }
