"""The study `clso savings`: how many evaluations and joules a way to search saves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from clso.artifacts import Run, load_run, read_table
from clso.progress import SILENT, Reporter
from clso.studies import study_sections
from clso.studies.savings import Savings
from pipelines.config import Arm, RunConfig, savings_arms
from pipelines.config.arms import SavingsSettings
from pipelines.context import open_context
from pipelines.stages.data import PREPARE
from pipelines.studies.arms import ArmSearches, chosen_families
from pipelines.studies.engine import JudgedSearch, Row
from search.watched import improvements

__all__ = ["savings"]


def savings(
    config: RunConfig,
    out: Path,
    reporter: Reporter = SILENT,
    *,
    families: Sequence[str] = (),
    seeds: int | None = None,
    evaluations: int | None = None,
) -> Run:
    """Search with every arm and seed; write table, figures and the manifest's note.

    Args:
        config: the run whose searches are studied; its section `savings` has the arms.
        out: the output folder.
        reporter: hears of the progress.
        families: names of those to search; none: all of the configuration.
        seeds: searches of each arm; `None`: as many as `savings.seeds`.
        evaluations: budget of each; `None`: `savings.evaluations`.

    Raises:
        ConfigError: an arm's override is wrong, or two arms are the same search.
    """
    settings = config.savings or SavingsSettings()
    chosen = chosen_families(config, families)
    arms = {family.name: savings_arms(config, family.name) for family in chosen}
    count, budget = seeds or settings.seeds, evaluations or settings.evaluations
    drawn = range(config.seed, config.seed + count)
    with open_context(config, out, reporter) as run:
        if run.folder.table("savings").exists():
            # a table of other columns is refused now, not after hours of searches
            read_table(run.folder.table("savings"), "savings")
        PREPARE.run(run)
        for family in chosen:
            reference_arm, *others = arms[family.name]
            searches = ArmSearches(run, "savings", family, budget, _columns)
            searches.check_different(arms[family.name])
            reference = searches.table([reference_arm], drawn)
            bounds = Savings(
                reference,
                family.name,
                reference_arm.name,
                budget,
                beyond_target=settings.beyond_target,
            )
            floor = None if settings.beyond_target else bounds.floor
            tables = [reference, searches.table(others, drawn, floor=floor)]
            run.folder.replace_family("savings", family.name, pa.concat_tables(tables))
            note = {
                "seeds": count,
                "evaluations": budget,
                "reference": settings.reference,
                "target": bounds.target,
                "beyond_target": settings.beyond_target,
                "arms": {
                    arm.name: searches.settings(arm).model_dump(mode="json")
                    for arm in arms[family.name]
                },
            }
            run.note(savings={family.name: note})
        studied = load_run(run.folder.path)
        for section in study_sections(studied, "savings"):
            section.write_figures(run.folder.figures)
    return studied


def _columns(arm: Arm, search: JudgedSearch) -> Row:
    del arm
    steps = list(improvements(search.watched.standings))
    joules = [search.energy_j_at(step) for step in steps]
    return {
        "steps": [step.evaluations for step in steps],
        "step_losses": [step.loss for step in steps],
        "step_energy_j": None if None in joules else joules,
    }
