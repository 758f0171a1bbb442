"""A neural language model as one more basis function: its softmax is a proper distribution."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from clso.counting import FloatArray
from clso.scoring import GenerativeModel, Int64Array

__all__ = ["Neural"]


class Neural:
    """`p(y | history)` of a crystalline GPT or of AdamW's GPT-2; the latter makes the hybrid.

    Args:
        model: prices targets and gives distributions.
    """

    family = "neural"

    def __init__(self, model: GenerativeModel) -> None:
        self.model = model
        self.name = f"neural({model.name})"

    def __repr__(self) -> str:
        return f"Neural({self.model.name!r})"

    @property
    def stored_bytes(self) -> int:
        """What the model takes."""
        return self.model.stored_bytes

    def target_probabilities(self, inputs: Int64Array, targets: Int64Array) -> FloatArray:
        """Return `exp(-nll)`, `(B, T)`."""
        return np.asarray(np.exp(-self.model.token_nll(inputs, targets)))

    def distribution(self, history: Int64Array) -> FloatArray:
        """Return the softmax after the last token, `(V,)`, normalised in float64."""
        probabilities = self.model.distribution(history).astype(np.float64)
        return np.asarray(probabilities / probabilities.sum())

    def spec(self) -> dict[str, Any]:
        """Return the name; the model's weights are a checkpoint of their own, in a folder."""
        return {"name": self.name, "checkpoint": f"neural-{self.model.name}"}

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return nothing: see `spec`."""
        return {}
