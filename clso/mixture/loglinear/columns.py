"""The tokens of the vocabulary in the order of their classes, so that a class is a range.

Notation: V tokens in C classes. A column is a token that occurs in the text, or all other tokens of
one class together, which no count tells apart. The columns of a class are neighbours.
"""

from __future__ import annotations

import numpy as np

from clso.counting import FloatArray
from clso.mixture.arrays import UnsignedArray
from clso.scoring import Int64Array

__all__ = ["TokenColumns"]


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
    """

    def __init__(self, classes: UnsignedArray, counts: UnsignedArray) -> None:
        labels = classes.astype(np.int64)
        n_classes = int(labels.max()) + 1
        seen = counts > 0
        # columns are numbered by class; inside a class the seen tokens come first
        key = np.where(seen, np.arange(len(labels)), len(labels))
        _, first, self.of_token = np.unique(
            labels * (len(labels) + 1) + key, return_index=True, return_inverse=True
        )
        self.token: Int64Array = first
        self.multiplicity = np.bincount(self.of_token)
        self.is_unseen = ~seen[self.token]
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
