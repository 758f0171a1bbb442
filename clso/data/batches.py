"""The fixed batches that every individual of a search is scored on."""

from __future__ import annotations

from typing import Literal, Protocol

import numpy as np

from clso.errors import DataError
from clso.scoring import Int64Array
from clso.section import Count, Section

__all__ = ["EvaluationSettings", "Precision"]

Precision = Literal["float32", "bfloat16", "auto"]

# Separates this random stream from other uses of the same seed.
_STREAM = int.from_bytes(b"batc")


class _Blocks(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def n_blocks(self) -> int: ...

    def blocks(self, index: Int64Array) -> tuple[Int64Array, Int64Array]: ...


class EvaluationSettings(Section):
    """The fixed batches of validation blocks that every individual is scored on, and how.

    Attributes:
        precision: of the products of the head during a crystalline GPT's search. `auto` is
            bfloat16 where the processor computes it faster, and float32 elsewhere. Finalists, and
            all searches of studies, are scored in float32.
        screening: whether the fidelity ladder of a crystalline GPT begins with approximate losses
            on all batches (`clso.gpt.screening`). Genomes with a result have the exact loss.
    """

    batch_size: Count = 4
    batches: Count = 10
    precision: Precision = "float32"
    screening: bool = False

    def fixed_batches(self, split: _Blocks, seed: int) -> tuple[Int64Array, Int64Array]:
        """Draw inputs and targets, each `(batches, batch_size, T)`, once for all individuals.

        Blocks are drawn without replacement (common random numbers).

        Raises:
            DataError: the split has too few blocks.
        """
        n_drawn = self.batch_size * self.batches
        if n_drawn > split.n_blocks:
            raise DataError(
                f"{split.name} has {split.n_blocks} blocks, but evaluation.batches x "
                f"evaluation.batch_size asks for {n_drawn}",
                remedy="lower evaluation.batches, raise the split's share, or give more text",
            )
        generator = np.random.default_rng([seed, _STREAM])
        index = np.sort(generator.choice(split.n_blocks, size=n_drawn, replace=False))
        inputs, targets = split.blocks(index)
        shape = (self.batches, self.batch_size, inputs.shape[1])
        return inputs.reshape(shape), targets.reshape(shape)
