r"""Three models that any language model must beat, fitted by counting.

Notation: V tokens; c(x, y) is how often a token y after x is a target of the training splits.
Every distribution is proper and gives every token some mass, so that no test token is ever priced
at infinity.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from clso.counting import (
    FloatArray,
    TokenStream,
    count_pairs,
    count_targets,
    log_unigram,
    modified_discounts,
    unigram,
)
from clso.scoring import Int64Array, NllArray

__all__ = ["Bigram", "Uniform", "Unigram"]


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

    with the three discounts D of `modified_discounts`; :math:`\gamma(x)` is the mass that the
    discounts freed. A token never seen as context
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
        self.lower = unigram(np.bincount(successors, minlength=vocab_size))
        discounts = modified_discounts(counts)[np.minimum(counts, 3)]
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
