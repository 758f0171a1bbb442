"""The fixed batches that every individual of a search is scored on."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from clso.errors import DataError
from clso.scoring import Int64Array

__all__ = ["fixed_batches"]

# Sets this draw apart from every other use of the same seed.
_STREAM = int.from_bytes(b"batc")


class _Blocks(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def n_blocks(self) -> int: ...

    def blocks(self, index: Int64Array) -> tuple[Int64Array, Int64Array]: ...


def fixed_batches(
    split: _Blocks, *, batch_size: int, batches: int, seed: int
) -> tuple[Int64Array, Int64Array]:
    """Draw blocks without replacement, once for all individuals (common random numbers).

    Returns:
        Inputs and targets, each `(batches, batch_size, T)`.

    Raises:
        DataError: the split has too few blocks.
    """
    wanted = batch_size * batches
    if wanted > split.n_blocks:
        raise DataError(
            f"{split.name} has {split.n_blocks} blocks, but evaluation.batches x "
            f"evaluation.batch_size asks for {wanted}",
            remedy="lower evaluation.batches, raise the split's share, or give more text",
        )
    generator = np.random.default_rng([seed, _STREAM])
    index = np.sort(generator.choice(split.n_blocks, size=wanted, replace=False))
    inputs, targets = split.blocks(index)
    shape = (batches, batch_size, inputs.shape[1])
    return inputs.reshape(shape), targets.reshape(shape)
