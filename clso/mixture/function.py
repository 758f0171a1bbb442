"""Basis functions: functions from a context to a distribution of the next token.

Notation: B blocks of T positions, V tokens. The context of position t of a block is the block's
tokens 0 .. t, and nothing before the block's start. Every function is a proper distribution at
every context: non-negative, and it sums to 1 over the V tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from clso.counting import FloatArray
from clso.scoring import GenerativeModel, Int64Array

if TYPE_CHECKING:
    from clso.mixture.full import DistributionSum

__all__ = ["BasisFunction", "CountedFunction", "Neural"]

_ELEMENTS_AT_ONCE: Final = 1 << 24  # a block's positions times tokens


class BasisFunction(Protocol):
    """A count-based, pointer or neural predictor p(y | context), fitted once and then fixed.

    It may have a method `add_distributions(weights, out)`, which adds its distributions at many
    positions to a `clso.mixture.full.DistributionSum`. Without it, each `distribution` is added.
    """

    @property
    def name(self) -> str:
        """The canonical name, such as `kn(1,2,3)`; with the text it determines the function."""

    @property
    def family(self) -> str:
        """The function family: `constant`, `count`, `class`, `pointer`, `neural` or `plain`."""

    @property
    def stored_bytes(self) -> int:
        """Size of the arrays."""

    def target_probabilities(self, inputs: Int64Array, targets: Int64Array) -> FloatArray:
        """Return p(targets | inputs up to the same position), `(B, T)`."""

    def distribution(self, history: Int64Array) -> FloatArray:
        """Return p(. | history), `(V,)`, after the `(t,)` tokens of a block, t >= 1."""

    def spec(self) -> Mapping[str, Any]:
        """Return JSON values from which, with `to_arrays`, the function is built again."""

    def to_arrays(self) -> Mapping[str, npt.NDArray[Any]]:
        """Return the fitted arrays by name; in one library, equal names mean equal arrays."""


class CountedFunction(BasisFunction, Protocol):
    """A basis function that is fitted by counting and whose operations are known."""

    def flops_per_token(self, block_size: int) -> int:
        """Return the operations that price one target in blocks of T tokens.

        Arithmetic and comparisons are counted, in the direct form of the definition. Reading an
        array at a known place is free. Finding a key among n sorted keys takes as many comparisons
        as n has binary digits. Position t = 0 .. T - 1 has t + 1 sources, (T + 1) / 2 on average.
        The cost is that of a context that was seen at every level; other contexts cost less. What
        several functions could compute together is counted for each of them.
        """


class Neural:
    """A network as a function: the crystalline GPT, or in the hybrid a gradient model."""

    family = "neural"

    def __init__(self, model: GenerativeModel) -> None:
        self.model = model
        self.name = f"neural({model.name})"

    def __repr__(self) -> str:
        return f"Neural({self.model.name!r})"

    @property
    def stored_bytes(self) -> int:
        """Size of the network."""
        return self.model.stored_bytes

    def target_probabilities(self, inputs: Int64Array, targets: Int64Array) -> FloatArray:
        """Return `exp(-nll)`, `(B, T)`."""
        return np.asarray(np.exp(-self.model.token_nll(inputs, targets)))

    def distribution(self, history: Int64Array) -> FloatArray:
        """Return the softmax after the last token, `(V,)`, normalised in float64."""
        probabilities = self.model.distribution(history).astype(np.float64)
        return np.asarray(probabilities / probabilities.sum())

    def add_distributions(self, weights: FloatArray, out: DistributionSum) -> None:
        """Add w(t) p(. | history up to t) at all positions of a sum; `weights` is `(n,)`."""
        history, dense = out.history, out.dense
        if len(weights) == 1 or len(history) * dense.shape[1] > _ELEMENTS_AT_ONCE:
            for index, weight in enumerate(weights):
                dense[index] += weight * self.distribution(history[: out.start + index + 1])
            return
        p = self.model.probabilities(history[None])[0, out.start :].astype(np.float64)
        p *= (weights / p.sum(axis=1))[:, None]
        dense += p

    def spec(self) -> dict[str, Any]:
        """Return the name and the folder that holds the network's own checkpoint."""
        return {"name": self.name, "checkpoint": f"neural-{self.model.name}"}

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return no arrays; see `spec`."""
        return {}
