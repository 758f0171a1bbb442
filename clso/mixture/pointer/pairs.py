"""Places of a block that agree with each other, found once for all pointers.

Notation: B blocks of T positions; a query is the position t from which the next token is
predicted, a source is a position s <= t whose token is a candidate. Both are numbered through the
blocks: query b * T + t, source b * T + s.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from clso.scoring import Int64Array

__all__ = ["BlockView", "Pairs", "block_chunks", "strips"]

# what fits a processor's cache: B * strip * T elements at a time
_CHUNK_ELEMENTS: Final = 1 << 18
_STRIP: Final = 32


def block_chunks(n_blocks: int, block_size: int) -> Iterator[slice]:
    """Cut blocks so that an array `(B, strip, T)` stays small."""
    size = max(_CHUNK_ELEMENTS // (min(_STRIP, block_size) * block_size), 1)
    for start in range(0, n_blocks, size):
        yield slice(start, min(start + size, n_blocks))


def strips(block_size: int) -> Iterator[slice]:
    """Cut the queries of a block; those of a strip need no source beyond the strip's stop."""
    for start in range(0, block_size, _STRIP):
        yield slice(start, min(start + _STRIP, block_size))


class Pairs(NamedTuple):
    """Queries and sources that agree, sorted by query, then source; each `(n_pairs,)`."""

    query: Int64Array
    source: Int64Array

    def where(self, keep: npt.NDArray[np.bool_]) -> Pairs:
        """Return those that are kept."""
        return Pairs(self.query[keep], self.source[keep])


def equal_pairs(left: Int64Array, right: Int64Array) -> Pairs:
    """Return all (t, s), s <= t, with `left[b, t] == right[b, s]`; both are `(B, T)`."""
    n_blocks, block_size = left.shape
    found = []
    narrow_left, narrow_right = left.astype(np.int32), right.astype(np.int32)
    for blocks in block_chunks(n_blocks, block_size):
        for strip in strips(block_size):
            equal = narrow_left[blocks, strip, None] == narrow_right[blocks, None, : strip.stop]
            block, query, source = np.nonzero(equal)
            query += strip.start
            causal = source <= query
            block = (block[causal] + blocks.start) * block_size
            found.append(Pairs(block + query[causal], block + source[causal]))
    query = np.concatenate([pairs.query for pairs in found])
    source = np.concatenate([pairs.source for pairs in found])
    order = np.argsort(query, kind="stable")
    return Pairs(query[order], source[order])


class BlockView:
    """Some blocks and what follows each position, with what several pointers look up in them.

    Args:
        inputs: tokens, `(B, T)`.
        targets: the token after each, `(B, T)`.
    """

    def __init__(self, inputs: Int64Array, targets: Int64Array) -> None:
        self.inputs = inputs
        self.targets = targets
        self._repeats: dict[int, Pairs] = {}

    @property
    def shape(self) -> tuple[int, int]:
        """B and T."""
        n_blocks, block_size = self.inputs.shape
        return n_blocks, block_size

    @cached_property
    def hits(self) -> Pairs:
        """Sources whose token is the query's target."""
        return equal_pairs(self.targets, self.inputs)

    @cached_property
    def lags(self) -> Int64Array:
        """How far each hit's source lies before its query, 0 or more."""
        return self.hits.query - self.hits.source

    @cached_property
    def hit_tokens(self) -> Int64Array:
        """The token of each hit."""
        return np.asarray(self.inputs.reshape(-1)[self.hits.source])

    def repeats(self, length: int) -> Pairs:
        """Return the pairs whose last `length` tokens at query and source agree, s < t."""
        if length not in self._repeats:
            if length == 1:
                pairs = equal_pairs(self.inputs, self.inputs)
                pairs = pairs.where(pairs.source < pairs.query)
            else:
                pairs = self.repeats(length - 1)
                back = length - 1
                pairs = pairs.where(pairs.source % self.shape[1] >= back)
                tokens = self.inputs.reshape(-1)
                pairs = pairs.where(tokens[pairs.query - back] == tokens[pairs.source - back])
            self._repeats[length] = pairs
        return self._repeats[length]

    def sums(self, pairs: Pairs, weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return the pairs' weights added up per query, `(B, T)`."""
        n_blocks, block_size = self.shape
        summed = np.bincount(pairs.query, weights, n_blocks * block_size)
        return summed.astype(np.float64, copy=False).reshape(self.shape)
