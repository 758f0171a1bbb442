"""The study `clso pareto`: the best models for their bytes and operations.

Selection reads measured losses and counted costs. Joules are measured after the search, for the
models of the front: each is built and scores the same blocks of validation on one thread. The test
split is not read.

The genome of a row defines the model: the family builds it again from the run's configuration. A
mixture is built as the search scores it; `stored_bytes` and the loss are those of this model. The
crystalline GPT that `mixture.crystalline_gpt` adds is not among the functions here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from clso.artifacts import Run, table_from_rows
from clso.energy import Measurement
from clso.engine import Shared, shared_out
from clso.genome import genome_hash
from clso.problem import CostedProblem, Problem
from clso.progress import SILENT, Reporter
from clso.threads import one_thread
from pipelines.config import ConfigSource, RunConfig, read_config
from pipelines.context import RunContext
from pipelines.families import AnyFamily, ModelFamily
from pipelines.studies.engine import Part, Row, Study, with_figures
from search.pareto import run_pareto
from search.pareto_result import OBJECTIVES, ParetoMember, ParetoResult, check_objectives
from search.records import FolderSink, Records
from search.settings import ParetoSettings, SearchSettings

__all__ = ["check", "pareto"]

# Raised whenever a change of code changes the rows of a part.
_VERSION = 1
# Validation targets that every model of the front scores, spread evenly; all, if there are fewer.
_SCORED_TOKENS = 65_536


def pareto(
    config: ConfigSource,
    overrides: Mapping[str, Any] | None = None,
    *,
    out: str | Path = "artifacts",
    family: str | None = None,
    objectives: Sequence[str] = tuple(OBJECTIVES),
    population: int = 40,
    generations: int = 15,
    reporter: Reporter = SILENT,
) -> Run:
    """Search for the models that are best for their size and work: a Pareto front.

    Args:
        config, overrides, out, reporter: as for `pipelines.run`.
        family: name of the model family; `None`: the last one that counts the costs of its models.
        objectives: to minimise: `loss`, `stored_bytes`, `flops`.
        population: models of a generation.
        generations: of NSGA-II, the first one included.

    Returns:
        The run, with the tables `pareto` and `pareto_generations`.

    Raises:
        ConfigError: the objectives make no front, or the family does not count costs.
        WorkError: every evaluation failed.
    """
    config = read_config(config, overrides)
    searched, objectives = check(config, family, objectives)
    with RunContext.open(config, out, reporter) as run:
        searched.prepare(run)
        problem = searched.problem(run.experiment)
        costed = searched.costed(run.experiment, problem)
        settings = _settings(searched.search_settings(config), population, generations)
        study = Study(run, "pareto", _VERSION)
        result, folder = _search(study, searched, costed, settings, objectives)
        front = _measured(study, searched, problem, result, f"{folder.name}/front")
        others = [
            _row(run, searched.name, member) for member in result.members if not member.on_front
        ]
        bounds = map(list, zip(*(result.bounds or ()), strict=True))
        note = {
            "objectives": list(objectives),
            "search": settings.model_dump(),
            "stop_reason": result.stop_reason,
            "bounds": dict(zip(objectives, bounds, strict=True)),
            "scored_on": f"{front[0]['tokens']:,} targets of validation, on one thread",
        }
        # before the tables, so that a reader of the tables finds the note too
        run.note(pareto={searched.name: note})
        tables = {
            "pareto": table_from_rows([*front, *others], "pareto"),
            "pareto_generations": FolderSink(folder, run.uid).table("pareto_generations"),
        }
        for name, table in tables.items():
            run.folder.replace_family(name, searched.name, table)
        return with_figures(run, "pareto", searched.name)


def _settings(rates: SearchSettings, population: int, generations: int) -> ParetoSettings:
    return ParetoSettings(
        population=population,
        generations=generations,
        crossover=rates.crossover,
        crossover_rate=rates.crossover_rate,
        mutation_rate=rates.mutation_rate,
    )


def check(
    config: RunConfig,
    family: str | None = None,
    objectives: Sequence[str] = tuple(OBJECTIVES),
    **unchecked: object,
) -> tuple[AnyFamily, tuple[str, ...]]:
    """Return the family that is searched, and the objectives.

    Raises:
        ConfigError: the run does not have the family, or the objectives make no front.
    """
    objectives = check_objectives(objectives)
    families = config.searched_families([] if family is None else [family])
    counted = [own for own in families if type(own).costed is not ModelFamily.costed]
    return (counted or families)[-1], objectives


def _search(
    study: Study,
    family: AnyFamily,
    problem: CostedProblem,
    settings: ParetoSettings,
    objectives: Sequence[str],
) -> tuple[ParetoResult, Path]:
    """Run or resume the search, and return its result and its folder."""
    run = study.run
    key = study.key(
        problem=problem.fingerprint, settings=settings.model_dump(), objectives=list(objectives)
    )
    prefix = f"pareto-{family.name}"
    folder = run.folder.state / f"{prefix}-{key}"
    study.clean(prefix, [folder.name])
    result = run_pareto(
        shared_out(problem, run.experiment.engine, run.monitor),
        settings,
        objectives,
        Records(
            run.run_id,
            run.config.seed,
            family.name,
            FolderSink(folder, run.uid),
            folder / "search.json",
            run.uid,
        ),
        monitor=run.monitor,
        reporter=run.reporter,
    )
    return result, folder


def _measured(
    study: Study, family: AnyFamily, problem: Problem, result: ParetoResult, folder: str
) -> list[Row]:
    """Return the rows of the front; models without a stored row are built and scored."""
    run = study.run
    validation = run.experiment.dataset.splits["validation"]
    inputs, targets = validation.spread_blocks(_SCORED_TOKENS)

    def rows(_: None, member: ParetoMember) -> list[Row]:
        model = next(models)
        assert model.stored_bytes == member.cost.stored_bytes, "costs are not the model's"
        with one_thread():
            # the preparations of a first call are no cost of a token
            model.token_nll(inputs[:1], targets[:1])
            with run.monitor.window() as window:
                nll = model.token_nll(inputs, targets)
        spent, joules = window.measurement, window.measurement.energy_j
        return [
            _row(run, family.name, member)
            | {
                "validation_loss": float(nll.mean()),
                "tokens": targets.size,
                "energy_j_per_token": None if joules is None else joules / targets.size,
                **spent.columns,
            }
        ]

    parts = [
        Part(folder, number, partial(rows, member=member), f"model {number + 1}")
        for number, member in enumerate(result.front)
    ]
    missing = [
        member.genome
        for part, member in zip(parts, result.front, strict=True)
        if not study.path(part).exists()
    ]
    # built one at a time, in the order in which `rows` takes them
    models = family.models(run.experiment, problem, missing)
    # here, one by one: what a token costs is measured, and other work would be measured with it
    tables = study.rows("the front's models", parts, Shared("front", None), here=True)
    return [row for table in tables for row in table.to_pylist()]


def _row(run: RunContext, family: str, member: ParetoMember) -> Row:
    return {
        "run_id": run.run_id,
        "seed": run.config.seed,
        "family": family,
        "genome": list(member.genome),
        "genome_hash": genome_hash(member.genome),
        "loss": member.loss,
        "stored_bytes": member.cost.stored_bytes,
        "flops_per_token": member.cost.flops_per_token,
        "on_front": member.on_front,
        "validation_loss": None,
        "tokens": None,
        "energy_j_per_token": None,
        **dict.fromkeys(Measurement(0.0).columns),
    }
