r"""The tokens of the vocabulary in the order of their classes, so that a class is a range.

Notation: V tokens in C classes. The vocabulary is cut into 12 parts of successive tokens: in a
byte-pair vocabulary, tokens with small numbers are frequent in most texts. A column is a token that
occurs in the text, or all other tokens of one class and one part together, which no count tells
apart. The columns of a class are neighbours.

How likely each token of such a group is follows from the tokens that occur once. Of class c and
part b, n1 tokens occur once and n0 do not occur:

.. math::
    r(c, b) = \frac{n_1(c, b) + 5 \, r(b)}{n_0(c, b) + 5}, \qquad
    r(b) = \frac{n_1(b) + 1}{n_0(b) + 1}

Source: Good 1953 (the probability of what was not seen).
"""

from __future__ import annotations

from typing import Final

import numpy as np

from clso.counting import FloatArray
from clso.mixture.arrays import UnsignedArray
from clso.scoring import Int64Array

__all__ = ["TokenColumns"]

_PARTS: Final = 12
_PSEUDO_COUNT: Final = 5.0


class TokenColumns:
    """The columns of a vocabulary.

    Args:
        classes: the class of each token, `(V,)`.
        counts: how often each token occurs in the text, `(V,)`.

    Attributes:
        of_token: the column of each token, `(V,)`.
        token: a token of each column, `(n_columns,)`.
        starts: the first column of each class, and the number of columns, `(C + 1,)`.
        multiplicity: how many tokens a column stands for, `(n_columns,)`.
        is_unseen: whether the tokens of a column do not occur in the text, `(n_columns,)`.
        log_rate: log r(c, b) of such a column, 0 of others, `(n_columns,)`.
    """

    def __init__(self, classes: UnsignedArray, counts: UnsignedArray) -> None:
        labels = classes.astype(np.int64)
        n_classes = int(labels.max()) + 1
        seen = counts > 0
        tokens = np.arange(len(labels))
        parts = tokens * _PARTS // len(labels)
        # columns are numbered by class; inside a class the seen tokens come first
        key = np.where(seen, tokens, len(labels) + parts)
        _, first, self.of_token = np.unique(
            labels * (len(labels) + _PARTS) + key, return_index=True, return_inverse=True
        )
        self.token: Int64Array = first
        self.multiplicity = np.bincount(self.of_token)
        self.is_unseen = ~seen[self.token]
        rates = _log_rates(labels * _PARTS + parts, counts, n_classes)
        self.log_rate = np.where(self.is_unseen, rates[labels[first], parts[first]], 0.0)
        self.starts = np.searchsorted(labels[self.token], np.arange(n_classes + 1))

    def __len__(self) -> int:
        return len(self.token)

    @property
    def n_classes(self) -> int:
        """C."""
        return len(self.starts) - 1

    def class_means(self, vectors: FloatArray, counts: UnsignedArray) -> FloatArray:
        """Return the mean of the columns' vectors per class, weighted by counts, `(C, d)`."""
        weights = counts[self.token].astype(np.float64)
        sums = np.add.reduceat(vectors * weights[:, None], self.starts[:-1])
        totals = np.add.reduceat(weights, self.starts[:-1])
        return np.asarray(sums / np.maximum(totals, 1.0)[:, None])


def _log_rates(groups: Int64Array, counts: UnsignedArray, n_classes: int) -> FloatArray:
    """Return log r(c, b), `(C, 12)`; `groups` has 12 c + b of each token, `(V,)`."""
    once, never = (
        np.bincount(groups[counts == count], minlength=n_classes * _PARTS).reshape(-1, _PARTS)
        for count in (1, 0)
    )
    of_part = (once.sum(axis=0) + 1) / (never.sum(axis=0) + 1)
    return np.asarray(np.log((once + _PSEUDO_COUNT * of_part) / (never + _PSEUDO_COUNT)))
