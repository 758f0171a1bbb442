r"""Models that any language model must beat, fitted by counting.

Notation: V tokens; c(x, y) is how often a token y after x is a target of the training splits.
Every distribution is proper and gives every token some mass, so that no test token has an
infinite loss.

`Uniform` and `Unigram` are also basis functions of a mixture (`clso.mixture.function`). One more
floor, the Kneser-Ney 5-gram, is made of the mixture's counts (`clso.mixture.counts.floor`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from clso.counting import (
    FloatArray,
    TokenStream,
    count_pairs,
    count_targets,
    modified_discounts,
)
from clso.errors import ArtifactError
from clso.scoring import Int64Array, NllArray

__all__ = ["Bigram", "Uniform", "Unigram"]


class Uniform:
    """All tokens have equal probability: `p(y) = 1 / V`."""

    name = "uniform"
    family = "constant"
    stored_bytes = 0

    def __init__(self, vocab_size: int) -> None:
        self.vocab_size = vocab_size

    def __repr__(self) -> str:
        return f"Uniform(vocab_size={self.vocab_size})"

    def token_nll(self, inputs: Int64Array, targets: Int64Array) -> NllArray:
        """Return `log V` everywhere, `(B, T)`."""
        return np.full(targets.shape, math.log(self.vocab_size))

    def probabilities(self, inputs: Int64Array) -> FloatArray:
        """Return `1 / V` everywhere, `(B, T, V)`."""
        return np.full((*inputs.shape, self.vocab_size), 1.0 / self.vocab_size)

    def target_probabilities(self, inputs: Int64Array, targets: Int64Array) -> FloatArray:
        """Return `1 / V` everywhere, `(B, T)`."""
        return np.full(targets.shape, 1.0 / self.vocab_size)

    def distribution(self, history: Int64Array) -> FloatArray:
        """Return `1 / V` for every token, `(V,)`."""
        return np.full(self.vocab_size, 1.0 / self.vocab_size)

    def spec(self) -> dict[str, Any]:
        """Return name and V."""
        return {"name": self.name, "vocab_size": self.vocab_size}

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return no arrays; `spec` has V."""
        return {}


class Unigram:
    """The smoothed frequency of a token, in every context.

    `p` is the distribution, `(V,)`, every token above 0, and is not copied; `log_p` is its log.
    """

    name = "unigram"
    family = "constant"

    def __init__(self, p: FloatArray) -> None:
        self.p = p
        self.log_p = np.log(p)

    def __repr__(self) -> str:
        return f"Unigram(vocab_size={len(self.p)})"

    @classmethod
    def of_counts(cls, counts: Int64Array) -> Unigram:
        """Smooth the counts of tokens as targets, `(V,)`."""
        log_p = np.log(_smoothed(np.asarray(counts, dtype=np.int64)))
        model = cls(np.exp(log_p))
        model.log_p = log_p  # losses read the unrounded values, not log(exp(log p))
        return model

    @classmethod
    def fit(cls, splits: Iterable[TokenStream], vocab_size: int) -> Unigram:
        """Count the targets of the splits."""
        return cls.of_counts(count_targets(splits, vocab_size))

    @property
    def stored_bytes(self) -> int:
        """Size of p."""
        return self.p.nbytes

    def flops_per_token(self, block_size: int) -> int:
        """Return 0: a probability is looked up."""
        return 0

    def token_nll(self, inputs: Int64Array, targets: Int64Array) -> NllArray:
        """Return `-log p(y)`, `(B, T)`."""
        return np.asarray(-self.log_p[targets])

    def probabilities(self, inputs: Int64Array) -> FloatArray:
        """Return p at every position, `(B, T, V)`."""
        return np.broadcast_to(self.p, (*inputs.shape, len(self.p))).copy()

    def target_probabilities(self, inputs: Int64Array, targets: Int64Array) -> FloatArray:
        """Return p(y), `(B, T)`."""
        return np.asarray(self.p[targets])

    def distribution(self, history: Int64Array) -> FloatArray:
        """Return p, `(V,)`."""
        return self.p.copy()

    def spec(self) -> dict[str, Any]:
        """Return name and V."""
        return {"name": self.name, "vocab_size": len(self.p)}

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return p as `unigram`, `(V,)`."""
        return {"unigram": self.p}

    @classmethod
    def from_arrays(
        cls, spec: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]
    ) -> Unigram:
        """Rebuild a unigram from `spec` and `to_arrays`, bit for bit.

        Raises:
            ArtifactError: p is missing or not `(V,)`.
        """
        p = arrays.get("unigram")
        if p is None or p.shape != (spec["vocab_size"],):
            raise ArtifactError(
                f"the stored unigram is {None if p is None else p.shape}, "
                f"expected ({spec['vocab_size']},)",
                remedy="build the library again",
            )
        return cls(p)


class Bigram:
    r"""Interpolated modified Kneser-Ney over pairs.

    .. math::
        p(y \mid x) = \frac{c(x, y) - D_{c(x, y)}}{c(x)} + \gamma(x) \, p_1(y), \qquad
        p_1(y) \propto |\{x : c(x, y) > 0\}| \text{ (smoothed as the unigram)}

    with the three discounts D of `modified_discounts`; :math:`\gamma(x)` is the discounted mass.
    After a token that was never a context the distribution is :math:`p_1`.

    Args:
        keys: the distinct pairs `x * V + y`, sorted, `(n_pairs,)`.
        counts: how often each occurs, `(n_pairs,)`.

    Source: Chen and Goodman 1999, section 3.
    """

    name = "bigram"

    def __init__(self, keys: Int64Array, counts: Int64Array, vocab_size: int) -> None:
        self.vocab_size = vocab_size
        self.keys = keys
        contexts, successors = np.divmod(keys, vocab_size)
        self.lower = _smoothed(np.bincount(successors, minlength=vocab_size))
        discounts = modified_discounts(counts)[np.minimum(counts, 3)]
        totals = np.bincount(contexts, weights=counts, minlength=vocab_size)
        discounted = np.bincount(contexts, weights=discounts, minlength=vocab_size)
        self.higher = (counts - discounts) / totals[contexts]  # (n_pairs,)
        self.gamma = np.divide(discounted, totals, out=np.ones(vocab_size), where=totals > 0)

    @classmethod
    def fit(cls, splits: Iterable[TokenStream], vocab_size: int) -> Bigram:
        """Count the pairs of the splits; none spans two splits."""
        return cls(*count_pairs(splits, vocab_size), vocab_size)

    @property
    def stored_bytes(self) -> int:
        """Size of the pairs, their discounted shares, and two numbers per token."""
        return sum(array.nbytes for array in (self.keys, self.higher, self.gamma, self.lower))

    def token_nll(self, inputs: Int64Array, targets: Int64Array) -> NllArray:
        """Return `-log p(y | x)`, `(B, T)`."""
        probability = self.gamma[inputs] * self.lower[targets]
        if len(self.keys):
            keys = inputs * self.vocab_size + targets
            index = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
            probability += np.where(self.keys[index] == keys, self.higher[index], 0.0)
        return np.asarray(-np.log(probability))

    def probabilities(self, inputs: Int64Array) -> FloatArray:
        """Return the distribution after each token, `(B, T, V)`."""
        contexts, row_of_input = np.unique(inputs, return_inverse=True)
        rows = self.gamma[contexts, None] * self.lower  # (n_contexts, V)
        starts = np.searchsorted(self.keys, contexts * self.vocab_size)
        stops = np.searchsorted(self.keys, (contexts + 1) * self.vocab_size)
        for row, context, start, stop in zip(rows, contexts, starts, stops, strict=True):
            row[self.keys[start:stop] - context * self.vocab_size] += self.higher[start:stop]
        return np.asarray(rows[row_of_input.reshape(inputs.shape)])


def _smoothed(counts: Int64Array) -> FloatArray:
    r"""Return a smoothed unigram distribution, `(V,)`, that gives every token some mass.

    .. math:: p(y) = \frac{\max(c(y) - D, 0)}{n} + \frac{D \, |\{c > 0\}|}{n} \cdot \frac{1}{V},
        \qquad D = \frac{n_1}{n_1 + 2 n_2}

    with D kept between 0.1 and 0.9; no counts at all give the uniform distribution.

    Source: Ney, Essen and Kneser 1994 (absolute discounting, interpolated with uniform).
    """
    total = int(counts.sum())
    vocab_size = len(counts)
    if total == 0:
        return np.full(vocab_size, 1.0 / vocab_size)
    once, twice = (int((counts == r).sum()) for r in (1, 2))
    discount = once / (once + 2 * twice) if once else 0.5
    # near 1, tokens seen once would keep no mass; near 0, unseen tokens would get none
    discount = min(max(discount, 0.1), 0.9)
    kept = np.maximum(counts - discount, 0.0) / total
    spread = discount * int((counts > 0).sum()) / total
    return np.asarray(kept + spread / vocab_size)
