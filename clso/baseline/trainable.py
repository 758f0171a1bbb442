"""The interface of a network that trials train, and of the blocks that they read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from clso.data.tokenizer import Tokenizer
from clso.errors import DataError
from clso.scoring import GenerativeModel, Int64Array, LanguageModel

__all__ = ["Blocks", "GradientModel", "Trainable", "check_length", "mean_nll"]

_CHUNK_BLOCKS = 64


class Blocks(Protocol):
    """Packed blocks of a split."""

    @property
    def name(self) -> str:
        """Name of the split."""

    @property
    def block_size(self) -> int:
        """T, targets per block."""

    @property
    def n_blocks(self) -> int:
        """Number of blocks."""

    def blocks(self, index: Int64Array) -> tuple[Int64Array, Int64Array]:
        """Return inputs and targets of B blocks, each `(B, T)`."""

    def spread_blocks(self, tokens: int | None) -> tuple[Int64Array, Int64Array]:
        """Return inputs and targets of blocks spread evenly, with at least `tokens` targets."""


class GradientModel(Protocol):
    """A model whose parameters are trained by gradients: all that a step needs of it."""

    @property
    def model(self) -> torch.nn.Module:
        """The module with the parameters."""

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""

    def matrices(self) -> list[torch.nn.Parameter]:
        """Return the matrices inside the network: neither embeddings nor readout."""

    def gradients(self, inputs: torch.Tensor, targets: torch.Tensor) -> float:
        """Set every parameter's `grad` from inputs `(B, T)`; return the mean loss in nats.

        Targets of a language model are `(B, T)` tokens, those of a classifier `(B,)` labels.
        """


class Trainable(GradientModel, GenerativeModel, Protocol):
    """A language model whose parameters are trained by gradients."""

    def save(
        self,
        path: Path,
        tokenizer: Tokenizer | None,
        descriptions: Mapping[str, Any] | None = None,
    ) -> None:
        """Write the model to a folder; `descriptions` are the JSON values of further files."""


def mean_nll(model: LanguageModel, split: Blocks) -> float:
    """Return the mean loss over all blocks of a split, nats per token."""
    sums = []
    for start in range(0, split.n_blocks, _CHUNK_BLOCKS):
        index = np.arange(start, min(start + _CHUNK_BLOCKS, split.n_blocks))
        sums.append(float(model.token_nll(*split.blocks(index)).sum()))
    return math.fsum(sums) / (split.n_blocks * split.block_size)


def check_length(n_positions: int, length: int) -> None:
    """Check that a block fits into a model.

    Raises:
        DataError: it has more tokens than the model has positions.
    """
    if length > n_positions:
        raise DataError(
            f"the blocks have {length} tokens, the model has {n_positions} positions",
            remedy=f"give it blocks of {n_positions} tokens at most, or train it with a larger "
            "data.block_size",
        )
