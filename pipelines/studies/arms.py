"""The searches of `clso ablate` and `clso savings`: one for each arm and seed.

A search, by whatever method, begins with the genomes that a run's search begins with. Arms of the
same problem share its evaluations, but each arm pays for all evaluations that it used. A search
ends when its budget is spent. It may end before for two reasons: the arm's `search.patience`, if
the study allows it, or a loss at the study's floor. A method also ends where it finds no new
genome.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa

from clso.artifacts import RunFolder
from clso.digest import digest_of
from clso.energy import EnergyMonitor
from clso.errors import ConfigError
from clso.genome import Genome
from pipelines.config import Arm, RunConfig
from pipelines.context import RunContext
from pipelines.families import AnyFamily
from pipelines.studies.engine import JudgedSearch, Part, Row, Study
from search.evolution import SEARCH_VERSION
from search.methods import method_identity
from search.settings import SearchSettings
from search.validated import Halves

__all__ = ["ArmSearches", "note_arms", "prepared_arm"]

# Raised whenever a change of code changes the rows of a part.
_VERSION = 2


class ArmSearches:
    """The searches of one study and one family.

    Args:
        study: the name of the study's table.
        evaluations: budget of each search.
        columns: returns the columns of a search besides arm, losses and costs.
        patient: whether a search may end by its arm's `search.patience`.
    """

    def __init__(
        self,
        run: RunContext,
        study: str,
        family: AnyFamily,
        evaluations: int,
        columns: Callable[[Arm, JudgedSearch], Row],
        *,
        patient: bool = False,
    ) -> None:
        self._study = Study(run, study, [_VERSION, SEARCH_VERSION])
        self._family = family
        self._evaluations = evaluations
        self._columns = columns
        self._patient = patient
        self._open: tuple[str, Halves] | None = None
        self.genes: dict[str, list[Row]] = {}

    def table(
        self, arms: Sequence[Arm], seeds: Sequence[int], *, floor: float | None = None
    ) -> pa.Table:
        """Return the rows of all arms and seeds, running the searches that are not stored.

        A search ends after the first generation whose best loss is not above `floor`.
        """
        keys = [self._family.key(arm.config) for arm in arms]
        tables: dict[int, pa.Table] = {}
        # arms of the same problem together, since one problem is open at a time
        for key in dict.fromkeys(keys):
            alike = [index for index, own in enumerate(keys) if own == key]
            found = self._tables([arms[index] for index in alike], seeds, floor)
            tables |= zip(alike, found, strict=True)
        return pa.concat_tables([tables[index] for index in range(len(arms))])

    def problem(self, arm: Arm) -> Halves:
        """Return the problem of an arm; the last one stays open."""
        key = self._family.key(arm.config)
        if self._open is None or self._open[0] != key:
            self._open = None  # one at a time: the dense matrices of a library need much memory
            self._open = key, _open_arm(self._study.run, arm.config, self._family)
        return self._open[1]

    def settings(self, arm: Arm) -> SearchSettings:
        """Return an arm's search settings, with the study's budget."""
        settings = self._family.search_settings(arm.config)
        patience = settings.patience if self._patient else None
        return settings.lasting(self._evaluations, patience=patience)

    def search(self, arm: Arm) -> dict[str, Any]:
        """Return JSON values of what an arm's evaluations follow from, besides problem and seed."""
        settings = self.settings(arm)
        if arm.method is None:
            return settings.model_dump(mode="json")
        return method_identity(arm.method, settings)

    def check_different(self, arms: Sequence[Arm]) -> None:
        """Check that no two arms are the same search.

        Raises:
            ConfigError: two arms are.
        """
        seen: dict[tuple[str, str], str] = {}
        for arm in arms:
            search = self._family.key(arm.config), digest_of(self.search(arm))
            if search in seen:
                raise ConfigError(
                    f"the arms {seen[search]!r} and {arm.name!r} are the same search of the "
                    f"{self._family.name} family",
                    remedy="override something that it reads (mixture.search, where there is "
                    "one, stands in for search), or drop one of them",
                )
            seen[search] = arm.name

    def note_arms(self, arms: Sequence[Arm]) -> None:
        """Note the arms of the study, so that the remains of earlier arms can be told apart."""
        configs = [arm.config for arm in arms]
        note_arms(self._study.run, self._study.table, self._family, configs)

    def _tables(
        self, arms: Sequence[Arm], seeds: Sequence[int], floor: float | None
    ) -> list[pa.Table]:
        """Return the rows of each of some arms of the same problem."""
        halves, run = self.problem(arms[0]), self._study.run
        parts = []
        for arm in arms:
            self.genes[arm.name] = self._family.genes(halves.searched)
            settings = self.settings(arm)
            start = self._family.first_genomes(halves.searched, settings)
            begun = {"start": [list(genome) for genome in start]} if start else {}
            key = self._study.key(
                searched=halves.searched.fingerprint,
                held_back=halves.held_back.fingerprint,
                search=self.search(arm),
                floor=floor,
                arm=[arm.name, arm.factor, arm.level],
                **begun,
            )
            search = _ArmSearch(
                arm,
                settings,
                start,
                floor,
                run.run_id,
                self._family.name,
                run.monitor,
                self._columns,
            )
            parts += [
                Part(
                    f"{self._study.table}/{key}",
                    seed,
                    partial(_searched, search=search, seed=seed),
                    f"{arm.name}, seed {seed}",
                )
                for seed in seeds
            ]
        title = f"{self._study.table} of {self._family.name}"
        tables = self._study.rows(title, parts, halves.shared)
        count = len(seeds)
        return [
            pa.concat_tables(tables[start : start + count])
            for start in range(0, len(tables), count)
        ]


@dataclass(frozen=True)
class _ArmSearch:
    """What the searches of an arm have in common besides the problem."""

    arm: Arm
    settings: SearchSettings
    start: tuple[Genome, ...]
    floor: float | None
    run_id: str
    family: str
    monitor: EnergyMonitor
    columns: Callable[[Arm, JudgedSearch], Row]


def _searched(halves: Halves, *, search: _ArmSearch, seed: int) -> list[Row]:
    """Return the row of one search."""
    judged = JudgedSearch.run(
        search.run_id,
        halves,
        search.settings,
        seed=seed,
        family=search.family,
        monitor=search.monitor,
        floor=search.floor,
        start=search.start,
        method=search.arm.method,
    )
    names = {
        "run_id": search.run_id,
        "seed": seed,
        "family": search.family,
        "arm": search.arm.name,
    }
    return [names | judged.columns | search.columns(search.arm, judged)]


def _arm_folder(family: AnyFamily, config: RunConfig) -> str:
    return family.key(config)[:16]


def note_arms(run: RunContext, study: str, family: AnyFamily, configs: Iterable[RunConfig]) -> None:
    """Note the arms of a study, so that the remains of earlier arms can be told apart."""
    names = sorted({_arm_folder(family, config) for config in configs})
    run.note(arms={**run.manifest.get("arms", {}), f"{study}/{family.name}": names})


def prepared_arm(run: RunContext, config: RunConfig, family: AnyFamily) -> RunContext:
    """Return an arm, after running the stages that its problem is built on."""
    # the arm's stages have a manifest of their own
    folder = RunFolder(run.folder.state / "arms" / _arm_folder(family, config))
    manifest = {"run_id": run.run_id, "uid": run.uid}
    arm = RunContext(run.experiment.varied(config), run.run_id, folder, manifest)
    family.prepare(arm)
    return arm


def _open_arm(run: RunContext, config: RunConfig, family: AnyFamily) -> Halves:
    """Return an arm's problem.

    Raises:
        DataError: too little validation text for two halves.
    """
    return Halves(*family.halves(prepared_arm(run, config, family).experiment))
