"""The study `clso ablate`: the worth of each choice of a search, changed one at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clso.artifacts import Run, table_from_rows
from clso.progress import SILENT, Reporter
from clso.studies.ablations import Selections
from pipelines.config import Arm, ConfigSource, RunConfig, ablation_arms, read_config
from pipelines.context import RunContext
from pipelines.families import AnyFamily
from pipelines.stages.data import PREPARE
from pipelines.studies.arms import ArmSearches
from pipelines.studies.engine import JudgedSearch, Row, with_figures

__all__ = ["ablate", "check"]


def ablate(
    config: ConfigSource,
    overrides: Mapping[str, Any] | None = None,
    *,
    out: str | Path = "artifacts",
    families: Sequence[str] = (),
    seeds: int | None = None,
    evaluations: int | None = None,
    reporter: Reporter = SILENT,
) -> Run:
    """Change one thing about the search at a time, and measure the worth of each change.

    Args:
        config, overrides, out, reporter: as for `pipelines.run`; the section `ablate` is the grid.
        families: names of the families to search; none: all of the configuration.
        seeds: searches of each arm, in place of the section's.
        evaluations: budget of each search, in place of the section's.

    Returns:
        The run, with the tables `ablations` and `selections`.

    Raises:
        ConfigError: the grid is missing or wrong, or two of its arms are the same search.
        ClsoError: the work cannot be done.
    """
    config = read_config(config, overrides)
    arms = check(config, families)
    grid = config.ablate
    assert grid is not None, "there are no arms without a grid"
    count, budget = seeds or grid.seeds, evaluations or grid.evaluations
    with RunContext.open(config, out, reporter) as run:
        run.note_work()  # a finished run knows nothing of this study's section
        PREPARE.run(run)
        for family, own in arms:
            searches = ArmSearches(run, "ablations", family, budget, _columns, patient=True)
            searches.check_different(own)
            searches.note_arms(own)
            table = searches.table(own, range(config.seed, config.seed + count))
            similarity = family.similarity(searches.problem(own[0]).searched)
            identity = {"run_id": run.run_id, "seed": config.seed, "family": family.name}
            selected = Selections.rows_of(table, family.name, searches.genes, similarity)
            selections = table_from_rows([{**identity, **row} for row in selected], "selections")
            # before the searches, so that a reader of the searches finds the selections too
            run.folder.replace_family("selections", family.name, selections)
            run.folder.replace_family("ablations", family.name, table)
            note = {"seeds": count, "evaluations": budget, "grid": grid.model_dump()}
            run.note(ablations={family.name: note})
        return with_figures(run, "ablations")


def check(
    config: RunConfig, families: Sequence[str] = (), **unchecked: object
) -> list[tuple[AnyFamily, list[Arm]]]:
    """Return the families and their arms.

    Raises:
        ConfigError: the grid is missing or wrong, or the run does not have one of the families.
    """
    return [
        (family, ablation_arms(config, family.name))
        for family in config.searched_families(families)
    ]


def _columns(arm: Arm, search: JudgedSearch) -> Row:
    finalists = search.result.finalists
    return {
        "factor": arm.factor,
        "level": arm.level,
        "n_finalists": len(finalists),
        "finalists": [gene for finalist in finalists for gene in finalist.canonical],
    }
