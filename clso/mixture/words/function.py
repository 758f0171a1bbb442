"""The function of words, and the counting of its text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from clso.counting import FloatArray
from clso.mixture.arrays import UnsignedArray, check_tokens, stored_array
from clso.mixture.counts.count_table import CountTable, interpolation_flops
from clso.mixture.counts.keys import KeyArray, ranked, tally
from clso.mixture.counts.rows import Rows, symbol_bits
from clso.mixture.full import DistributionSum
from clso.mixture.interpolation import Base, Interpolation, Level
from clso.mixture.text import FittingText
from clso.mixture.words.name import LAST_TOKENS, LETTERS, WordName
from clso.mixture.words.places import UNKNOWN, Places, elements_at
from clso.scoring import Int64Array

__all__ = ["WordCounts"]

_TREE: Final = "word-tree"

BoolArray = npt.NDArray[np.bool_]


class WordCounts:
    """A model of the next token by the last tokens and the words that they belong to.

    Args:
        letters: the class of each token, `(V,)`; 0: no letter.
        tree: row r has the letters that continue the word of node r; entry i is node i + 1.
        contexts: the rows that lead to contexts of length 1, 2, ...
        levels: the counts after contexts of length 0, 1, 2, ...
    """

    parse = staticmethod(WordName.parse)
    family = "count"

    def __init__(
        self,
        settings: WordName,
        letters: UnsignedArray,
        tree: Rows,
        contexts: Sequence[Rows],
        levels: Sequence[CountTable],
    ) -> None:
        self.settings = settings
        self.name = settings.name
        self.letters = letters
        self.tree = tree
        self.contexts = contexts
        self.levels = levels

    def __repr__(self) -> str:
        return f"WordCounts({self.name!r}, {len(self.levels[-1].rows):,} n-grams)"

    @classmethod
    def from_text(cls, settings: WordName, text: FittingText) -> WordCounts:
        """Count a text.

        Raises:
            ConfigError: the class map is missing or wrong.
            DataError: a token is outside the vocabulary.
        """
        return text.once("words", lambda: _WordText.of(text)).count(settings)

    @property
    def vocab_size(self) -> int:
        """V."""
        return len(self.letters)

    @cached_property
    def stored_bytes(self) -> int:
        """Size of the arrays that `to_arrays` returns."""
        return sum(array.nbytes for array in self.to_arrays().values())

    def flops_per_token(self, block_size: int) -> int:
        """Return the operations for one target: those of `KneserNey`, and one step in the tree."""
        return interpolation_flops(self.contexts, self.levels) + self.tree.comparisons

    def target_probabilities(self, inputs: Int64Array, targets: Int64Array) -> FloatArray:
        """Return p(targets | inputs up to the same position), `(B, T)` float64.

        Raises:
            DataError: a token is outside the vocabulary.
        """
        inputs, targets = (
            check_tokens(tokens, self.vocab_size, self.name) for tokens in (inputs, targets)
        )
        symbols = targets.reshape(-1)
        probability: FloatArray = self.base[symbols]
        for level, active, rows in self._walk(inputs):
            table = self.levels[level]
            probability[active] = table.interpolated(rows, symbols[active], probability[active])
        return probability.reshape(inputs.shape)

    def distribution(self, history: Int64Array) -> FloatArray:
        """Return p(. | history), `(V,)` float64, after the `(t,)` tokens of a block.

        Raises:
            DataError: a token is outside the vocabulary.
        """
        history = check_tokens(history, self.vocab_size, self.name)
        probability = self.base.copy()
        for level, active, rows in self._walk(history[None]):
            if active[-1] != len(history) - 1:
                break
            self.levels[level].interpolate(int(rows[-1]), probability)
        return probability

    def add_distributions(self, weights: FloatArray, out: DistributionSum) -> None:
        """Add w(t) p(. | history up to t) at all positions of a sum; `weights` is `(n,)`.

        Raises:
            DataError: a token is outside the vocabulary.
        """
        history = check_tokens(out.history, self.vocab_size, self.name)
        contexts = np.full((len(self.levels) - 1, out.n_positions), -1)
        for level, active, rows in self._walk(history[None]):
            inside = active >= out.start
            contexts[level - 1, active[inside] - out.start] = rows[inside]
        out.add_counts(self._interpolation, contexts, weights[None])

    @cached_property
    def _interpolation(self) -> Interpolation:
        base_name, *names = self.settings.count_names
        tables = zip(names, self.levels[1:], strict=True)
        levels = [Level(name, table, number) for number, (name, table) in enumerate(tables)]
        return Interpolation([Base(base_name, self.base, self.levels[0].rows.symbols)], [levels])

    def _walk(self, inputs: Int64Array) -> Iterator[tuple[int, Int64Array, Int64Array]]:
        """Follow the contexts of all positions, see `KneserNey.walk`."""
        places = Places.of(self.letters[inputs].astype(np.int64))
        nodes = np.where(places.depth == 0, 0, UNKNOWN)
        for at in places.by_depth():
            before = nodes[at - 1]
            entries = self.tree.find(np.maximum(before, 0), places.letters[at])
            nodes[at] = np.where((before < 0) | (entries < 0), UNKNOWN, entries + 1)
        active = np.arange(inputs.size)
        rows = np.zeros(inputs.size, dtype=np.int64)
        elements = elements_at(self.settings, inputs, places, nodes)
        for level, ((symbols, known), contexts, table) in enumerate(
            zip(elements, self.contexts, self.levels[1:], strict=True), start=1
        ):
            inside = known[active]
            active, rows = active[inside], rows[inside]
            rows = contexts.find(rows, symbols[active])
            occurs = table.has_counts(rows)
            active, rows = active[occurs], rows[occurs]
            if not len(active):
                return
            yield level, active, rows

    @cached_property
    def base(self) -> FloatArray:
        """The prediction of the empty context, `(V,)`."""
        table = self.levels[0]
        base = np.full(self.vocab_size, table.backoff[0] / self.vocab_size)
        base[table.rows.symbols] += table.discounted(slice(None), table.totals[0])
        return base

    def spec(self) -> dict[str, Any]:
        """Return name and V."""
        return {"name": self.name, "vocab_size": self.vocab_size}

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return tree and counts in the smallest types, and the class map.

        Functions that were fitted together have equal arrays under equal names.
        """
        tables: list[tuple[str, Rows | CountTable]] = [
            (_TREE, self.tree),
            *zip(self.settings.context_names, self.contexts, strict=True),
            *zip(self.settings.count_names, self.levels, strict=True),
        ]
        arrays: dict[str, npt.NDArray[Any]] = {f"classes({LETTERS})": self.letters}
        for name, table in tables:
            arrays |= {f"{name}.{part}": array for part, array in table.to_arrays().items()}
        return arrays

    @classmethod
    def from_arrays(cls, spec: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Rebuild the stored function, equal to the last bit; `arrays` may hold more than its own.

        Raises:
            ArtifactError: an array is missing, or does not fit the others.
            ConfigError: the name is not that of a function of words.
        """
        settings, vocab_size = WordName.parse(str(spec["name"])), int(spec["vocab_size"])
        letters = stored_array(arrays, f"classes({LETTERS})")
        tree = Rows.from_arrays(arrays, _TREE, int(letters.max(initial=0)) + 1)
        alphabets = [vocab_size] * LAST_TOKENS
        alphabets += [tree.n_rows] * (len(settings.elements) - LAST_TOKENS)
        contexts = [
            Rows.from_arrays(arrays, name, alphabet)
            for name, alphabet in zip(settings.context_names, alphabets, strict=True)
        ]
        levels = [CountTable.from_arrays(arrays, name, vocab_size) for name in settings.count_names]
        return cls(settings, letters, tree, contexts, levels)


@dataclass(frozen=True)
class _WordText:
    """A text with its words, which all functions of words count.

    Attributes:
        inputs: the tokens of all streams but the last of each, `(n,)`.
        targets: the tokens after them, `(n,)`.
        starts: the index of the first token of each stream.
        nodes: the word up to each token, `(n,)`.
    """

    letters: UnsignedArray
    inputs: Int64Array
    targets: Int64Array
    starts: Int64Array
    places: Places
    tree: Rows
    nodes: Int64Array

    @classmethod
    def of(cls, text: FittingText) -> Self:
        """Find the words of a text."""
        letters = text.class_map(LETTERS)
        streams = [np.asarray(s.tokens(0, s.n_tokens + 1)).astype(np.int64) for s in text.streams]
        streams = [tokens for tokens in streams if len(tokens) > 1] or [np.zeros(1, np.int64)]
        for tokens in streams:
            check_tokens(tokens, len(letters), "words")
        starts = np.cumsum([0, *(len(tokens) - 1 for tokens in streams)])
        places = Places.joined(
            [
                Places.of(letters[tokens[None, :-1]].astype(np.int64), int(start))
                for tokens, start in zip(streams, starts, strict=False)
            ]
        )
        alphabet = int(letters.max(initial=0)) + 1
        bits = np.uint64(symbol_bits(alphabet))
        nodes = np.where(places.depth == 0, 0, UNKNOWN)
        tree_keys: list[KeyArray] = [np.zeros(0, np.uint64)]
        n_nodes = 1
        for at in places.by_depth():
            keys = nodes[at - 1].astype(np.uint64) << bits | places.letters[at].astype(np.uint64)
            ranks, distinct = ranked(keys)
            nodes[at] = ranks.astype(np.int64) + n_nodes
            # longer words have higher numbers, so the keys of all lengths ascend
            tree_keys.append(distinct)
            n_nodes += len(distinct)
        tree = Rows.from_parts([(n_nodes, np.concatenate(tree_keys))], alphabet)
        inputs = np.concatenate([tokens[:-1] for tokens in streams])
        targets = np.concatenate([tokens[1:] for tokens in streams])
        return cls(letters, inputs, targets, starts[:-1], places, tree, nodes)

    def count(self, settings: WordName) -> WordCounts:
        """Count the tokens after the contexts of a function."""
        vocab_size = len(self.letters)
        bits = np.uint64(symbol_bits(vocab_size))
        targets = self.targets.astype(np.uint64)
        contexts: list[Rows] = []
        levels: list[CountTable] = []
        active = np.arange(len(targets))
        ids, n_contexts = np.zeros(len(targets), dtype=np.uint64), 1
        for place, (symbols, known) in enumerate(self._elements(settings)):
            alphabet = vocab_size if place < LAST_TOKENS else self.tree.n_rows
            inside = known[active]
            active, ids = active[inside], ids[inside]
            keys = ids << np.uint64(symbol_bits(alphabet)) | symbols[active].astype(np.uint64)
            ranks, distinct = ranked(keys)
            rows = Rows.from_parts([(n_contexts, distinct)], alphabet)
            ids, n_shorter, n_contexts = ranks.astype(np.uint64), n_contexts, len(distinct)
            pairs, counts = tally(ids << bits | targets[active])
            shorter = rows.row_of_entries()[(pairs >> bits).astype(np.int64)].astype(np.uint64)
            continued = shorter << bits | pairs & ((np.uint64(1) << bits) - np.uint64(1))
            levels.append(CountTable.from_parts([(n_shorter, *tally(continued))], vocab_size))
            contexts.append(rows)
        levels.append(CountTable.from_parts([(n_contexts, pairs, counts)], vocab_size))
        return WordCounts(settings, self.letters, self.tree, contexts, levels)

    def _elements(self, settings: WordName) -> Iterator[tuple[Int64Array, BoolArray]]:
        elements = elements_at(settings, self.inputs[None], self.places, self.nodes)
        age = np.arange(len(self.inputs))
        age -= np.repeat(self.starts, np.diff(self.starts, append=len(self.inputs)))
        for back, (symbols, known) in enumerate(elements):
            # no context begins in the stream before
            yield symbols, known & (age >= back) if back < LAST_TOKENS else known
