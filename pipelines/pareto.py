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

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from clso.artifacts import (
    Run,
    RunFolder,
    append_part,
    load_run,
    part_path,
    read_parts,
    read_table,
    remove,
    table_from_rows,
)
from clso.digest import digest_of
from clso.errors import ConfigError
from clso.genome import genome_hash
from clso.problem import CostedProblem, Problem
from clso.studies.pareto import pareto_sections
from clso.threads import one_thread
from pipelines.context import RunContext
from pipelines.families import AnyFamily
from pipelines.stages import families_of, run_foundations
from pipelines.stages.mixture_functions import spread_blocks
from search.objectives import check_objectives
from search.pareto import ParetoSettings, run_pareto
from search.pareto_result import ParetoMember, ParetoResult

__all__ = ["study_front"]

# Raised whenever a change of code changes what a stored part would hold.
_VERSION = 1
# Validation targets that every model of the front scores, spread evenly; all, if there are fewer.
_SCORED_TOKENS = 65_536

Row = dict[str, Any]


@dataclass(frozen=True)
class _Sink:
    """Takes a search's generations as parts of one folder per table."""

    folder: RunFolder
    name: str

    def append(self, table: str, part: int, rows: Iterable[Mapping[str, Any]]) -> None:
        append_part(self.folder.state / self.name / table, part, rows, table)


def study_front(
    context: RunContext,
    *,
    family: str | None,
    objectives: Sequence[str],
    population: int,
    generations: int,
) -> tuple[Run, str]:
    """Search for a family's front, measure its models; write tables, figures and the note.

    The same call again resumes what is unfinished and reuses what is finished.

    Args:
        context: of the run whose data set, library or functions, and rates of crossover and
            mutation are used.
        family: `None`: the mixture if the run has it, else the GPT.
        objectives: of `search.objectives`.
        population: models of a generation.
        generations: of the search, the initial population included.

    Returns:
        The run, and the family whose front was searched for.

    Raises:
        ConfigError: objectives that make no front, or a family that the run has not.
        WorkError: every evaluation failed.
    """
    objectives = check_objectives(objectives)
    searched = _chosen(context, family)
    run_foundations(context, searched)
    problem = searched.problem(context.experiment)
    costed = searched.costed(context.experiment, problem)
    rates = searched.search_settings(context.config)
    settings = ParetoSettings(
        population=population,
        generations=generations,
        crossover=rates.crossover,
        crossover_rate=rates.crossover_rate,
        mutation_rate=rates.mutation_rate,
    )
    name = _parts_name(context, costed, searched.name, settings, objectives)
    result = run_pareto(
        costed,
        settings,
        objectives,
        seed=context.config.seed,
        family=searched.name,
        run_id=context.run_id,
        sink=_Sink(context.folder, name),
        state_path=context.folder.state / name / "search.json",
        monitor=context.monitor,
        reporter=context.reporter,
    )
    front = _measured(context, problem, searched, result, name)
    others = [
        _row(context, searched.name, member) for member in result.members if not member.on_front
    ]
    # the note first: whoever finds the tables reads it too
    bounds = list(zip(*(result.bounds or ()), strict=True))
    context.note(
        pareto={
            searched.name: {
                "objectives": list(objectives),
                "search": asdict(settings),
                "stop_reason": result.stop_reason,
                "bounds": dict(zip(objectives, map(list, bounds), strict=True)),
                "scored_on": f"{front[0]['tokens']:,} targets of validation, on one thread",
            }
        }
    )
    context.folder.replace_family(
        "pareto", searched.name, table_from_rows([*front, *others], "pareto")
    )
    grown = read_parts(context.folder.state / name / "pareto_generations", "pareto_generations")
    context.folder.replace_family("pareto_generations", searched.name, grown)
    run = load_run(context.folder.path)
    for section in pareto_sections(run, searched.name):
        section.write_figures(run.folder.figures)
    return run, searched.name


def _chosen(context: RunContext, name: str | None) -> AnyFamily:
    families = {family.name: family for family in families_of(context.config)}
    if name is None:
        # the last one, which is the cheapest to search of the built-in ones
        return list(families.values())[-1]
    if name not in families:
        raise ConfigError(
            f"families is {context.config.families}, and the front asked for is of {name}",
            remedy=f"--set families=[{name}]",
        )
    return families[name]


def _parts_name(
    context: RunContext,
    problem: CostedProblem,
    family: str,
    settings: ParetoSettings,
    objectives: Sequence[str],
) -> str:
    """Name the folder of what is finished, and delete that of another search."""
    key = digest_of(
        {
            "version": _VERSION,
            "problem": problem.fingerprint,
            "settings": asdict(settings),
            "objectives": list(objectives),
        }
    )
    name = f"pareto-{family}-{key[:16]}"
    for other in context.folder.state.glob(f"pareto-{family}-*"):
        if other.name != name:
            remove(other)
    return name


def _measured(
    context: RunContext,
    problem: Problem,
    family: AnyFamily,
    result: ParetoResult,
    name: str,
) -> list[Row]:
    """Return the front's rows, each model built, scored and stored unless it was before."""
    validation = context.experiment.dataset.splits["validation"]
    inputs, targets = validation.blocks(spread_blocks(validation, _SCORED_TOKENS))
    parts = context.folder.state / name / "front"
    missing = {
        number: member
        for number, member in enumerate(result.front)
        if not part_path(parts, number).exists()
    }
    genomes = [member.genome for member in missing.values()]
    with context.reporter.task("the front's models", total=len(result.front)) as task:
        models = family.models(context.experiment, problem, genomes)
        for (number, member), model in zip(missing.items(), models, strict=True):
            assert model.stored_bytes == member.cost.stored_bytes, "costs are not the model's"
            with one_thread():
                # what a model prepares when it is first asked is no cost of a token
                model.token_nll(inputs[:1], targets[:1])
                with context.monitor.window() as window:
                    nll = model.token_nll(inputs, targets)
            spent = window.measurement
            joules = spent.energy_j
            row = _row(context, family.name, member) | {
                "validation_loss": float(nll.mean()),
                "tokens": targets.size,
                "energy_j_per_token": None if joules is None else joules / targets.size,
                "duration_s": spent.duration_s,
                "energy_j": joules,
                "energy_source": spent.energy_source,
                "estimated": spent.estimated,
            }
            append_part(parts, number, [row], "pareto")
            task.update(number + 1, f"loss {member.loss:.4f}")
    return [
        row
        for number in range(len(result.front))
        for row in read_table(part_path(parts, number), "pareto").to_pylist()
    ]


def _row(context: RunContext, family: str, member: ParetoMember) -> Row:
    return {
        "run_id": context.run_id,
        "seed": context.config.seed,
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
        "duration_s": None,
        "energy_j": None,
        "energy_source": None,
        "estimated": None,
    }
