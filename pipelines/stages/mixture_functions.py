"""The stage `functions`: basis functions fitted on train, and their columns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from safetensors.numpy import load_file, save_file

from clso.artifacts import write_error
from clso.digest import digest_of
from clso.mixture.buckets import Bucketing
from clso.mixture.classes import fit_class_maps
from clso.mixture.columns import Columns
from clso.mixture.costed import FunctionCost
from clso.mixture.evaluator import SplitColumns
from clso.mixture.folds import Folds
from clso.mixture.function import BasisFunction, Neural
from clso.mixture.history import HistoryCounts
from clso.mixture.parts import FittedLibrary, LibraryInputs
from clso.mixture.specification import Arrays, fit_functions
from clso.progress import SILENT, Reporter
from clso.scoring import Int64Array
from clso.threads import one_thread
from pipelines.context import RunContext
from pipelines.experiment import Experiment
from pipelines.ledger import StageOutcome
from pipelines.stage import Stage

__all__ = ["FUNCTIONS", "FunctionLibrary"]

# Raised whenever a change of code changes the stored files of basis functions.
_VERSION = 5
_SPLITS = ("tune", "validation")


def _work(run: RunContext) -> StageOutcome:
    """Fit the functions on train alone and store their columns of tune and validation."""
    experiment = run.experiment
    library = FunctionLibrary(experiment)
    home, names = library.home, library.names
    train, vocab_size = experiment.budget["train"], experiment.dataset.vocab_size
    with run.reporter.task("token classes", total=1) as task:
        maps = fit_class_maps(
            [train],
            vocab_size,
            run.config.mixture.library.needed_class_maps(),
            seed=run.config.seed,
            token_texts=experiment.dataset.tokenizer.token_texts,
        )
        task.update(1, ", ".join(maps))
    inputs = LibraryInputs(
        train,
        {name: library.searched_blocks(name) for name in _SPLITS},
        vocab_size,
        maps,
        held_out=experiment.budget["tune"],
        workspace=home.parent,
        reporter=run.reporter,
    )
    fitted = FittedLibrary.fit(inputs, names, experiment.engine, f"functions {home.name}")
    try:
        home.mkdir(parents=True, exist_ok=True)
        save_file(maps, home / _CLASSES)
        save_file(dict(fitted.chosen), home / _CHOSEN)
    except OSError as error:
        raise write_error(home, error) from error
    FunctionCost.save(home / _COSTS, fitted.costs)
    for name, columns in fitted.columns.items():
        columns.save(home / _columns_file(name))
    files = (_CLASSES, _CHOSEN, _COSTS, *map(_columns_file, _SPLITS))
    outputs = tuple(home / file for file in files)
    key = digest_of([columns.fingerprint for columns in fitted.columns.values()])
    return StageOutcome(outputs, {"functions": len(names)}, key=key)


_CLASSES = "classes.safetensors"
_CHOSEN = "chosen.safetensors"
_COSTS = "costs.parquet"


def _columns_file(split: str) -> str:
    return f"columns-{split}.parquet"


class FunctionLibrary:
    """The basis functions of an experiment, and their stored columns."""

    def __init__(self, experiment: Experiment) -> None:
        self._experiment = experiment

    @property
    def home(self) -> Path:
        """The folder of columns and class maps, named by all settings that they follow from."""
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

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the functions, in the order of their columns."""
        return self._experiment.config.mixture.library.function_names()

    def history(self, splits: Sequence[str] = ("train",)) -> HistoryCounts:
        """Count the features of contexts that buckets are made of."""
        streams = [self._experiment.budget[split] for split in splits]
        vocab_size = self._experiment.dataset.vocab_size
        return HistoryCounts.fit(streams, vocab_size, self._longest, self._bucket_classes())

    @property
    def _bucketings(self) -> list[Bucketing]:
        mixture = self._experiment.config.mixture
        return [Bucketing(name) for name in (*mixture.bucketings, *mixture.trees)]

    @property
    def _longest(self) -> int:
        return max(bucketing.longest for bucketing in self._bucketings)

    def _bucket_classes(self) -> Arrays:
        """Return the class maps that bucketings are made of."""
        names = sorted({name for bucketing in self._bucketings for name in bucketing.class_names})
        maps = self.class_maps() if names else {}
        return {name: maps[name] for name in names}

    def scored(self) -> dict[str, SplitColumns]:
        """Load the columns of tune and validation, with the features of their contexts."""
        history = self.history()
        return {
            name: SplitColumns(
                Columns.load(self.home / _columns_file(name)),
                history.of(self.searched_blocks(name)[0]),
            )
            for name in _SPLITS
        }

    def scored_on(self, other: Experiment) -> dict[str, SplitColumns]:
        """Return columns of another text with the same vocabulary, as `scored` does of its own.

        The functions stay as they were fitted on this text's train.
        """
        reporter = other.reporter
        functions, history = self.fit(self.names, ("train",), reporter=reporter)
        scored = {}
        for name in _SPLITS:
            blocks = FunctionLibrary(other).searched_blocks(name)
            columns = self.columns(functions.values(), blocks, name, reporter)
            scored[name] = SplitColumns(columns, history.of(blocks[0]))
        return scored

    def costs(self) -> tuple[FunctionCost, ...]:
        """Load the costs of the functions as fitted on train, in the order of the columns."""
        return FunctionCost.load(self.home / _COSTS)

    def class_maps(self) -> Arrays:
        """Load the token classes that the functions were fitted with."""
        maps: Arrays = load_file(self.home / _CLASSES)
        return maps

    def chosen(self) -> Arrays:
        """Load the numbers that functions have chosen on tune, by the name of the function."""
        chosen: Arrays = load_file(self.home / _CHOSEN)
        return chosen

    def cross_fitted(self, names: Sequence[str], reporter: Reporter) -> SplitColumns:
        """Return columns of train and tune by functions that were fitted on other folds."""
        experiment = self._experiment
        mixture, seed = experiment.config.mixture, experiment.config.seed
        folds = Folds(
            splits=[experiment.budget["train"], experiment.budget["tune"]],
            n_folds=mixture.folds,
            tokens=mixture.weight_tokens,
            names=names,
            vocab_size=experiment.dataset.vocab_size,
            seed=seed,
            token_texts=experiment.dataset.tokenizer.token_texts,
            longest=self._longest,
            bucket_classes=self._bucket_classes(),
            kept=self.chosen(),
        )
        used = [
            *(self.home.name, *names, mixture.folds, mixture.weight_tokens),
            *(mixture.bucketings, mixture.trees),
        ]
        return folds.columns(experiment.engine, f"folds {digest_of(used)}", reporter)

    def searched_blocks(self, name: str) -> tuple[Int64Array, Int64Array]:
        """Return inputs and targets that genomes are scored on, spread evenly over a split."""
        tokens = self._experiment.config.mixture.search_tokens
        return self._experiment.budget[name].spread_blocks(tokens)

    def fit(
        self,
        names: Iterable[str],
        splits: Sequence[str],
        networks: Sequence[Neural] = (),
        reporter: Reporter = SILENT,
    ) -> tuple[dict[str, BasisFunction], HistoryCounts]:
        """Fit functions and the counts of contexts on some splits; networks stay as they are."""
        functions: dict[str, BasisFunction] = {network.name: network for network in networks}
        counted = [name for name in names if name not in functions]
        fitted = fit_functions(
            counted,
            [self._experiment.budget[split] for split in splits],
            self._experiment.dataset.vocab_size,
            self.class_maps(),
            workspace=self.home.parent,
            reporter=reporter,
            kept=self.chosen(),
        )
        return functions | dict(zip(counted, fitted, strict=True)), self.history(splits)

    def columns(
        self,
        functions: Iterable[BasisFunction],
        blocks: tuple[Int64Array, Int64Array],
        split: str,
        reporter: Reporter = SILENT,
    ) -> Columns:
        """Return columns of functions for inputs and targets, both `(B, T)`."""
        # their sums decide on genomes, so they must not depend on the number of cores
        with one_thread():
            return Columns.of(
                list(functions),
                *blocks,
                self._experiment.dataset.vocab_size,
                split=split,
                reporter=reporter,
            )


FUNCTIONS = Stage(
    name="functions",
    command="library",
    work=_work,
    needs=("prepare",),
    home=lambda experiment: FunctionLibrary(experiment).home,
)
