"""The study `clso ablate`: what each choice of a search is worth, arm by arm around a base."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from clso.artifacts import Run, load_run, table_from_rows
from clso.progress import SILENT, Reporter
from clso.studies import study_sections
from clso.studies.ablations import Selections
from pipelines.config import Arm, RunConfig, ablation_arms
from pipelines.context import open_context
from pipelines.stages.data import PREPARE
from pipelines.studies.arms import ArmSearches, chosen_families
from pipelines.studies.engine import JudgedSearch, Row

__all__ = ["ablate"]


def ablate(
    config: RunConfig,
    out: Path,
    reporter: Reporter = SILENT,
    *,
    families: Sequence[str] = (),
    seeds: int | None = None,
    evaluations: int | None = None,
) -> Run:
    """Search with every arm and seed; write tables, figures and the manifest's note.

    Args:
        config: the base; its section `ablate` is the grid.
        out: the output folder.
        reporter: hears of the progress.
        families: names of those to search; none: all of the configuration.
        seeds: searches of each arm; `None`: as many as `ablate.seeds`.
        evaluations: budget of each; `None`: `ablate.evaluations`.

    Raises:
        ConfigError: the grid is missing or wrong, or two of its arms are the same search.
    """
    chosen = chosen_families(config, families)
    arms = {family.name: ablation_arms(config, family.name) for family in chosen}
    grid = config.ablate
    assert grid is not None, "there are no arms without a grid"
    count, budget = seeds or grid.seeds, evaluations or grid.evaluations
    with open_context(config, out, reporter) as run:
        PREPARE.run(run)
        for family in chosen:
            searches = ArmSearches(run, "ablations", family, budget, _columns, patient=True)
            searches.check_different(arms[family.name])
            table = searches.table(arms[family.name], range(config.seed, config.seed + count))
            base = searches.problem(arms[family.name][0])
            selected = [
                {"run_id": run.run_id, "seed": config.seed, "family": family.name, **row}
                for row in Selections.rows_of(
                    table, family.name, searches.genes, family.similarity(base.searched)
                )
            ]
            # first, so that a reader who sees the searches sees these too
            selections = table_from_rows(selected, "selections")
            run.folder.replace_family("selections", family.name, selections)
            run.folder.replace_family("ablations", family.name, table)
            note = {"seeds": count, "evaluations": budget, "grid": grid.model_dump()}
            run.note(ablations={family.name: note})
        studied = load_run(run.folder.path)
        for section in study_sections(studied, "ablations"):
            section.write_figures(run.folder.figures)
    return studied


def _columns(arm: Arm, search: JudgedSearch) -> Row:
    finalists = search.result.finalists
    return {
        "factor": arm.factor,
        "level": arm.level,
        "n_finalists": len(finalists),
        "finalists": [gene for finalist in finalists for gene in finalist.canonical],
    }
