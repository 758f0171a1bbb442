"""What a library of the mixture family holds: functions from a context to a distribution.

Notation: B blocks of T positions, V tokens. The context of position t of a block is the block's
tokens 0 .. t, and nothing before the block's start. Every function is a proper distribution at
every context: non-negative, and it sums to 1 over the V tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt

from clso.scoring import Int64Array

__all__ = ["BasisFunction", "FloatArray"]

FloatArray = npt.NDArray[np.float64]


class BasisFunction(Protocol):
    """A count-based, pointer or neural predictor p(y | context), fitted once and then fixed."""

    @property
    def name(self) -> str:
        """What it is, in full, such as `kn(1,2,3)`; equal names on equal data are equal."""

    @property
    def family(self) -> str:
        """The kind of function: `constant`, `count`, `class`, `pointer` or `neural`."""

    @property
    def stored_bytes(self) -> int:
        """What its arrays take."""

    def target_probabilities(self, inputs: Int64Array, targets: Int64Array) -> FloatArray:
        """Return `p(targets | inputs up to there)`, `(B, T)`."""

    def distribution(self, history: Int64Array) -> FloatArray:
        """Return `p(. | history)`, `(V,)`, after `(t,)` tokens of a block, t >= 1."""

    def spec(self) -> dict[str, Any]:
        """Return plain JSON values that, with `to_arrays`, make the function again."""

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return the fitted arrays by name."""

    @classmethod
    def from_arrays(cls, spec: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Make the function again, equal to the last bit."""
