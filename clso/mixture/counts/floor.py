"""The floor `kneser_ney`: a modified Kneser-Ney 5-gram over tokens, by itself and unweighted.

It knows the block so far alone, as every model does. At the start of a block it predicts from the
tokens that there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Self

import numpy as np

from clso.counting import FloatArray, TokenStream
from clso.mixture.counts.kneser_ney import KneserNey
from clso.mixture.counts.pattern import Pattern
from clso.mixture.text import FittingText
from clso.progress import SILENT, Reporter
from clso.scoring import Int64Array, NllArray

__all__ = ["KneserNeyFloor"]

_ORDER: Final = 5


class KneserNeyFloor:
    """The n-gram model that a language model of any kind is expected to beat, as a model.

    Args:
        counts: of the last four tokens, see `KneserNey`.
    """

    name = "kneser_ney"

    def __init__(self, counts: KneserNey) -> None:
        self._counts = counts

    def __repr__(self) -> str:
        return f"KneserNeyFloor({self._counts!r})"

    @classmethod
    def fit(
        cls,
        splits: Sequence[TokenStream],
        vocab_size: int,
        *,
        workspace: Path | None = None,
        reporter: Reporter = SILENT,
    ) -> Self:
        """Count the n-grams of the splits; none spans two splits.

        Raises:
            DataError: a token is outside the vocabulary, or there are 2**32 tokens or more.
            ArtifactError: the workspace cannot be written or is full.
        """
        text = FittingText(splits, vocab_size, {}, workspace=workspace, reporter=reporter)
        (counts,) = KneserNey.fit(text, [Pattern.contiguous(_ORDER - 1)])
        return cls(counts)

    @property
    def stored_bytes(self) -> int:
        """Size of the counts."""
        return self._counts.stored_bytes

    def token_nll(self, inputs: Int64Array, targets: Int64Array) -> NllArray:
        """Return `-log p(y | the last four tokens of the block)`, `(B, T)`."""
        return np.asarray(-np.log(self._counts.target_probabilities(inputs, targets)))

    def probabilities(self, inputs: Int64Array) -> FloatArray:
        """Return the distribution at every position, `(B, T, V)`."""
        rows = np.empty((*inputs.shape, self._counts.vocab_size))
        for block, position in np.ndindex(inputs.shape):
            rows[block, position] = self.distribution(inputs[block, : position + 1])
        return rows

    def distribution(self, history: Int64Array) -> FloatArray:
        """Return the distribution after the `(t,)` tokens of a block, t >= 1, `(V,)`."""
        return self._counts.distribution(history)
