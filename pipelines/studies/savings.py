"""The study `clso savings`: the evaluations and joules that a way to search saves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from clso.artifacts import Run
from clso.progress import SILENT, Reporter
from clso.studies.savings import Savings
from pipelines.config import Arm, ConfigSource, RunConfig, read_config, savings_arms
from pipelines.config.arms import SavingsSettings
from pipelines.context import RunContext
from pipelines.families import AnyFamily
from pipelines.stages.data import PREPARE
from pipelines.studies.arms import ArmSearches
from pipelines.studies.engine import JudgedSearch, Row, with_figures
from search.methods import check_method
from search.watched import improvements

__all__ = ["check", "savings"]


def savings(
    config: ConfigSource,
    overrides: Mapping[str, Any] | None = None,
    *,
    out: str | Path = "artifacts",
    families: Sequence[str] = (),
    seeds: int | None = None,
    evaluations: int | None = None,
    reporter: Reporter = SILENT,
) -> Run:
    """Count the evaluations and joules that a way to search saves for the same loss.

    Args:
        config, overrides, out, families, seeds, evaluations, reporter: as for `ablate`; the
            section `savings` has the arms.

    Returns:
        The run, with the table `savings`.

    Raises:
        ConfigError: an arm's override is wrong, its method cannot search, or two arms are the same
            search.
        ClsoError: the work cannot be done.
    """
    config = read_config(config, overrides)
    settings = config.savings or SavingsSettings()
    arms = check(config, families)
    count, budget = seeds or settings.seeds, evaluations or settings.evaluations
    seeds_searched = range(config.seed, config.seed + count)
    with RunContext.open(config, out, reporter) as run:
        if run.folder.table("savings").exists():
            # a table of other columns is refused now, not after hours of searches
            run.folder.read("savings")
        run.note_work()  # a finished run knows nothing of this study's section
        PREPARE.run(run)
        for family, own in arms:
            searches = ArmSearches(run, "savings", family, budget, _columns)
            searches.check_different(own)
            searches.note_arms(own)
            reference = searches.table(own[:1], seeds_searched)
            bounds = Savings(
                reference,
                family.name,
                settings.reference,
                budget,
                beyond_target=settings.beyond_target,
            )
            floor = None if settings.beyond_target else bounds.floor
            tables = [reference, searches.table(own[1:], seeds_searched, floor=floor)]
            run.folder.replace_family("savings", family.name, pa.concat_tables(tables))
            note = {
                "seeds": count,
                "evaluations": budget,
                "reference": settings.reference,
                "target": bounds.target,
                "beyond_target": settings.beyond_target,
                "arms": {arm.name: searches.search(arm) for arm in own},
            }
            run.note(savings={family.name: note})
        return with_figures(run, "savings")


def check(
    config: RunConfig, families: Sequence[str] = (), **unchecked: object
) -> list[tuple[AnyFamily, list[Arm]]]:
    """Return the families and their arms.

    Raises:
        ConfigError: an arm's override is wrong, its method cannot search, or the run does not have
            one of the families.
    """
    checked = []
    for family in config.searched_families(families):
        arms = savings_arms(config, family.name)
        for arm in arms:
            if arm.method is not None:
                check_method(arm.method, family.search_settings(arm.config))
        checked.append((family, arms))
    return checked


def _columns(arm: Arm, search: JudgedSearch) -> Row:
    del arm
    steps = list(improvements(search.watched.standings))
    joules = [search.energy_j_at(step) for step in steps]
    return {
        "steps": [step.evaluations for step in steps],
        "step_losses": [step.loss for step in steps],
        "step_energy_j": None if None in joules else joules,
    }
