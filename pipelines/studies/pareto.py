"""The study `clso pareto`: which models are the best for what they store and what a token takes?

Selection reads measured losses and counted costs. Joules are measured once the search has ended,
for the models of the front: each is built and scores the same blocks of validation on one thread.
The test split is not read.

A row's genome is the model: the family builds it again, by the run's configuration, from the
matrices or functions that it picks. A mixture is built as the search knew it, its functions
counted on train alone and its weights fitted on the searched blocks of tune with the steps of an
evaluation; `stored_bytes` and the loss are those of that very model. The found GPT, which
`mixture.crystalline_gpt` lets mixtures pick, is not among the functions here.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from clso.artifacts import Run, load_run, table_from_rows
from clso.energy import Measurement
from clso.genome import genome_hash
from clso.problem import Problem
from clso.progress import SILENT, Reporter
from clso.studies import study_sections
from clso.threads import one_thread
from pipelines.config import RunConfig
from pipelines.context import RunContext, open_context
from pipelines.families import AnyFamily, ModelFamily
from pipelines.stages import families_of, run_foundations
from pipelines.stages.mixture_functions import spread_blocks
from pipelines.studies.engine import Part, Row, Study, family_of
from search.pareto import run_pareto
from search.pareto_result import ParetoMember, ParetoResult, check_objectives
from search.records import FolderSink, Records
from search.settings import ParetoSettings

__all__ = ["pareto"]

# Raised whenever a change of code changes what a stored part would hold.
_VERSION = 1
# Validation targets that every model of the front scores, spread evenly; all, if there are fewer.
_SCORED_TOKENS = 65_536


def pareto(
    config: RunConfig,
    out: Path,
    reporter: Reporter = SILENT,
    *,
    family: str | None = None,
    objectives: Sequence[str] = ("loss", "stored_bytes", "flops"),
    population: int = 40,
    generations: int = 15,
) -> Run:
    """Search for a family's front, measure its models; write tables, figures and the note.

    The same call again resumes what is unfinished and reuses what is finished.

    Args:
        config: data set, library or functions, and rates of crossover and mutation.
        out: the output folder.
        reporter: hears of the progress.
        family: the name of the one whose front is searched for; `None`: the last that counts what
            its models cost, of the built-in ones the mixture.
        objectives: of `search.pareto_result`.
        population: models of a generation.
        generations: of the search, the initial population included.

    Raises:
        ConfigError: objectives that make no front, or a family that the run does not have or that
            does not count what its models cost.
        WorkError: every evaluation failed.
    """
    objectives = check_objectives(objectives)
    searched = _last_with_costs(config) if family is None else family_of(config, family)
    with open_context(config, out, reporter) as run:
        run_foundations(run, searched)
        problem = searched.problem(run.experiment)
        costed = searched.costed(run.experiment, problem)
        rates = searched.search_settings(config)
        settings = ParetoSettings(
            population=population,
            generations=generations,
            crossover=rates.crossover,
            crossover_rate=rates.crossover_rate,
            mutation_rate=rates.mutation_rate,
        )
        study = Study(run, "pareto", _VERSION)
        key = study.key(
            problem=costed.fingerprint, settings=settings.model_dump(), objectives=list(objectives)
        )
        prefix = f"pareto-{searched.name}"
        name = f"{prefix}-{key}"
        study.clean(prefix, [name])
        folder = run.folder.state / name
        sink = FolderSink(folder)
        result = run_pareto(
            costed,
            settings,
            objectives,
            Records(run.run_id, config.seed, searched.name, sink, folder / "search.json"),
            monitor=run.monitor,
            reporter=reporter,
        )
        front = _measured(study, searched, problem, result, f"{name}/front")
        others = [
            _row(run, searched.name, member) for member in result.members if not member.on_front
        ]
        # first, so that a reader who sees the tables sees the note too
        bounds = list(zip(*(result.bounds or ()), strict=True))
        note = {
            "objectives": list(objectives),
            "search": settings.model_dump(),
            "stop_reason": result.stop_reason,
            "bounds": dict(zip(objectives, map(list, bounds), strict=True)),
            "scored_on": f"{front[0]['tokens']:,} targets of validation, on one thread",
        }
        run.note(pareto={searched.name: note})
        members = table_from_rows([*front, *others], "pareto")
        run.folder.replace_family("pareto", searched.name, members)
        generation_rows = sink.table("pareto_generations")
        run.folder.replace_family("pareto_generations", searched.name, generation_rows)
        studied = load_run(run.folder.path)
        for section in study_sections(studied, "pareto", searched.name):
            section.write_figures(run.folder.figures)
    return studied


def _last_with_costs(config: RunConfig) -> AnyFamily:
    families = families_of(config)
    counted = [family for family in families if type(family).costed is not ModelFamily.costed]
    return (counted or families)[-1]


def _measured(
    study: Study, family: AnyFamily, problem: Problem, result: ParetoResult, folder: str
) -> list[Row]:
    """Return the front's rows, each model built, scored and stored unless it was before."""
    run = study.run
    validation = run.experiment.dataset.splits["validation"]
    inputs, targets = validation.blocks(spread_blocks(validation, _SCORED_TOKENS))

    def rows(member: ParetoMember) -> list[Row]:
        model = next(models)
        assert model.stored_bytes == member.cost.stored_bytes, "costs are not the model's"
        with one_thread():
            # what a model prepares when it is first asked is no cost of a token
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
        Part(folder, number, partial(rows, member), f"model {number + 1}")
        for number, member in enumerate(result.front)
    ]
    missing = [
        member.genome
        for part, member in zip(parts, result.front, strict=True)
        if not study.path(part).exists()
    ]
    # built one after the other, in the order in which `rows` takes them
    models = family.models(run.experiment, problem, missing)
    measured: list[Row] = study.rows("the front's models", parts).to_pylist()
    return measured


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
