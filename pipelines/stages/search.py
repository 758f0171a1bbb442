"""The search: evolve genomes, score the finalists on all of validation, keep the best model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from clso.artifacts import RunFolder, remove
from clso.data import Dataset, TokenSplit
from clso.errors import WorkError
from clso.genome import genome_hash
from clso.gpt import CrystallineGpt, GptProblem
from clso.gpt.export import save_checkpoint
from clso.progress import Reporter
from clso.scoring import LanguageModel
from clso.statistics.selection import describe_genes
from pipelines.context import RunContext
from pipelines.ledger import StageOutcome
from pipelines.stages.problems import gpt_frame, gpt_problem, search_settings
from pipelines.stages.shared import open_dataset, open_library
from search.evolution import run_search
from search.result import Finalist

__all__ = ["clear", "found_model", "run"]

_BLOCKS_AT_ONCE = 64
_TABLES = ("evaluations", "generations")


def clear(context: RunContext) -> None:
    """Delete what an earlier search left."""
    folder = context.folder
    for table in _TABLES:
        folder.remove_family(table, "gpt")
    remove(folder.model("gpt"))
    remove(_state(folder))


def run(context: RunContext, reporter: Reporter) -> StageOutcome:
    """Search, then keep the finalist with the lowest validation loss."""
    folder = context.folder
    if not _state(folder).exists():
        clear(context)
    notes = _search_gpt(context, reporter)
    for table in _TABLES:
        folder.compact_family(table, "gpt")
    tables = (folder.table(table) for table in _TABLES)
    return StageOutcome((*tables, folder.model("gpt") / "model.safetensors"), notes)


def _state(folder: RunFolder) -> Path:
    return folder.state / "search-gpt.json"


def _search_gpt(context: RunContext, reporter: Reporter) -> dict[str, Any]:
    config = context.config
    dataset = open_dataset(context)
    problem = gpt_problem(context, dataset)
    genes = describe_genes(
        (slot.name, [entry.family for entry in problem.library[slot.name.rpartition(".")[2]]])
        for slot in problem.space.slots
    )
    context.note(genes={"gpt": genes})
    result = run_search(
        problem,
        search_settings(config, "gpt"),
        seed=config.seed,
        family="gpt",
        run_id=context.run_id,
        sink=context.folder.sink("gpt"),
        state_path=_state(context.folder),
        monitor=context.monitor,
        reporter=reporter,
    )
    result.best  # noqa: B018 - raises, and says why, when every evaluation failed
    validation = dataset.splits["validation"]
    finalists = _rescored(context, problem, result.finalists, validation, reporter)
    best, validation_loss = finalists[0]
    save_checkpoint(problem.model(best.canonical), dataset.tokenizer, context.folder.model("gpt"))
    return {
        "genes": {"gpt": genes},
        "best": {"gpt": _described(best, validation_loss)},
        "search": {
            "gpt": {
                "stop_reason": result.stop_reason,
                "generations": result.generations,
                "random_control": result.n_random,
                "n_predictions": result.n_predictions,
                "surrogate_energy_j": result.surrogate_energy_j,
                "finalists": [_described(*finalist) for finalist in finalists],
            }
        },
    }


def _rescored(
    context: RunContext,
    problem: GptProblem,
    finalists: Sequence[Finalist],
    validation: TokenSplit,
    reporter: Reporter,
) -> list[tuple[Finalist, float | None]]:
    """Return the finalists with their losses on all of validation, the best first.

    One alone leaves nothing to choose; the analysis scores it with all other models.
    """
    if len(finalists) == 1:
        return [(finalists[0], None)]
    workers = context.workers if problem.frame.device.type == "cpu" else 1
    scored = [
        (finalist, _mean_nll(problem.model(finalist.canonical), validation, workers, reporter))
        for finalist in finalists
    ]
    finite = [pair for pair in scored if math.isfinite(pair[1])]
    if not finite:
        raise WorkError(
            f"none of the {len(scored)} finalists has a finite loss on all of validation",
            remedy="the library makes every model overflow: lower gpt.library.gain",
        )
    finite.sort(key=lambda pair: pair[1])
    return [(finalist, loss) for finalist, loss in finite]


def _described(finalist: Finalist, validation_loss: float | None) -> dict[str, Any]:
    return {
        "genome": list(finalist.canonical),
        "genome_hash": genome_hash(finalist.canonical),
        "search_loss": finalist.loss,
        "validation_loss": validation_loss,
    }


def found_model(context: RunContext, dataset: Dataset) -> CrystallineGpt:
    """Rebuild the model that the search found from its genome and the library."""
    config = context.config
    genome = context.manifest["best"]["gpt"]["genome"]
    frame = gpt_frame(config, dataset)
    return CrystallineGpt(
        open_library(context), genome, frame, share_layers=config.gpt.share_layers
    )


def _mean_nll(model: LanguageModel, split: TokenSplit, workers: int, reporter: Reporter) -> float:
    """Return nats per token over a whole split, scored by so many threads of one core each."""
    starts = range(0, split.n_blocks, _BLOCKS_AT_ONCE)

    def score(start: int) -> float:
        return float(model.token_nll(*split.blocks(slice(start, start + _BLOCKS_AT_ONCE))).sum())

    total = 0.0
    with (
        reporter.task(f"finalist on {split.name}", split.n_blocks) as task,
        ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool,
    ):
        for start, nats in zip(starts, pool.map(score, starts), strict=True):
            total += nats
            task.update(min(start + _BLOCKS_AT_ONCE, split.n_blocks))
    return total / split.n_tokens
