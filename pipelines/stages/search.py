"""The stage of a family's search: find genomes, score the finalists, keep the best model."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from clso.artifacts import CHECKSUMS, RunFolder, check_folder, remove, write_checksums
from clso.data import TokenSplit
from clso.engine import shared_out
from clso.errors import WorkError
from clso.genome import genome_hash
from clso.progress import Reporter
from clso.scoring import LanguageModel
from pipelines.context import RunContext
from pipelines.experiment import Experiment
from pipelines.ledger import StageOutcome
from pipelines.stage import ModelAndCost, Stage
from search.archive import Finalist
from search.run import run_search

if TYPE_CHECKING:
    from pipelines.families import ModelFamily
    from pipelines.families.base import ScoredFinalist

    AnyFamily = ModelFamily[Any]

__all__ = ["best_finalist", "scored_finalists", "search_stage"]

_BLOCKS_AT_ONCE = 64
_TABLES = ("evaluations", "generations")


def search_stage(family: AnyFamily) -> Stage:
    """Return the stage that searches the genomes of a family and makes its model."""
    name = family.search_stage or family.name
    return Stage(
        name=name,
        command="search",
        work=partial(_work, family),
        needs=family.search_needs,
        clear=partial(_clear, family.name),
        model=partial(_model, family, name),
        makes=family.name,
    )


def _clear(family: str, folder: RunFolder) -> None:
    for table in _TABLES:
        folder.remove_family(table, family)
    remove(folder.model(family))
    remove(_state(family, folder))
    remove(_state(family, folder).with_suffix(".journal"))


def _state(family: str, folder: RunFolder) -> Path:
    return folder.state / f"search-{family}.json"


def _work(family: AnyFamily, run: RunContext) -> StageOutcome:
    """Search, then keep the finalist with the lowest validation loss."""
    folder, name = run.folder, family.name
    if not _state(name, folder).exists():
        _clear(name, folder)
    problem = family.searched_problem(run)
    genes = {"genes": {name: family.genes(problem)}}
    run.note(**genes)
    settings = family.search_settings(run.config)
    result = run_search(
        shared_out(problem, run.experiment.engine, run.monitor),
        settings,
        start=family.first_genomes(problem, settings),
        seed=run.config.seed,
        family=name,
        run_id=run.run_id,
        sink=folder.sink(name),
        state_path=_state(name, folder),
        belongs_to=run.uid,
        monitor=run.monitor,
        reporter=run.reporter,
    )
    result.best  # noqa: B018 - raises if every evaluation failed
    scored = family.keep(run, problem, result.finalists)
    for table in _TABLES:
        folder.compact(table, name)

    def described(finalist: Finalist, validation_loss: float | None) -> dict[str, Any]:
        return {
            "genome": list(finalist.canonical),
            "genome_hash": genome_hash(finalist.canonical),
            "search_loss": finalist.loss,
            "validation_loss": validation_loss,
            **family.describe(problem, finalist.canonical),
        }

    notes = {
        **genes,
        "best": {name: described(*best_finalist(scored))},
        "search": {
            name: {
                "stop_reason": result.stop_reason,
                "generations": result.n_generations,
                "random_control": result.n_random,
                "n_predictions": result.n_predictions,
                "surrogate_energy_j": result.surrogate_energy_j,
                "finalists": [described(*pair) for pair in scored],
            }
        },
    }
    model = folder.model(name)
    if not (model / CHECKSUMS).exists():  # a plug-in's own form
        write_checksums(model, model)
    present = [folder.table(table) for table in _TABLES]
    present += sorted(path for path in model.iterdir() if path.is_file())
    return StageOutcome((model / CHECKSUMS,), notes, tuple(present))


def _model(family: AnyFamily, stage: str, run: RunContext) -> ModelAndCost:
    check_folder(run.folder.model(family.name), remedy=f"run the stage {stage} again")
    return family.found(run), run.spent(stage)


def best_finalist(scored: Iterable[ScoredFinalist]) -> ScoredFinalist:
    """Return the finalist with the lowest validation loss, or the only one."""
    return min(scored, key=lambda pair: -math.inf if pair[1] is None else pair[1])


def scored_finalists(
    experiment: Experiment, finalists: Sequence[Finalist], models: Iterable[LanguageModel]
) -> list[ScoredFinalist]:
    """Return finalists with their losses on all of validation, the best first.

    `models` has their models in the same order. A single finalist has no loss here: nothing is to
    choose, and the analysis scores all models.

    Raises:
        WorkError: no loss is finite.
    """
    if len(finalists) == 1:
        return [(finalists[0], None)]
    validation = experiment.dataset.splits["validation"]
    workers = experiment.workers if experiment.device == "cpu" else 1
    scored = [
        (finalist, _mean_nll(model, validation, workers, experiment.reporter))
        for finalist, model in zip(finalists, models, strict=True)
    ]
    finite = [pair for pair in scored if math.isfinite(pair[1])]
    if not finite:
        raise WorkError(
            f"none of the {len(scored)} finalists has a finite loss on all of validation",
            remedy="the library makes every model overflow: lower gpt.library.gain",
        )
    finite.sort(key=lambda pair: pair[1])
    return [(finalist, loss) for finalist, loss in finite]


def _mean_nll(model: LanguageModel, split: TokenSplit, workers: int, reporter: Reporter) -> float:
    """Return nats per token of a whole split; each worker is a thread on one core."""
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
