"""The mixture's search: evolve genomes, fit the finalists on train and tune, keep the best."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from clso.artifacts import RunFolder, remove
from clso.data import Dataset
from clso.genome import genome_hash
from clso.mixture.buckets import assign, n_buckets
from clso.mixture.checkpoint import save_mixture
from clso.mixture.evaluator import MixtureProblem
from clso.mixture.function import BasisFunction
from clso.mixture.history import HistoryCounts
from clso.mixture.library import compute_columns, fit_functions
from clso.mixture.model import CrystallineMixture
from clso.mixture.neural import Neural
from clso.mixture.weights import Bucketed, MixtureWeights, fit_weights, group
from clso.progress import SILENT, Reporter
from clso.statistics.selection import describe_genes
from clso.threads import one_thread
from pipelines.context import RunContext
from pipelines.ledger import StageOutcome
from pipelines.stages.functions import class_maps, scored
from pipelines.stages.neural import asked_gpt, kept_gpt, with_gpt
from pipelines.stages.problems import mixture_problem, search_settings
from pipelines.stages.shared import functions_home, open_dataset
from search.evolution import run_search
from search.result import Finalist

__all__ = ["FAMILY", "clear", "run"]

FAMILY: Final = "mixture"
_TABLES = ("evaluations", "generations")


def clear(context: RunContext) -> None:
    """Delete what an earlier search left."""
    for table in _TABLES:
        context.folder.remove_family(table, FAMILY)
    remove(context.folder.model(FAMILY))
    remove(_state(context.folder))


def run(context: RunContext, reporter: Reporter) -> StageOutcome:
    """Search, then keep the finalist with the lowest validation loss."""
    folder, config = context.folder, context.config
    if not _state(folder).exists():
        clear(context)
    dataset = open_dataset(context)
    # the functions that are no matter of counting; as asked, and as kept
    asked = [asked_gpt(context, dataset)] if config.mixture.crystalline_gpt else []
    columns = scored(context, dataset)
    for network in asked:
        columns = with_gpt(context, dataset, columns, network, reporter)
    problem = mixture_problem(context, dataset, columns)
    context.note(genes={FAMILY: _genes(problem)})
    result = run_search(
        problem,
        search_settings(config, FAMILY),
        seed=config.seed,
        family=FAMILY,
        run_id=context.run_id,
        sink=folder.sink(FAMILY),
        state_path=_state(folder),
        monitor=context.monitor,
        reporter=reporter,
    )
    result.best  # noqa: B018 - raises, and says why, when every evaluation failed
    union = {name: None for f in result.finalists for name in problem.functions(f.canonical)}
    # The kept model counts train and tune. Its weights stay those of tune, where functions fitted
    # on train alone were asked: a function that has seen tune would be trusted too much.
    kept = [kept_gpt(context)] if asked else []
    functions, history = _fitted(context, dataset, union, ("train", "tune"), kept, reporter)
    # one alone leaves nothing to choose; the analysis scores it with all other models
    losses: list[float] | list[None] = (
        [None]
        if len(result.finalists) == 1
        else _validation_losses(context, dataset, problem, result.finalists, functions, history)
    )
    finalists = [
        _described(problem, finalist, loss)
        for finalist, loss in zip(result.finalists, losses, strict=True)
    ]
    chosen = min(range(len(losses)), key=lambda number: losses[number] or 0.0)
    genome = result.finalists[chosen].canonical
    picked = problem.functions(genome)
    bucketing = problem.bucketing(genome)
    model = CrystallineMixture(
        FAMILY,
        [functions[name] for name in picked],
        _final_weights(context, dataset, picked, asked, bucketing),
        bucketing,
        history,
        dataset.vocab_size,
    )
    save_mixture(model, dataset.tokenizer, folder.model(FAMILY), block_size=config.data.block_size)
    for table in _TABLES:
        folder.compact_family(table, FAMILY)
    notes = {
        "genes": {FAMILY: _genes(problem)},
        "best": {FAMILY: finalists[chosen]},
        "search": {
            FAMILY: {
                "stop_reason": result.stop_reason,
                "generations": result.generations,
                "random_control": result.n_random,
                "n_predictions": result.n_predictions,
                "surrogate_energy_j": result.surrogate_energy_j,
                "finalists": finalists,
            }
        },
    }
    tables = (folder.table(table) for table in _TABLES)
    return StageOutcome((*tables, folder.model(FAMILY) / "model.safetensors"), notes)


def _fitted(
    context: RunContext,
    dataset: Dataset,
    names: Iterable[str],
    splits: Sequence[str],
    networks: Sequence[Neural],
    reporter: Reporter = SILENT,
) -> tuple[dict[str, BasisFunction], HistoryCounts]:
    """Fit functions and bucket counts on some splits of the budget; networks stay as they are."""
    budget = dataset.budget(context.config.data.train_tokens)
    streams = [budget[split] for split in splits]
    fitted: dict[str, BasisFunction] = {network.name: network for network in networks}
    counted = [name for name in names if name not in fitted]
    functions = fit_functions(
        counted,
        streams,
        dataset.vocab_size,
        class_maps(context),
        workspace=functions_home(context).parent,
        reporter=reporter,
    )
    history = HistoryCounts.fit(streams, dataset.vocab_size)
    fitted |= dict(zip(counted, functions, strict=True))
    return fitted, history


def _validation_losses(
    context: RunContext,
    dataset: Dataset,
    problem: MixtureProblem,
    finalists: Sequence[Finalist],
    functions: Mapping[str, BasisFunction],
    history: HistoryCounts,
) -> list[float]:
    """Return nats per token of the refitted finalists on all of validation."""
    inputs, targets = dataset.splits["validation"].blocks(slice(None))
    with one_thread():
        columns = compute_columns(
            list(functions.values()), inputs, targets, dataset.vocab_size, name="validation"
        )
    number = {name: index for index, name in enumerate(columns.names, 1)}
    features = history.of(inputs)
    losses = []
    with one_thread():
        for finalist in finalists:
            genome = finalist.canonical
            bucketing = problem.bucketing(genome)
            rows = [0, *(number[name] for name in problem.functions(genome))]
            order = Bucketed.of(assign(bucketing, features).ravel())
            weights = problem.weights(genome, steps=context.config.mixture.final_steps)
            losses.append(group(columns.with_uniform, rows, order).mean_nll(weights))
    return losses


def _final_weights(
    context: RunContext,
    dataset: Dataset,
    picked: Sequence[str],
    networks: Sequence[Neural],
    bucketing: str,
) -> MixtureWeights:
    """Fit the found model's weights on all of tune, its functions asked as fitted on train."""
    config = context.config
    functions, counts = _fitted(context, dataset, picked, ("train",), networks)
    inputs, targets = dataset.budget(config.data.train_tokens)["tune"].blocks(slice(None))
    with one_thread():
        columns = compute_columns(
            [functions[name] for name in picked], inputs, targets, dataset.vocab_size, name="tune"
        )
    history = counts.of(inputs)
    order = Bucketed.of(assign(bucketing, history).ravel())
    with one_thread():
        return fit_weights(
            group(columns.with_uniform, range(1 + len(picked)), order),
            n_buckets(bucketing),
            smoothing=config.mixture.smoothing,
            steps=config.mixture.final_steps,
        )


def _genes(problem: MixtureProblem) -> list[dict[str, Any]]:
    families = ("none", *problem.families)
    return describe_genes([("functions", families)], repeats=len(problem.space) - 1)


def _described(
    problem: MixtureProblem, finalist: Finalist, validation_loss: float | None
) -> dict[str, Any]:
    return {
        "genome": list(finalist.canonical),
        "genome_hash": genome_hash(finalist.canonical),
        "search_loss": finalist.loss,
        "validation_loss": validation_loss,
        "functions": list(problem.functions(finalist.canonical)),
        "bucketing": problem.bucketing(finalist.canonical),
    }


def _state(folder: RunFolder) -> Path:
    return folder.state / f"search-{FAMILY}.json"
