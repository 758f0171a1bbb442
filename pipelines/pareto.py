"""The study `clso pareto`: which models are the best for what they store and what a token takes?

Selection reads measured losses and counted costs. Joules are measured once the search has ended,
for the models of the front: each is built and scores the same blocks of validation on one thread.
The test split is not read.

A row's genome is the model: `front_models` builds it again, by the run's configuration, from the
matrices or functions that it picks. A mixture is built as the search knew it, its functions
counted on train alone and its weights fitted on the searched blocks of tune with the steps of an
evaluation; `stored_bytes` and the loss are those of that very model. The found GPT, which
`mixture.crystalline_gpt` lets mixtures pick, is not among the functions here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from clso.artifacts import (
    Run,
    RunFolder,
    append_part,
    atomic_write_bytes,
    load_run,
    part_path,
    read_parts,
    read_table,
    remove,
    table_from_rows,
)
from clso.data import Dataset
from clso.digest import digest_of
from clso.errors import ConfigError
from clso.genome import Genome, genome_hash
from clso.gpt import GptProblem
from clso.mixture.costed import CostedMixtures
from clso.mixture.history import HistoryCounts
from clso.mixture.library import fit_functions
from clso.mixture.model import CrystallineMixture
from clso.report.style import figure_svg
from clso.scoring import LanguageModel
from clso.studies.pareto_plot import pareto_figures
from clso.threads import one_thread
from pipelines.context import RunContext
from pipelines.stages import run_stage
from pipelines.stages.functions import class_maps, function_costs, spread_blocks
from pipelines.stages.problems import (
    STAGES_BEFORE,
    Family,
    gpt_problem,
    mixture_problem,
    search_settings,
)
from pipelines.stages.shared import functions_home, open_dataset
from search.objectives import check_objectives
from search.pareto import ParetoSettings, run_pareto
from search.pareto_result import ParetoMember, ParetoResult

__all__ = ["costed_problem", "front_models", "study_front"]

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
    family: Family | None,
    objectives: Sequence[str],
    population: int,
    generations: int,
) -> tuple[Run, Family]:
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
    family = _chosen(context, family)
    for stage in STAGES_BEFORE[family]:
        run_stage(stage, context)
    dataset = open_dataset(context)
    problem = costed_problem(context, dataset, family)
    rates = search_settings(context.config, family)
    settings = ParetoSettings(
        population=population,
        generations=generations,
        crossover=rates.crossover,
        crossover_rate=rates.crossover_rate,
        mutation_rate=rates.mutation_rate,
    )
    name = _parts_name(context, problem, family, settings, objectives)
    result = run_pareto(
        problem,
        settings,
        objectives,
        seed=context.config.seed,
        family=family,
        run_id=context.run_id,
        sink=_Sink(context.folder, name),
        state_path=context.folder.state / name / "search.json",
        monitor=context.monitor,
        reporter=context.reporter,
    )
    front = _measured(context, dataset, problem, family, result, name)
    others = [_row(context, family, member) for member in result.members if not member.on_front]
    # the note first: whoever finds the tables reads it too
    bounds = list(zip(*(result.bounds or ()), strict=True))
    context.note(
        pareto={
            family: {
                "objectives": list(objectives),
                "search": asdict(settings),
                "stop_reason": result.stop_reason,
                "bounds": dict(zip(objectives, map(list, bounds), strict=True)),
                "scored_on": f"{front[0]['tokens']:,} targets of validation, on one thread",
            }
        }
    )
    context.folder.replace_family("pareto", family, table_from_rows([*front, *others], "pareto"))
    grown = read_parts(context.folder.state / name / "pareto_generations", "pareto_generations")
    context.folder.replace_family("pareto_generations", family, grown)
    run = load_run(context.folder.path)
    for drawn in pareto_figures(run.pareto, family):
        svg = figure_svg(drawn.figure, drawn.name, drawn.caption)
        atomic_write_bytes(run.folder.figures / f"{drawn.name}.svg", svg.encode())
    return run, family


def _chosen(context: RunContext, family: Family | None) -> Family:
    families = context.config.families
    if family is None:
        return "mixture" if "mixture" in families else "gpt"
    if family not in families:
        raise ConfigError(
            f"families is {families}, and the front asked for is of {family}",
            remedy=f"--set families=[{family}]",
        )
    return family


def costed_problem(
    context: RunContext, dataset: Dataset, family: Family
) -> GptProblem | CostedMixtures:
    """Return a family's problem, which knows what its genomes cost.

    Data set and library, or functions, must be there.
    """
    if family == "gpt":
        return gpt_problem(context, dataset)
    return CostedMixtures(
        mixture_problem(context, dataset),
        function_costs(context),
        _history(context, dataset),
        block_size=context.config.data.block_size,
    )


def _history(context: RunContext, dataset: Dataset) -> HistoryCounts:
    train = dataset.budget(context.config.data.train_tokens)["train"]
    return HistoryCounts.fit([train], dataset.vocab_size)


def front_models(
    context: RunContext,
    dataset: Dataset,
    problem: GptProblem | CostedMixtures,
    genomes: Sequence[Genome],
) -> Iterator[LanguageModel]:
    """Build the models that genomes of a front stand for, one after the other.

    Args:
        context: of the run.
        dataset: its data set.
        problem: as `costed_problem` opens it.
        genomes: as in the table `pareto`.
    """
    if isinstance(problem, GptProblem):
        for genome in genomes:
            yield problem.model(genome)
        return
    mixtures = problem.mixtures
    names = list(dict.fromkeys(name for one in genomes for name in mixtures.functions(one)))
    fitted = fit_functions(
        names,
        [dataset.budget(context.config.data.train_tokens)["train"]],
        dataset.vocab_size,
        class_maps(context),
        workspace=functions_home(context).parent,
        reporter=context.reporter,
    )
    functions = dict(zip(names, fitted, strict=True))
    history = _history(context, dataset)
    for genome in genomes:
        yield CrystallineMixture(
            "mixture",
            [functions[name] for name in mixtures.functions(genome)],
            mixtures.weights(genome),
            mixtures.bucketing(genome),
            history,
            dataset.vocab_size,
        )


def _parts_name(
    context: RunContext,
    problem: GptProblem | CostedMixtures,
    family: Family,
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
    dataset: Dataset,
    problem: GptProblem | CostedMixtures,
    family: Family,
    result: ParetoResult,
    name: str,
) -> list[Row]:
    """Return the front's rows, each model built, scored and stored unless it was before."""
    validation = dataset.splits["validation"]
    inputs, targets = validation.blocks(spread_blocks(validation, _SCORED_TOKENS))
    parts = context.folder.state / name / "front"
    missing = {
        number: member
        for number, member in enumerate(result.front)
        if not part_path(parts, number).exists()
    }
    genomes = [member.genome for member in missing.values()]
    with context.reporter.task("the front's models", total=len(result.front)) as task:
        models = front_models(context, dataset, problem, genomes)
        for (number, member), model in zip(missing.items(), models, strict=True):
            assert model.stored_bytes == member.cost.stored_bytes, "costs are not the model's"
            with one_thread():
                # what a model prepares when it is first asked is no cost of a token
                model.token_nll(inputs[:1], targets[:1])
                with context.monitor.window() as window:
                    nll = model.token_nll(inputs, targets)
            spent = window.measurement
            joules = spent.energy_j
            row = _row(context, family, member) | {
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


def _row(context: RunContext, family: Family, member: ParetoMember) -> Row:
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
