"""The searches of `clso ablate` and `clso savings`: one for each arm and seed.

Arms of the same problem share its evaluations, but each arm pays for all evaluations that it used.
A search ends when its budget is spent. It may end before for two reasons: the arm's
`search.patience`, if the study allows it, or a loss at the study's floor.
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
from pipelines.studies.engine import JudgedSearch, Part, Row, Study
from search.evolution import SEARCH_VERSION
from search.settings import SearchSettings
from search.validated import Halves

__all__ = ["ArmSearches"]

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
        # arms of the same problem follow each other, since one problem is open at a time
        order = sorted(range(len(arms)), key=lambda index: keys.index(keys[index]))
        tables = {index: self._arm_table(arms[index], seeds, floor) for index in order}
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

    def check_different(self, arms: Sequence[Arm]) -> None:
        """Check that no two arms are the same search.

        Raises:
            ConfigError: two arms are.
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
            search = JudgedSearch.run(
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
    """Return an arm's problem, after running the stages that it is built on.

    Raises:
        DataError: too little validation text for two halves.
    """
    # the arm's stages have a manifest of their own
    folder = RunFolder(run.folder.state / "arms" / family.key(config)[:16])
    manifest = {"run_id": run.run_id, "uid": run.uid}
    arm = RunContext(run.experiment.varied(config), run.run_id, folder, manifest)
    family.prepare(arm)
    return Halves(*family.halves(arm.experiment))
