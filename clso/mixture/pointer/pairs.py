"""Pairs of positions of a block whose tokens are equal, looked up once for all pointers.

Notation: B blocks of T positions. A query is a position t whose next token is predicted. A source
is a position s <= t whose token may be the next one. Both have one number through all blocks:
query b * T + t, source b * T + s.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Final, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from clso.counting import FloatArray
from clso.scoring import Int64Array

__all__ = ["BlockView", "Pairs"]

# B * T * T, an upper bound on the number of pairs in one view
_VIEW_ELEMENTS: Final = 1 << 24
# B * strip * T elements at a time fit a processor's cache
_CHUNK_ELEMENTS: Final = 1 << 18
_STRIP: Final = 32


class Pairs(NamedTuple):
    """Pairs of a query and a source, sorted by query, then by source; each `(n_pairs,)`."""

    query: Int64Array
    source: Int64Array

    def where(self, keep: npt.NDArray[np.bool_]) -> Pairs:
        """Return the pairs that are kept."""
        return Pairs(self.query[keep], self.source[keep])


class BlockView:
    """Blocks `(B, T)`, the token after each position, and pairs that several pointers look up."""

    def __init__(self, inputs: Int64Array, targets: Int64Array) -> None:
        self.inputs = inputs
        self.targets = targets
        self._repeats: dict[int, Pairs] = {}

    @classmethod
    def cut(cls, inputs: Int64Array, targets: Int64Array) -> Iterator[tuple[slice, Self]]:
        """Cut blocks into views whose pairs fit the memory; yield each view and its blocks."""
        n_blocks, block_size = inputs.shape
        size = max(_VIEW_ELEMENTS // block_size**2, 1)
        for start in range(0, n_blocks, size):
            blocks = slice(start, min(start + size, n_blocks))
            yield blocks, cls(inputs[blocks], targets[blocks])

    @property
    def shape(self) -> tuple[int, int]:
        """B and T."""
        n_blocks, block_size = self.inputs.shape
        return n_blocks, block_size

    def strips(self) -> Iterator[slice]:
        """Yield ranges of queries; the queries of a strip need no source beyond its stop."""
        for start in range(0, self.shape[1], _STRIP):
            yield slice(start, min(start + _STRIP, self.shape[1]))

    def chunks(self) -> Iterator[slice]:
        """Yield ranges of blocks, so that an array `(blocks, strip, T)` stays small."""
        n_blocks, block_size = self.shape
        size = max(_CHUNK_ELEMENTS // (min(_STRIP, block_size) * block_size), 1)
        for start in range(0, n_blocks, size):
            yield slice(start, min(start + size, n_blocks))

    @cached_property
    def hits(self) -> Pairs:
        """The pairs whose source has the token after the query."""
        return self.equal(self.targets, self.inputs)

    @cached_property
    def lags(self) -> Int64Array:
        """The distance from source to query of each hit, 0 or more."""
        return self.hits.query - self.hits.source

    @cached_property
    def hit_tokens(self) -> Int64Array:
        """The token of each hit."""
        return np.asarray(self.inputs.reshape(-1)[self.hits.source])

    def repeats(self, length: int) -> Pairs:
        """Return the pairs, s < t, whose last `length` tokens up to query and source are equal."""
        if length not in self._repeats:
            if length == 1:
                pairs = self.equal(self.inputs, self.inputs)
                pairs = pairs.where(pairs.source < pairs.query)
            else:
                pairs = self.repeats(length - 1)
                back = length - 1
                pairs = pairs.where(pairs.source % self.shape[1] >= back)
                tokens = self.inputs.reshape(-1)
                pairs = pairs.where(tokens[pairs.query - back] == tokens[pairs.source - back])
            self._repeats[length] = pairs
        return self._repeats[length]

    def sums(self, pairs: Pairs, weights: FloatArray) -> FloatArray:
        """Return the sum of the pairs' weights per query, `(B, T)`."""
        n_blocks, block_size = self.shape
        summed = np.bincount(pairs.query, weights, n_blocks * block_size)
        return summed.astype(np.float64, copy=False).reshape(self.shape)

    def equal(self, left: Int64Array, right: Int64Array) -> Pairs:
        """Return all pairs, s <= t, with `left[b, t] == right[b, s]`; both arrays are `(B, T)`."""
        block_size = self.shape[1]
        parts = []
        queries, sources = left.astype(np.int32), right.astype(np.int32)
        for blocks in self.chunks():
            for strip in self.strips():
                equal = queries[blocks, strip, None] == sources[blocks, None, : strip.stop]
                block, query, source = np.nonzero(equal)
                query += strip.start
                causal = source <= query
                first = (block[causal] + blocks.start) * block_size
                parts.append(Pairs(first + query[causal], first + source[causal]))
        query = np.concatenate([pairs.query for pairs in parts])
        source = np.concatenate([pairs.source for pairs in parts])
        order = np.argsort(query, kind="stable")
        return Pairs(query[order], source[order])
