r"""The tokens of a training text: their counts, and the mass kept for all others.

Notation: S tokens are seen, U = V - S are not. Row s is the token with the s-th largest count. A
network spreads 1 - r over the rows, and each unseen token has r / U.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from clso.baseline.trainable import Blocks
from clso.errors import DataError
from clso.scoring import Int64Array

__all__ = ["SeenTokens"]

_CHUNK_BLOCKS = 1024


@dataclass(frozen=True, eq=False)
class SeenTokens:
    """The seen tokens in rows, most frequent first.

    Attributes:
        tokens: the token of each row, `(S,)`.
        counts: how often it occurs in training, `(S,)`.
        vocab_size: V.
        reserve: r, the mass of all unseen tokens together; 0 if all are seen.
    """

    tokens: Int64Array
    counts: Int64Array
    vocab_size: int
    reserve: float

    @classmethod
    def fit(cls, train: Sequence[Blocks], validation: Blocks, vocab_size: int) -> Self:
        """Count the training text; the reserve is the share of validation that it has not seen.

        With k of n validation targets unseen, r = (k + 1/2) / (n + 1): the share with the highest
        likelihood, kept off 0.

        Raises:
            DataError: there is no training text.
        """
        counts = sum((_counts(split, vocab_size) for split in train), np.zeros(vocab_size, int))
        if not counts.any():
            raise DataError(
                "there is no training text", remedy="give more text, or a smaller data.block_size"
            )
        order = np.argsort(-counts, kind="stable")
        tokens = order[: np.count_nonzero(counts)]
        new = int(_counts(validation, vocab_size)[counts == 0].sum())
        n = validation.n_blocks * validation.block_size
        reserve = (new + 0.5) / (n + 1) if len(tokens) < vocab_size else 0.0
        return cls(tokens, counts[tokens], vocab_size, reserve)

    @property
    def n_seen(self) -> int:
        """S."""
        return len(self.tokens)

    @property
    def n_unseen(self) -> int:
        """U."""
        return self.vocab_size - self.n_seen

    def row_of_token(self, unseen: int) -> Int64Array:
        """Return the row of every token, `(V,)`; `unseen` stands for unseen tokens."""
        rows = np.full(self.vocab_size, unseen, np.int64)
        rows[self.tokens] = np.arange(self.n_seen)
        return rows

    def log_unigram(self) -> npt.NDArray[np.float64]:
        """Return the logarithm of each row's share of the training text, `(S,)`."""
        return np.asarray(np.log(self.counts / self.counts.sum()))


def _counts(split: Blocks, vocab_size: int) -> Int64Array:
    """Count the targets of a split, `(V,)`."""
    counts = np.zeros(vocab_size, np.int64)
    for start in range(0, split.n_blocks, _CHUNK_BLOCKS):
        index = np.arange(start, min(start + _CHUNK_BLOCKS, split.n_blocks))
        counts += np.bincount(split.blocks(index)[1].ravel(), minlength=vocab_size)
    return counts
