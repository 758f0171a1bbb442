"""Columns of the whole text by functions that have not counted what they are scored on.

The text is divided into folds of blocks. For each fold, class maps and functions are fitted on the
others and scored on it. So the weights of a mixture can be fitted on all of the text. They would
trust functions too much that had counted it.

Source: Stone 1974 (cross-validation); Wolpert 1992 (stacked generalisation).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from clso.counting import FloatArray, TokenStream
from clso.engine import Engine, Shared
from clso.mixture.arrays import UnsignedArray
from clso.mixture.classes import fit_class_maps
from clso.mixture.columns import Columns
from clso.mixture.evaluator import SplitColumns
from clso.mixture.history import History, HistoryCounts
from clso.mixture.specification import FunctionSpec, fit_functions
from clso.progress import SILENT, Reporter
from clso.scoring import Int64Array
from clso.threads import one_thread

__all__ = ["Folds"]


class _Split(TokenStream, Protocol):
    """A split of blocks with its tokens."""

    @property
    def block_size(self) -> int:
        """T."""

    @property
    def n_blocks(self) -> int:
        """The number of blocks."""

    def blocks(self, index: Int64Array) -> tuple[Int64Array, Int64Array]:
        """Return inputs and targets of blocks, each `(B, T)`."""


@dataclass(frozen=True)
class _Part:
    """The tokens of a stream from the input of one target to the last target before another."""

    stream: TokenStream
    start: int
    stop: int

    @property
    def n_tokens(self) -> int:
        """Targets in the part."""
        return self.stop - self.start

    def tokens(self, start: int, stop: int) -> npt.NDArray[np.integer]:
        """Return the tokens from `start` up to, not including, `stop`."""
        return self.stream.tokens(self.start + start, self.start + stop)


@dataclass(frozen=True)
class Folds:
    """A text in folds, and the functions that are fitted on it.

    Attributes:
        splits: the text, one split after another.
        n_folds: 2 or more; fewer are used if there are fewer blocks.
        tokens: targets that are scored, in blocks spread over each fold; `None`: all.
        names: the functions.
        vocab_size: V.
        seed: of the class maps.
        token_texts: the bytes of each token.
        longest: the longest contexts that buckets are made of.
        bucket_classes: class maps that buckets are made of, the same for all folds.
        kept: numbers that functions have chosen on held-out text; see `fit_functions`.
    """

    splits: Sequence[_Split]
    n_folds: int
    tokens: int | None
    names: Sequence[str]
    vocab_size: int
    seed: int
    token_texts: Sequence[bytes]
    longest: int
    bucket_classes: Mapping[str, UnsignedArray]
    kept: Mapping[str, FloatArray]

    def columns(
        self, engine: Engine, fingerprint: str, reporter: Reporter = SILENT
    ) -> SplitColumns:
        """Return columns and features of the scored blocks, on an engine.

        `fingerprint` names all that they follow from.

        Raises:
            ConfigError: a name is wrong.
            WorkError: a function of another package does not return distributions, or the
                workers are lost.
        """
        n_folds = min(self.n_folds, self._n_blocks)
        parts: dict[int, SplitColumns] = {}
        with reporter.task("columns of all text, by folds", n_folds) as task:
            shared = Shared(fingerprint, self)
            for fold, part in engine.map(_fold_columns, shared, list(range(n_folds))):
                parts[fold] = part
                task.update(len(parts))
        in_order = [parts[fold] for fold in range(n_folds)]
        first = in_order[0].columns
        values = np.concatenate([part.columns.values for part in in_order], axis=1)
        return SplitColumns(
            Columns(first.names, first.families, values, first.vocab_size),
            History.joined([part.history for part in in_order]),
        )

    @property
    def _n_blocks(self) -> int:
        return sum(split.n_blocks for split in self.splits)

    def fold(self, fold: int) -> SplitColumns:
        """Return columns and features of one fold."""
        n_folds = min(self.n_folds, self._n_blocks)
        start, stop = (self._n_blocks * (fold + more) // n_folds for more in (0, 1))
        others = list(self._without(start, stop))
        inputs, targets = self._inside(start, stop)
        specs = map(FunctionSpec.parse, self.names)
        needed = sorted({name for spec in specs for name in spec.class_names})
        with one_thread():
            maps = fit_class_maps(
                others, self.vocab_size, needed, seed=self.seed, token_texts=self.token_texts
            )
            functions = fit_functions(self.names, others, self.vocab_size, maps, kept=self.kept)
            columns = Columns.of(functions, inputs, targets, self.vocab_size, split=f"fold {fold}")
        history = HistoryCounts.fit(others, self.vocab_size, self.longest, self.bucket_classes)
        return SplitColumns(columns, history.of(inputs))

    def _bounds(self, start: int, stop: int) -> Iterator[tuple[_Split, int, int]]:
        """Yield every split with the range of its blocks inside a range of all blocks."""
        before = 0
        for split in self.splits:
            n_blocks = split.n_blocks
            first, last = (min(max(at - before, 0), n_blocks) for at in (start, stop))
            yield split, first, last
            before += n_blocks

    def _inside(self, start: int, stop: int) -> tuple[Int64Array, Int64Array]:
        """Return inputs and targets of the scored blocks of a range, each `(B, T)`."""
        parts = []
        for split, first, last in self._bounds(start, stop):
            count = last - first
            if self.tokens is not None:
                share = self.tokens / (self._n_blocks * split.block_size)
                count = min(count, math.ceil(count * share))
            parts.append(split.blocks(first + np.arange(count) * (last - first) // max(count, 1)))
        inputs, targets = zip(*parts, strict=True)
        return np.concatenate(inputs), np.concatenate(targets)

    def _without(self, start: int, stop: int) -> Iterator[TokenStream]:
        for split, first, last in self._bounds(start, stop):
            size = split.block_size
            for begin, end in ((0, first * size), (last * size, split.n_tokens)):
                if end > begin:
                    yield _Part(split, begin, end)


def _fold_columns(folds: Folds, fold: int) -> SplitColumns:
    """Compute one fold; a task for an engine."""
    return folds.fold(fold)
