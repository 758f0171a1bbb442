"""What is known of a context before any function is asked: how often it was seen, if it repeats.

Notation: the last n tokens at position t of a block are t-n+1 .. t; V tokens. These features
only choose weights (`clso.mixture.buckets`), so they are counted once and shared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from clso.counting import TokenStream
from clso.errors import ConfigError
from clso.mixture.pointer import flops_over_sources, match_length
from clso.scoring import Int64Array

__all__ = ["LONGEST", "History", "HistoryCounts"]

LONGEST = 3
"""Contexts of up to so many tokens are counted and matched."""

_KEY_BITS = 63


@dataclass(frozen=True)
class History:
    """The features of every context of some blocks.

    Attributes:
        seen: how often the last 1, 2, 3 tokens were followed by something when counted, each
            `(B, T)`; 0 where the block is too young.
        match: the longest n <= 3 for which the last n tokens occurred earlier in the block,
            `(B, T)`.
    """

    seen: tuple[Int64Array, ...]
    match: Int64Array

    @property
    def position(self) -> Int64Array:
        """The position in the block, `(B, T)`."""
        return np.broadcast_to(np.arange(self.match.shape[1]), self.match.shape)


class HistoryCounts:
    """How often each context of 1, 2 and 3 tokens was followed by something.

    Args:
        vocab_size: V.
        keys: distinct contexts as numbers in base V, the last token first, sorted, per length.
        counts: how often each was seen, per length.
    """

    def __init__(
        self, vocab_size: int, keys: Sequence[Int64Array], counts: Sequence[Int64Array]
    ) -> None:
        self.vocab_size = vocab_size
        self.keys = tuple(keys)
        self.counts = tuple(counts)

    @classmethod
    def fit(cls, streams: Sequence[TokenStream], vocab_size: int) -> Self:
        """Count the contexts of all targets; none spans two streams.

        Raises:
            ConfigError: a vocabulary too large to number triples in 63 bits.
        """
        if vocab_size**LONGEST >= 2**_KEY_BITS:
            raise ConfigError(
                f"vocabulary of {vocab_size:,} tokens is too large to count contexts of {LONGEST}",
                remedy="use a tokenizer with at most two million tokens",
            )
        keys = [[np.zeros(0, dtype=np.int64)] for _ in range(LONGEST)]
        for stream in streams:
            tokens = np.asarray(stream.tokens(0, stream.n_tokens)).astype(np.int64)
            for length, key in enumerate(_context_keys(tokens[None], vocab_size)):
                keys[length].append(key[0, length:])
        distinct = [np.unique(np.concatenate(found), return_counts=True) for found in keys]
        return cls(
            vocab_size, [key for key, _ in distinct], [n.astype(np.int64) for _, n in distinct]
        )

    def flops_per_token(self, block_size: int) -> int:
        """Return the operations that find a context's bucket: a key per length, earlier matches."""
        keys = sum(len(key).bit_length() for key in self.keys)
        return keys + flops_over_sources(len(self.keys), block_size)

    def of(self, inputs: Int64Array) -> History:
        """Return the features of `(B, T)` blocks."""
        seen = []
        for length, key in enumerate(_context_keys(inputs, self.vocab_size)):
            known = self.keys[length]
            counted = np.zeros(inputs.shape, dtype=np.int64)
            if len(known):
                place = np.minimum(np.searchsorted(known, key), len(known) - 1)
                counted = np.where(known[place] == key, self.counts[length][place], 0)
            counted[:, :length] = 0
            seen.append(counted)
        return History(tuple(seen), match_length(inputs).astype(np.int64))

    @property
    def stored_bytes(self) -> int:
        """What keys and counts take."""
        return sum(array.nbytes for array in (*self.keys, *self.counts))

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return keys and counts by name."""
        named = {f"keys{n}": key for n, key in enumerate(self.keys, 1)}
        return named | {f"counts{n}": count for n, count in enumerate(self.counts, 1)}

    @classmethod
    def from_arrays(cls, vocab_size: int, arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Rebuild what `to_arrays` gave."""
        lengths = range(1, LONGEST + 1)
        return cls(
            vocab_size,
            [arrays[f"keys{n}"] for n in lengths],
            [arrays[f"counts{n}"] for n in lengths],
        )


def _context_keys(inputs: Int64Array, vocab_size: int) -> list[Int64Array]:
    """Number the last 1, 2, 3 tokens at each position; meaningless where there are fewer."""
    keys = [inputs.astype(np.int64)]
    for offset in range(1, LONGEST):
        longer = keys[-1] * vocab_size
        longer[:, offset:] += inputs[:, :-offset]
        keys.append(longer)
    return keys
