"""The searches of `clso ablate` and `clso savings`: arm by arm and seed by seed.

Arms that solve the same problem share its evaluations, and each is charged as if it had computed
its own. A search lasts as long as its budget. It may end sooner in two ways: by its arm's
`search.patience`, where the study allows it, and where its loss is at the study's floor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import pyarrow as pa

from clso.artifacts import RunFolder
from clso.digest import digest_of
from clso.errors import ConfigError
from pipelines.config import Arm, RunConfig
from pipelines.context import RunContext
from pipelines.families import AnyFamily
from pipelines.stages import families_of, run_foundations
from pipelines.studies.engine import JudgedSearch, Part, Row, Study, family_of, judged_search
from search.evolution import SEARCH_VERSION
from search.settings import SearchSettings
from search.validated import Halves

__all__ = ["ArmSearches", "chosen_families"]

# Raised whenever a change of code changes what a stored part would hold.
_VERSION = 2


def chosen_families(config: RunConfig, names: Sequence[str]) -> list[AnyFamily]:
    """Return the families that a study searches: those named, or all of the configuration.

    Raises:
        ConfigError: the configuration does not have one.
    """
    chosen = [family_of(config, name) for name in names]
    return [family for family in families_of(config) if not chosen or family in chosen]


class ArmSearches:
    """The searches of one study and one family.

    Args:
        run: the run that is studied.
        study: its name, and that of the table that its rows are of.
        family: the family that is searched.
        evaluations: budget of each search.
        columns: returns what the table has of a search besides arm, losses and costs.
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
        """Return the rows of all arms and seeds, searching what is not stored.

        Args:
            arms: to search.
            seeds: of the searches of each arm.
            floor: a search ends after the generation that brings its loss to it or below.
        """
        keys = [self._family.key(arm.config) for arm in arms]
        # arms of the same problem one after the other, since one problem is open at a time
        order = sorted(range(len(arms)), key=lambda index: keys.index(keys[index]))
        tables = {index: self._arm_table(arms[index], seeds, floor) for index in order}
        return pa.concat_tables([tables[index] for index in range(len(arms))])

    def problem(self, arm: Arm) -> Halves:
        """Return what an arm searches, opened unless it was the last to be asked for."""
        key = self._family.key(arm.config)
        if self._open is None or self._open[0] != key:
            self._open = None  # one at a time: a library's dense matrices fill the memory
            self._open = key, _open_arm(self._study.run, arm.config, self._family)
        return self._open[1]

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
            settings = self.settings(arm).model_dump(mode="json")
            search = self._family.key(arm.config), digest_of(settings)
            if search in seen:
                raise ConfigError(
                    f"the arms {seen[search]!r} and {arm.name!r} are the same search of the "
                    f"{self._family.name} family",
                    remedy="override something that it reads (mixture.search, where there is "
                    "one, stands in for search), or drop one of them",
                )
            seen[search] = arm.name

    def _arm_table(self, arm: Arm, seeds: Sequence[int], floor: float | None) -> pa.Table:
        halves = self.problem(arm)
        self.genes[arm.name] = self._family.genes(halves.searched)
        settings = self.settings(arm)
        key = self._study.key(
            searched=halves.searched.fingerprint,
            held_back=halves.held_back.fingerprint,
            search=settings.model_dump(mode="json"),
            floor=floor,
            arm=[arm.name, arm.factor, arm.level],
        )
        run = self._study.run

        def rows(seed: int) -> list[Row]:
            search = judged_search(
                run, halves, settings, seed=seed, family=self._family.name, floor=floor
            )
            names = {
                "run_id": run.run_id,
                "seed": seed,
                "family": self._family.name,
                "arm": arm.name,
            }
            return [names | search.columns | self._columns(arm, search)]

        folder = f"{self._study.table}/{key}"
        return self._study.rows(
            arm.name,
            [Part(folder, seed, partial(rows, seed), f"seed {seed}") for seed in seeds],
        )


def _open_arm(run: RunContext, config: RunConfig, family: AnyFamily) -> Halves:
    """Return an arm's problem, after making what it is built on, which runs share.

    Raises:
        DataError: too little validation text for two halves.
    """
    # the arm's stages are noted apart from the run's own manifest
    folder = RunFolder(run.folder.state / "arms" / family.key(config)[:16])
    manifest = {"run_id": run.run_id, "uid": run.uid}
    arm = RunContext(run.experiment.varied(config), run.run_id, folder, manifest)
    run_foundations(arm, family)
    return Halves(*family.halves(arm.experiment))
