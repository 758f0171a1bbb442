"""The study `clso savings`: how many evaluations and joules a way to search spares."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from clso.artifacts import load_run, read_table
from clso.studies.savings import floor_of, savings_sections, target_of
from pipelines.arm_searches import ArmSearch, ArmSearches
from pipelines.config import Arm, savings_arms
from pipelines.config.arms import SavingsSettings
from pipelines.context import RunContext
from pipelines.families import AnyFamily
from pipelines.stages.data import PREPARE
from search.watched import falling

__all__ = ["run_savings"]


def run_savings(
    context: RunContext,
    families: Sequence[AnyFamily],
    *,
    seeds: int | None = None,
    evaluations: int | None = None,
) -> Path:
    """Run every arm for every seed; write table, figures and the manifest's note.

    Args:
        context: of the run whose searches are studied.
        families: the ones to search.
        seeds: searches of each arm; `None`: as many as `savings.seeds`.
        evaluations: budget of each; `None`: `savings.evaluations`.

    Returns:
        The run's folder.

    Raises:
        ConfigError: an arm's override is wrong, or two arms are the same search.
    """
    config = context.config
    settings = config.savings or SavingsSettings()
    arms = {
        family.name: savings_arms(config, family.name, family.search_path(config))
        for family in families
    }
    count, budget = seeds or settings.seeds, evaluations or settings.evaluations
    if context.folder.table("savings").exists():
        # whose columns are others is told now, not when hours of searches are over
        read_table(context.folder.table("savings"), "savings")
    PREPARE.run(context)
    for family in families:
        searches = ArmSearches(context, "savings", family, budget, _columns)
        searches.check_different(arms[family.name])
        drawn = range(config.seed, config.seed + count)
        tables = [searches.table(arms[family.name][:1], drawn)]
        reference = tables[0].to_pylist()
        floor = None if settings.beyond_target else floor_of(reference)
        tables.append(searches.table(arms[family.name][1:], drawn, floor=floor))
        context.folder.replace_family("savings", family.name, pa.concat_tables(tables))
        note = {
            "seeds": count,
            "evaluations": budget,
            "reference": settings.reference,
            "target": target_of(reference),
            "beyond_target": settings.beyond_target,
            "arms": {
                arm.name: searches.settings(arm).model_dump(mode="json")
                for arm in arms[family.name]
            },
        }
        context.note(savings={family.name: note})
    run = load_run(context.folder.path)
    for section in savings_sections(run):
        section.write_figures(run.folder.figures)
    return run.path


def _columns(arm: Arm, search: ArmSearch) -> dict[str, Any]:
    steps = list(falling(search.standings))
    joules = [search.energy_j_at(step) for step in steps]
    return {
        "steps": [step.evaluations for step in steps],
        "step_losses": [step.loss for step in steps],
        "step_energy_j": None if None in joules else joules,
    }
