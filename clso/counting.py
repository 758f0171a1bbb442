r"""Counting a text: streams of tokens, counts of tokens and of pairs, and their discounts.

Notation: V tokens; c(y) and c(x, y) are how often a token, and a token y after x, is a target of
the training splits; n_r is how many types were seen exactly r times.

Counting streams over the tokens in chunks: memory grows with the number of *distinct* pairs,
not with the length of the text.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from clso.scoring import Int64Array

__all__ = [
    "FloatArray",
    "TokenStream",
    "count_pairs",
    "count_targets",
    "modified_discounts",
]

FloatArray = npt.NDArray[np.float64]

_CHUNK = 1 << 22
_LARGEST_VOCABULARY = math.isqrt(np.iinfo(np.int64).max)


class TokenStream(Protocol):
    """The tokens of a split: `n_tokens` targets, so one token more in the stream."""

    @property
    def n_tokens(self) -> int:
        """Targets in the split."""

    def tokens(self, start: int, stop: int) -> npt.NDArray[np.integer]:
        """Return the tokens from `start` up to, not including, `stop`."""


def _pair_chunks(
    splits: Iterable[TokenStream], chunk: int, offset: int = 1
) -> Iterator[tuple[Int64Array, ...]]:
    for split in splits:
        n_pairs = split.n_tokens + 1 - offset
        for start in range(0, n_pairs, chunk):
            stop = min(start + chunk, n_pairs)
            tokens = np.asarray(split.tokens(start, stop + offset)).astype(np.int64)
            yield tokens[:-offset], tokens[offset:]


def count_targets(
    splits: Iterable[TokenStream], vocab_size: int, *, chunk: int = _CHUNK
) -> Int64Array:
    """Count how often each token is a target, `(V,)`."""
    counts = np.zeros(vocab_size, dtype=np.int64)
    for _, targets in _pair_chunks(splits, chunk):
        counts += np.bincount(targets, minlength=vocab_size)
    return counts


def _merge(
    first: tuple[Int64Array, Int64Array], second: tuple[Int64Array, Int64Array]
) -> tuple[Int64Array, Int64Array]:
    keys = np.concatenate([first[0], second[0]])
    counts = np.concatenate([first[1], second[1]])
    order = np.argsort(keys, kind="stable")
    keys, counts = keys[order], counts[order]
    starts = np.flatnonzero(np.diff(keys, prepend=-1))
    return keys[starts], np.add.reduceat(counts, starts)


def count_pairs(
    splits: Iterable[TokenStream],
    vocab_size: int,
    *,
    offsets: Sequence[int] = (1,),
    chunk: int = _CHUNK,
) -> tuple[Int64Array, Int64Array]:
    """Count the pairs of tokens at the given distances, by default the pairs of neighbours.

    The result is the distinct pairs as sorted keys `x * V + y`, `(n_pairs,)`, and their counts.
    """
    if vocab_size > _LARGEST_VOCABULARY:
        raise ValueError(f"vocab_size {vocab_size} is too large to number its pairs")
    runs: list[tuple[Int64Array, Int64Array]] = []
    chunks = (pairs for offset in offsets for pairs in _pair_chunks(splits, chunk, offset))
    for inputs, targets in chunks:
        keys, counts = np.unique(inputs * vocab_size + targets, return_counts=True)
        runs.append((keys, counts.astype(np.int64)))
        # merging runs of similar size sorts each pair a logarithmic number of times
        while len(runs) > 1 and len(runs[-1][0]) * 2 >= len(runs[-2][0]):
            runs.append(_merge(runs.pop(), runs.pop()))
    while len(runs) > 1:
        runs.append(_merge(runs.pop(), runs.pop()))
    if not runs:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    return runs[0]


def modified_discounts(counts: npt.NDArray[Any]) -> FloatArray:
    r"""Return the discounts of counts of 0, 1, 2, and 3 or more, `(4,)`.

    .. math::
        D_r = r - (r + 1) \, Y \, \frac{n_{r+1}}{n_r}, \qquad Y = \frac{n_1}{n_1 + 2 n_2}

    If some of n_1 .. n_4 is 0, or some D_r does not lie between 0 and r, all three are Y, kept
    between 0.1 and 0.9 (0.5 if n_1 or n_2 is 0).

    Source: Chen and Goodman 1999, section 3 (modified Kneser-Ney); Ney, Essen and Kneser 1994
    (the single discount).
    """
    n = np.bincount(np.minimum(counts, 5), minlength=6)[1:5].astype(np.float64)  # n_1 .. n_4
    single = 0.5
    if n[0] and n[1]:
        single = n[0] / (n[0] + 2 * n[1])
        if n.all():
            r = np.arange(1, 4)
            discounts = r - (r + 1) * single * n[1:] / n[:-1]
            if ((discounts > 0) & (discounts < r)).all():
                return np.concatenate([[0.0], discounts])
        single = min(max(single, 0.1), 0.9)
    return np.array([0.0, single, single, single])
