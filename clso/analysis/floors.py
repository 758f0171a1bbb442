r"""Three models that any language model must beat, fitted by counting.

Notation: V tokens; c(y) and c(x, y) are how often a token, and a token y after x, is a target of
the training splits; n_r is how many types were seen exactly r times. Every distribution is
proper and gives every token some mass, so that no test token is ever priced at infinity.

Counting streams over the tokens in chunks: memory grows with the number of *distinct* pairs,
not with the length of the text.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from clso.scoring import Int64Array, NllArray

__all__ = [
    "Bigram",
    "TokenStream",
    "Uniform",
    "Unigram",
    "count_pairs",
    "count_targets",
    "log_unigram",
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
        """Return tokens `start` to `stop` of the stream."""


def _pair_chunks(
    splits: Iterable[TokenStream], chunk: int, offset: int = 1
) -> Iterator[tuple[Int64Array, ...]]:
    for split in splits:
        last = split.n_tokens + 1 - offset  # the first position without a partner
        for start in range(0, last, chunk):
            stop = min(start + chunk, last)
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
    """Count each pair of tokens that stand so far apart: by default, of neighbours.

    Returns:
        The distinct pairs as sorted keys `x * V + y`, `(n_pairs,)`, and their counts.
    """
    if vocab_size > _LARGEST_VOCABULARY:
        raise ValueError(f"vocab_size {vocab_size} is too large to number its pairs")
    runs: list[tuple[Int64Array, Int64Array]] = []
    found = (pair for offset in offsets for pair in _pair_chunks(splits, chunk, offset))
    for inputs, targets in found:
        keys, counts = np.unique(inputs * vocab_size + targets, return_counts=True)
        runs.append((keys, counts.astype(np.int64)))
        # merging runs of like size sorts each pair a logarithmic number of times
        while len(runs) > 1 and len(runs[-1][0]) * 2 >= len(runs[-2][0]):
            runs.append(_merge(runs.pop(), runs.pop()))
    while len(runs) > 1:
        runs.append(_merge(runs.pop(), runs.pop()))
    if not runs:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    return runs[0]


def _discounted(counts: Int64Array) -> FloatArray:
    total = int(counts.sum())
    vocab_size = len(counts)
    if total == 0:
        return np.full(vocab_size, 1.0 / vocab_size)
    once, twice = (int((counts == r).sum()) for r in (1, 2))
    discount = once / (once + 2 * twice) if once else 0.5
    # a corpus without pairs (or with nothing else) would leave unseen tokens all mass, or none
    discount = min(max(discount, 0.1), 0.9)
    kept = np.maximum(counts - discount, 0.0) / total
    spread = discount * int((counts > 0).sum()) / total
    return np.asarray(kept + spread / vocab_size)


def log_unigram(counts: Int64Array) -> FloatArray:
    r"""Return the log of a smoothed unigram distribution, `(V,)`.

    .. math:: p(y) = \frac{\max(c(y) - D, 0)}{n} + \frac{D \, |\{c > 0\}|}{n} \cdot \frac{1}{V},
        \qquad D = \frac{n_1}{n_1 + 2 n_2}

    with D kept between 0.1 and 0.9; no counts at all give the uniform distribution.

    Source: Ney, Essen and Kneser 1994 (absolute discounting, interpolated with uniform).
    """
    return np.log(_discounted(np.asarray(counts, dtype=np.int64)))


@dataclass(frozen=True)
class Uniform:
    """Every token is as likely as any other: `-log p = log V`."""

    vocab_size: int
    name: str = "uniform"
    stored_bytes: int = 0

    def token_nll(self, inputs: Int64Array, targets: Int64Array) -> NllArray:
        """Return `log V` everywhere, `(B, T)`."""
        return np.full(targets.shape, math.log(self.vocab_size))

    def probabilities(self, inputs: Int64Array) -> FloatArray:
        """Return `1 / V` everywhere, `(B, T, V)`."""
        return np.full((*inputs.shape, self.vocab_size), 1.0 / self.vocab_size)


class Unigram:
    """Tokens by their frequency, whatever stands before; smoothed as `log_unigram` says.

    Args:
        counts: how often each token is a target, `(V,)`.
    """

    name = "unigram"

    def __init__(self, counts: Int64Array) -> None:
        self.log_p = log_unigram(counts)

    @classmethod
    def fit(cls, splits: Iterable[TokenStream], vocab_size: int) -> Unigram:
        """Count the targets of the splits."""
        return cls(count_targets(splits, vocab_size))

    @property
    def stored_bytes(self) -> int:
        """One log-probability per token."""
        return self.log_p.nbytes

    def token_nll(self, inputs: Int64Array, targets: Int64Array) -> NllArray:
        """Return `-log p(y)`, `(B, T)`."""
        return np.asarray(-self.log_p[targets])

    def probabilities(self, inputs: Int64Array) -> FloatArray:
        """Return the one distribution at every position, `(B, T, V)`."""
        return np.broadcast_to(np.exp(self.log_p), (*inputs.shape, len(self.log_p))).copy()


class Bigram:
    r"""Interpolated modified Kneser-Ney over pairs.

    .. math::
        p(y \mid x) = \frac{c(x, y) - D_{c(x, y)}}{c(x)} + \gamma(x) \, p_1(y), \qquad
        p_1(y) \propto |\{x : c(x, y) > 0\}| \text{ (smoothed as the unigram)}

    with three discounts D for counts 1, 2 and more, from count-of-counts, each kept at 0.1 or
    above; :math:`\gamma(x)` is the mass that the discounts freed. A token never seen as context
    predicts :math:`p_1`.

    Args:
        keys: the distinct pairs `x * V + y`, sorted, `(n_pairs,)`.
        counts: how often each occurs, `(n_pairs,)`.
        vocab_size: V.

    Source: Chen and Goodman 1999, section 3.
    """

    name = "bigram"

    def __init__(self, keys: Int64Array, counts: Int64Array, vocab_size: int) -> None:
        self.vocab_size = vocab_size
        self.keys = keys
        contexts, successors = np.divmod(keys, vocab_size)
        self.lower = _discounted(np.bincount(successors, minlength=vocab_size))
        discounts = _modified_discounts(counts)[np.minimum(counts, 3)]
        totals = np.bincount(contexts, weights=counts, minlength=vocab_size)
        freed = np.bincount(contexts, weights=discounts, minlength=vocab_size)
        self.higher = (counts - discounts) / totals[contexts]  # (n_pairs,)
        self.gamma = np.divide(freed, totals, out=np.ones(vocab_size), where=totals > 0)

    @classmethod
    def fit(cls, splits: Iterable[TokenStream], vocab_size: int) -> Bigram:
        """Count the pairs of the splits; none spans two splits."""
        return cls(*count_pairs(splits, vocab_size), vocab_size)

    @property
    def stored_bytes(self) -> int:
        """Pairs, their discounted shares, and two numbers per token."""
        return sum(array.nbytes for array in (self.keys, self.higher, self.gamma, self.lower))

    def token_nll(self, inputs: Int64Array, targets: Int64Array) -> NllArray:
        """Return `-log p(y | x)`, `(B, T)`."""
        probability = self.gamma[inputs] * self.lower[targets]
        if len(self.keys):
            wanted = inputs * self.vocab_size + targets
            place = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
            seen = self.keys[place] == wanted
            probability += np.where(seen, self.higher[place], 0.0)
        return np.asarray(-np.log(probability))

    def probabilities(self, inputs: Int64Array) -> FloatArray:
        """Return the distribution after each token, `(B, T, V)`."""
        contexts, where = np.unique(inputs, return_inverse=True)
        rows = self.gamma[contexts, None] * self.lower  # (n_contexts, V)
        starts = np.searchsorted(self.keys, contexts * self.vocab_size)
        stops = np.searchsorted(self.keys, (contexts + 1) * self.vocab_size)
        for row, context, start, stop in zip(rows, contexts, starts, stops, strict=True):
            row[self.keys[start:stop] - context * self.vocab_size] += self.higher[start:stop]
        return np.asarray(rows[where.reshape(inputs.shape)])


def _modified_discounts(counts: Int64Array) -> FloatArray:
    n = [int((counts == r).sum()) for r in (1, 2, 3, 4)]
    if not all(n):
        return np.array([0.0, 0.5, 0.5, 0.5])
    y = n[0] / (n[0] + 2 * n[1])
    estimates = np.array([r - (r + 1) * y * n[r] / n[r - 1] for r in (1, 2, 3)])
    return np.concatenate([[0.0], np.clip(estimates, 0.1, [0.9, 2.0, 3.0])])
