"""The stage `functions`: basis functions fitted on train, asked once for every target."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from clso.artifacts import write_error
from clso.data import TokenSplit
from clso.digest import digest_of
from clso.mixture.classes import fit_class_maps
from clso.mixture.columns import Columns
from clso.mixture.costed import FunctionCost
from clso.mixture.evaluator import SplitColumns
from clso.mixture.history import HistoryCounts
from clso.mixture.specification import Arrays, fit_functions
from clso.scoring import Int64Array
from pipelines.context import RunContext
from pipelines.experiment import Experiment
from pipelines.ledger import StageOutcome
from pipelines.stage import Stage

__all__ = ["FUNCTIONS", "FunctionLibrary", "spread_blocks"]

# Raised whenever a change of code changes the columns and costs of basis functions.
_VERSION = 2
_SPLITS = ("tune", "validation")


def _work(run: RunContext) -> StageOutcome:
    """Fit the functions on train alone and store their columns of tune and validation."""
    experiment = run.experiment
    library = FunctionLibrary(experiment)
    home, splits, vocab_size = library.home, experiment.budget, experiment.dataset.vocab_size
    grid = run.config.mixture.library
    names = grid.function_names()
    with run.reporter.task("token classes", total=1) as task:
        maps = fit_class_maps(
            [splits["train"]],
            vocab_size,
            grid.needed_class_maps(),
            seed=run.config.seed,
            token_texts=experiment.dataset.tokenizer.token_texts,
        )
        task.update(1, ", ".join(maps))
    functions = fit_functions(
        names,
        [splits["train"]],
        vocab_size,
        maps,
        workspace=home.parent,
        reporter=run.reporter,
    )
    try:
        home.mkdir(parents=True, exist_ok=True)
        save_file(maps, home / _CLASSES)
    except OSError as error:
        raise write_error(home, error) from error
    FunctionCost.save(
        home / _COSTS,
        [FunctionCost.of(function, run.config.data.block_size) for function in functions],
    )
    key = []
    for name in _SPLITS:
        inputs, targets = library.searched_blocks(name)
        columns = Columns.of(
            functions, inputs, targets, vocab_size, split=name, reporter=run.reporter
        )
        columns.save(home / _columns_file(name))
        key.append(columns.fingerprint)
    files = (_CLASSES, _COSTS, *map(_columns_file, _SPLITS))
    outputs = tuple(home / file for file in files)
    return StageOutcome(outputs, {"functions": len(names)}, key=digest_of(key))


_CLASSES = "classes.safetensors"
_COSTS = "costs.parquet"


def _columns_file(split: str) -> str:
    return f"columns-{split}.parquet"


class FunctionLibrary:
    """The basis functions of an experiment, as the stage has stored them."""

    def __init__(self, experiment: Experiment) -> None:
        self._experiment = experiment

    @property
    def home(self) -> Path:
        """The folder of columns and class maps, named by what they follow from."""
        config = self._experiment.config
        key = digest_of(
            {
                "version": _VERSION,
                "data": self._experiment.data_fingerprint,
                "train_tokens": config.data.train_tokens,
                "block_size": config.data.block_size,
                "seed": config.seed,
                "functions": config.mixture.library.model_dump(mode="json"),
                "search_tokens": config.mixture.search_tokens,
            }
        )
        return self._experiment.libraries / f"mixture-{key[:16]}"

    def history(self) -> HistoryCounts:
        """Count on train what buckets are made of."""
        return HistoryCounts.fit(
            [self._experiment.budget["train"]], self._experiment.dataset.vocab_size
        )

    def scored(self) -> dict[str, SplitColumns]:
        """Load the columns of tune and validation, with the features that make buckets."""
        history = self.history()
        return {
            name: SplitColumns(
                Columns.load(self.home / _columns_file(name)),
                history.of(self.searched_blocks(name)[0]),
            )
            for name in _SPLITS
        }

    def costs(self) -> tuple[FunctionCost, ...]:
        """Load what the functions cost as fitted on train, in the order of the columns."""
        return FunctionCost.load(self.home / _COSTS)

    def class_maps(self) -> Arrays:
        """Load the token classes that the functions were fitted with."""
        maps: Arrays = load_file(self.home / _CLASSES)
        return maps

    def searched_blocks(self, name: str) -> tuple[Int64Array, Int64Array]:
        """Return inputs and targets that genomes are scored on, spread evenly over a split."""
        split = self._experiment.budget[name]
        return split.blocks(spread_blocks(split, self._experiment.config.mixture.search_tokens))


FUNCTIONS = Stage(
    name="functions",
    command="library",
    work=_work,
    needs=("prepare",),
    home=lambda experiment: FunctionLibrary(experiment).home,
)


def spread_blocks(split: TokenSplit, tokens: int | None) -> Int64Array:
    """Return blocks with at least so many targets, spread evenly over a split; `None`: all."""
    wanted = split.n_blocks if tokens is None else -(-tokens // split.block_size)
    count = min(wanted, split.n_blocks)
    return np.arange(count, dtype=np.int64) * split.n_blocks // max(count, 1)
