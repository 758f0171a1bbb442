"""Features of a context that are known before the next token: earlier counts and repetitions.

Notation: B blocks of T positions, V tokens. The context of length n at position t of a block is
the tokens t - n + 1 .. t. These features only choose the weights of a mixture
(`clso.mixture.buckets`), so all functions share them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from clso.counting import TokenStream
from clso.errors import ConfigError
from clso.mixture.arrays import UnsignedArray
from clso.mixture.compiled import compiled
from clso.mixture.pointer import flops_over_sources
from clso.scoring import Int64Array

__all__ = ["DEEPEST", "LONGEST", "History", "HistoryCounts"]

LONGEST = 3
"""The length of the longest context that is counted and matched, unless more are asked for."""

DEEPEST = 7
"""The length of the longest context that can be asked for: of bytes, three say little."""

_KEY_BITS = 63
_CLASSES = "classes."  # before the name of a class map, among the names of arrays


@dataclass(frozen=True)
class History:
    """The features of every context of some blocks.

    Attributes:
        seen: how often the context of length 1, 2, 3, .. occurs in the counted text, each
            `(B, T)`; 0 where it would begin before the block.
        match: how many of the last tokens, 0 to the number of lengths, occurred together earlier
            in a block, `(B, T)`.
        classes: the class of the last token under some class maps, each `(B, T)`.
        first: the position of the first context.
    """

    seen: tuple[Int64Array, ...]
    match: Int64Array
    classes: Mapping[str, Int64Array] = field(default_factory=dict)
    first: int = 0

    def blocks(self, chosen: slice) -> History:
        """Return the features of some blocks."""
        classes = {name: values[chosen] for name, values in self.classes.items()}
        seen = tuple(counts[chosen] for counts in self.seen)
        return History(seen, self.match[chosen], classes, self.first)

    @classmethod
    def joined(cls, parts: Sequence[History]) -> History:
        """Return the features of the blocks of all parts, which have the same features."""
        return cls(
            tuple(np.concatenate(counts) for counts in zip(*(p.seen for p in parts), strict=True)),
            np.concatenate([part.match for part in parts]),
            {
                name: np.concatenate([part.classes[name] for part in parts])
                for name in parts[0].classes
            },
            parts[0].first,
        )

    @property
    def position(self) -> Int64Array:
        """The position in the block, `(B, T)`."""
        positions = np.arange(self.first, self.first + self.match.shape[1])
        return np.broadcast_to(positions, self.match.shape)


class HistoryCounts:
    """How often each context of 1, 2, 3, .. tokens occurs in a text with a token after it.

    Args:
        keys: for each length, the distinct contexts as numbers in base V, the last token as the
            highest digit, sorted.
        counts: for each length, how often each context occurs.
        class_maps: the class of each token, `(V,)`, by the name of the map.
    """

    def __init__(
        self,
        vocab_size: int,
        keys: Sequence[Int64Array],
        counts: Sequence[Int64Array],
        class_maps: Mapping[str, UnsignedArray] | None = None,
    ) -> None:
        self.vocab_size = vocab_size
        self.keys = tuple(keys)
        self.counts = tuple(counts)
        self.class_maps = class_maps or {}

    @classmethod
    def fit(
        cls,
        streams: Sequence[TokenStream],
        vocab_size: int,
        longest: int = LONGEST,
        class_maps: Mapping[str, UnsignedArray] | None = None,
    ) -> Self:
        """Count the contexts of all targets up to a length; no context spans two streams.

        Raises:
            ConfigError: the vocabulary is too large to number such contexts in 63 bits.
        """
        if vocab_size**longest >= 2**_KEY_BITS:
            most = int(2 ** (_KEY_BITS / longest))
            raise ConfigError(
                f"vocabulary of {vocab_size:,} tokens is too large to count contexts of {longest}",
                remedy=f"use a tokenizer with at most {most:,} tokens, or bucketings of shorter "
                "contexts",
            )
        keys = [[np.zeros(0, dtype=np.int64)] for _ in range(longest)]
        for stream in streams:
            tokens = np.asarray(stream.tokens(0, stream.n_tokens)).astype(np.int64)
            for length, key in enumerate(_context_keys(tokens[None], vocab_size, longest)):
                keys[length].append(key[0, length:])
        distinct = [np.unique(np.concatenate(parts), return_counts=True) for parts in keys]
        counts = [number.astype(np.int64) for _, number in distinct]
        return cls(vocab_size, [key for key, _ in distinct], counts, class_maps)

    def flops_per_token(self, block_size: int) -> int:
        """Return the operations for the bucket of a context: look up each length, find matches."""
        keys = sum(len(key).bit_length() for key in self.keys)
        return keys + flops_over_sources(len(self.keys), block_size)

    def of(self, inputs: Int64Array, start: int = 0) -> History:
        """Return the features of `(B, T)` blocks, from the position `start`."""
        n_blocks, n_positions, longest = len(inputs), inputs.shape[1] - start, len(self.keys)
        seen = np.zeros((longest, n_blocks, n_positions), dtype=np.int64)
        match = np.zeros((n_blocks, n_positions), dtype=np.int64)
        tokens = np.ascontiguousarray(inputs, dtype=np.int64)
        _write_match(match, tokens, start, self.vocab_size, longest)
        for length, (keys, counts) in enumerate(zip(self.keys, self.counts, strict=True), 1):
            _write_seen(seen[length - 1], tokens, start, self.vocab_size, length, keys, counts)
        last = tokens[:, start:]
        classes = {name: of[last].astype(np.int64) for name, of in self.class_maps.items()}
        return History(tuple(seen), match, classes, start)

    @property
    def stored_bytes(self) -> int:
        """Size of the arrays that `to_arrays` returns."""
        return sum(array.nbytes for array in self.to_arrays().values())

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return keys, counts and class maps by name."""
        named = {f"keys{n}": key for n, key in enumerate(self.keys, 1)}
        named |= {f"counts{n}": count for n, count in enumerate(self.counts, 1)}
        return {**named, **{f"{_CLASSES}{name}": of for name, of in self.class_maps.items()}}

    @classmethod
    def from_arrays(cls, vocab_size: int, arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Rebuild the counts from what `to_arrays` returned."""
        lengths = range(1, 1 + sum(name.startswith("keys") for name in arrays))
        return cls(
            vocab_size,
            [arrays[f"keys{n}"] for n in lengths],
            [arrays[f"counts{n}"] for n in lengths],
            {
                name.removeprefix(_CLASSES): array
                for name, array in arrays.items()
                if name.startswith(_CLASSES)
            },
        )


def _context_keys(inputs: Int64Array, vocab_size: int, longest: int) -> list[Int64Array]:
    """Return the number of each context of length 1, 2, ..; undefined before the block's start."""
    keys = [inputs.astype(np.int64)]
    for offset in range(1, longest):
        longer = keys[-1] * vocab_size
        longer[:, offset:] += inputs[:, :-offset]
        keys.append(longer)
    return keys


@compiled
def _write_seen(
    seen: Int64Array,
    inputs: Int64Array,
    start: int,
    vocab_size: int,
    length: int,
    keys: Int64Array,
    counts: Int64Array,
) -> None:
    """Write how often the context of one length occurs; 0 where it would begin before the block."""
    for block in range(inputs.shape[0]):
        for place in range(max(start, length - 1), inputs.shape[1]):
            key = 0
            for back in range(length):
                key = key * vocab_size + inputs[block, place - back]
            low, high = 0, len(keys)
            while low < high:
                middle = (low + high) >> 1
                if keys[middle] < key:
                    low = middle + 1
                else:
                    high = middle
            if low < len(keys) and keys[low] == key:
                seen[block, place - start] = counts[low]


@compiled
def _write_match(
    match: Int64Array, inputs: Int64Array, start: int, vocab_size: int, longest: int
) -> None:
    """Write how many last tokens, up to `longest`, stand together earlier in the block."""
    latest = np.full(vocab_size, -1)
    previous = np.empty(inputs.shape[1], dtype=np.int64)  # where a token was seen before
    for block in range(inputs.shape[0]):
        for place in range(inputs.shape[1]):
            token = inputs[block, place]
            previous[place] = latest[token]
            latest[token] = place
            if place < start:
                continue
            best, source = 0, previous[place]
            while source >= 0 and best < longest:
                length = 1
                while (
                    length < longest
                    and length <= source
                    and inputs[block, source - length] == inputs[block, place - length]
                ):
                    length += 1
                best = max(best, length)
                source = previous[source]
            match[block, place - start] = best
        for place in range(inputs.shape[1]):
            latest[inputs[block, place]] = -1
