"""The interface of every language model: score the next tokens of packed blocks.

Notation: B blocks, T positions in a block, V tokens. Losses are in nats, summed in float64.
A model may read only `inputs[b, : t + 1]` to score `targets[b, t]`.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

__all__ = ["GenerativeModel", "Int64Array", "LanguageModel", "NllArray"]

Int64Array = npt.NDArray[np.int64]
NllArray = npt.NDArray[np.float64]


class LanguageModel(Protocol):
    """A model that gives every token a probability: a floor, a crystalline model, AdamW's GPT-2."""

    @property
    def name(self) -> str:
        """The model's name in the result table."""

    @property
    def stored_bytes(self) -> int:
        """Size of the model on disk, without the tokenizer."""

    def token_nll(self, inputs: Int64Array, targets: Int64Array) -> NllArray:
        """Return `-log p(targets | inputs)` in nats, `(B, T)` float64."""

    def probabilities(self, inputs: Int64Array) -> npt.NDArray[np.float64]:
        """Return the full next-token distributions, `(B, T, V)`; each sums to 1."""


class GenerativeModel(LanguageModel, Protocol):
    """A language model that continues a text."""

    def distribution(self, history: Int64Array) -> npt.NDArray[np.float64]:
        """Return `p(. | history)` after the `(t,)` tokens of a block, t >= 1, `(V,)`."""
