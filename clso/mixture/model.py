r"""The model that a mixture's genome stands for.

.. math::
    p(y \mid ctx) = \sum_k w_k(b(ctx)) \, p_k(y \mid ctx), \qquad
    \sum_k w_k(b) = 1 \text{ for every bucket } b

Function 0 is the uniform one, so that no token is ever impossible.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from clso.counting import FloatArray
from clso.floors import Uniform
from clso.mixture.buckets import assign, n_buckets
from clso.mixture.function import BasisFunction
from clso.mixture.history import HistoryCounts
from clso.mixture.weights import MixtureWeights
from clso.scoring import Int64Array, NllArray

__all__ = ["CrystallineMixture"]

_BLOCKS_AT_ONCE = 128


class CrystallineMixture:
    """Functions and weights; a `clso.scoring.LanguageModel`.

    Args:
        name: `mixture` or `hybrid`.
        functions: what the genome picked; the uniform function is added before them.
        weights: of the uniform function and these, in their order.
        bucketing: which contexts share weights.
        history: what the buckets are made of.
        vocab_size: V.

    Raises:
        ValueError: weights for another number of functions or buckets.
    """

    def __init__(
        self,
        name: str,
        functions: Sequence[BasisFunction],
        weights: MixtureWeights,
        bucketing: str,
        history: HistoryCounts,
        vocab_size: int,
    ) -> None:
        expected = (n_buckets(bucketing), 1 + len(functions))
        if weights.table.shape != expected:
            raise ValueError(f"weights are {weights.table.shape}, expected {expected}")
        self.name = name
        self.functions: tuple[BasisFunction, ...] = (Uniform(vocab_size), *functions)
        self.weights = weights
        self.bucketing = bucketing
        self.history = history
        self.vocab_size = vocab_size

    def __repr__(self) -> str:
        picked = ", ".join(function.name for function in self.functions)
        return f"CrystallineMixture({self.name!r}, {self.bucketing!r}, {picked})"

    @property
    def stored_bytes(self) -> int:
        """Arrays of functions, each counted once, bucket counts and weights."""
        shared: dict[str, int] = {}
        neural = 0
        for function in self.functions:
            arrays = function.to_arrays()
            shared |= {name: array.nbytes for name, array in arrays.items()}
            neural += 0 if arrays else function.stored_bytes
        return sum(shared.values()) + neural + self.history.stored_bytes + self.weights.table.nbytes

    def token_nll(self, inputs: Int64Array, targets: Int64Array) -> NllArray:
        """Return `-log p(targets | inputs)` in nats, `(B, T)` float64."""
        nll = np.empty(targets.shape)
        for start in range(0, len(inputs), _BLOCKS_AT_ONCE):
            part = slice(start, start + _BLOCKS_AT_ONCE)
            weights = self._weights_at(inputs[part])
            total = np.zeros(targets[part].shape)
            for number, function in enumerate(self.functions):
                found = function.target_probabilities(inputs[part], targets[part])
                total += weights[..., number] * found
            nll[part] = -np.log(total)
        return nll

    def probabilities(self, inputs: Int64Array) -> npt.NDArray[np.float64]:
        """Return the full next-token distributions, `(B, T, V)`."""
        n_blocks, length = inputs.shape
        rows = np.empty((n_blocks, length, self.vocab_size))
        for block in range(n_blocks):
            for position in range(length):
                rows[block, position] = self.distribution(inputs[block, : position + 1])
        return rows

    def distribution(self, history: Int64Array) -> FloatArray:
        """Return p(. | history), `(V,)`, after the `(t,)` tokens of a block."""
        weights = self._weights_at(history[None])[0, -1]
        total = np.zeros(self.vocab_size)
        for weight, function in zip(weights, self.functions, strict=True):
            total += weight * function.distribution(history)
        return total

    def _weights_at(self, inputs: Int64Array) -> npt.NDArray[np.float64]:
        buckets = assign(self.bucketing, self.history.of(inputs))
        found: npt.NDArray[np.float64] = self.weights.table[buckets]
        return found
