"""The mixture's library: basis functions fitted on train, asked once for every target."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from clso.artifacts import write_error
from clso.data import Dataset, TokenSplit
from clso.digest import digest_of
from clso.mixture.classes import fit_class_maps
from clso.mixture.columns import Columns
from clso.mixture.costed import FunctionCost, load_function_costs, save_function_costs
from clso.mixture.evaluator import Scored
from clso.mixture.grid import function_names
from clso.mixture.history import HistoryCounts
from clso.mixture.library import ClassMaps, compute_columns, fit_functions
from clso.mixture.specification import class_maps_of
from clso.progress import Reporter
from clso.scoring import Int64Array
from pipelines.context import RunContext
from pipelines.ledger import StageOutcome
from pipelines.stages.shared import functions_home, open_dataset

__all__ = [
    "class_maps",
    "function_costs",
    "run",
    "scored",
    "searched_blocks",
    "spread_blocks",
]

_SPLITS = ("tune", "validation")


def run(context: RunContext, reporter: Reporter) -> StageOutcome:
    """Fit the functions on train alone and store their columns of tune and validation."""
    home = functions_home(context)
    dataset = open_dataset(context)
    splits = dataset.budget(context.config.data.train_tokens)
    names = function_names(context.config.mixture.library.model_dump())
    with reporter.task("token classes", total=1) as task:
        maps = fit_class_maps(
            [splits["train"]],
            dataset.vocab_size,
            class_maps_of(names),
            seed=context.config.seed,
            token_texts=dataset.tokenizer.token_texts,
        )
        task.update(1, ", ".join(maps))
    functions = fit_functions(
        names,
        [splits["train"]],
        dataset.vocab_size,
        maps,
        workspace=home.parent,
        reporter=reporter,
    )
    try:
        home.mkdir(parents=True, exist_ok=True)
        save_file(maps, home / "classes.safetensors")
    except OSError as error:
        raise write_error(home, error) from error
    save_function_costs(
        _costs(home),
        [FunctionCost.of(function, context.config.data.block_size) for function in functions],
    )
    key = []
    for name in _SPLITS:
        inputs, targets = splits[name].blocks(searched_blocks(splits[name], context))
        columns = compute_columns(
            functions, inputs, targets, dataset.vocab_size, name=name, reporter=reporter
        )
        columns.save(_columns(home, name))
        key.append(columns.fingerprint)
    columns_of = (_columns(home, name) for name in _SPLITS)
    outputs = (home / "classes.safetensors", _costs(home), *columns_of)
    return StageOutcome(outputs, {"functions": len(names)}, key=digest_of(key))


def scored(context: RunContext, dataset: Dataset) -> dict[str, Scored]:
    """Load the columns of tune and validation, with the features that make buckets."""
    splits = dataset.budget(context.config.data.train_tokens)
    history = HistoryCounts.fit([splits["train"]], dataset.vocab_size)
    home = functions_home(context)
    return {
        name: Scored(Columns.load(_columns(home, name)), history.of(_inputs(splits[name], context)))
        for name in _SPLITS
    }


def function_costs(context: RunContext) -> tuple[FunctionCost, ...]:
    """Load what the functions cost as they were fitted on train, in the order of the columns."""
    return load_function_costs(_costs(functions_home(context)))


def class_maps(context: RunContext) -> ClassMaps:
    """Load the token classes that the functions were fitted with."""
    maps: ClassMaps = load_file(functions_home(context) / "classes.safetensors")
    return maps


def _columns(home: Path, split: str) -> Path:
    return home / f"columns-{split}.parquet"


def _costs(home: Path) -> Path:
    return home / "costs.parquet"


def _inputs(split: TokenSplit, context: RunContext) -> Int64Array:
    return split.blocks(searched_blocks(split, context))[0]


def searched_blocks(split: TokenSplit, context: RunContext) -> Int64Array:
    """Return the blocks that genomes are scored on, spread evenly over a split."""
    return spread_blocks(split, context.config.mixture.search_tokens)


def spread_blocks(split: TokenSplit, tokens: int | None) -> Int64Array:
    """Return blocks with at least so many targets, spread evenly over a split; `None`: all."""
    wanted = split.n_blocks if tokens is None else -(-tokens // split.block_size)
    count = min(wanted, split.n_blocks)
    return np.arange(count, dtype=np.int64) * split.n_blocks // max(count, 1)
