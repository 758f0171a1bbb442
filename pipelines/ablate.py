"""The study `clso ablate`: what each choice of a search is worth, arm by arm around a base."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clso.artifacts import load_run, table_from_rows
from clso.statistics.picks import selection_rows
from clso.studies.ablations import ablation_sections
from pipelines.arm_searches import ArmSearch, ArmSearches
from pipelines.config import Arm, ablation_arms
from pipelines.context import RunContext
from pipelines.families import AnyFamily
from pipelines.stages.data import PREPARE

__all__ = ["run_ablation"]


def run_ablation(
    context: RunContext,
    families: Sequence[AnyFamily],
    *,
    seeds: int | None = None,
    evaluations: int | None = None,
) -> Path:
    """Run every arm for every seed; write tables, figures and the manifest's note.

    Args:
        context: of the run whose configuration is the grid's.
        families: the ones to search.
        seeds: searches of each arm; `None`: as many as `ablate.seeds`.
        evaluations: budget of each; `None`: `ablate.evaluations`.

    Returns:
        The run's folder.

    Raises:
        ConfigError: the grid is missing or wrong, or two of its arms are the same search.
    """
    config = context.config
    arms = {family.name: ablation_arms(config, family.name) for family in families}
    assert config.ablate is not None, "there are no arms without a grid"
    count, budget = seeds or config.ablate.seeds, evaluations or config.ablate.evaluations
    PREPARE.run(context)
    for family in families:
        searches = ArmSearches(context, "ablations", family, budget, _columns, patient=True)
        searches.check_different(arms[family.name])
        table = searches.table(arms[family.name], range(config.seed, config.seed + count))
        similarity = family.similarity(searches.problem(arms[family.name][0]).searched)
        selected = [
            {"run_id": context.run_id, "seed": config.seed, "family": family.name, **row}
            for row in selection_rows(table, family.name, searches.genes, similarity)
        ]
        # before the searches, so that whoever reads those finds these too
        context.folder.replace_family(
            "selections", family.name, table_from_rows(selected, "selections")
        )
        context.folder.replace_family("ablations", family.name, table)
        note = {"seeds": count, "evaluations": budget, "grid": config.ablate.model_dump()}
        context.note(ablations={family.name: note})
    run = load_run(context.folder.path)
    for section in ablation_sections(run):
        section.write_figures(run.folder.figures)
    return run.path


def _columns(arm: Arm, search: ArmSearch) -> dict[str, Any]:
    finalists = search.result.finalists
    return {
        "factor": arm.factor,
        "level": arm.level,
        "n_finalists": len(finalists),
        "finalists": [gene for finalist in finalists for gene in finalist.canonical],
    }
