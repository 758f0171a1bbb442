"""What a library of the mixture family holds: functions from a context to a distribution.

Notation: B blocks of T positions, V tokens. The context of position t of a block is the block's
tokens 0 .. t, and nothing before the block's start. Every function is a proper distribution at
every context: non-negative, and it sums to 1 over the V tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy.typing as npt

from clso.counting import FloatArray
from clso.scoring import Int64Array

__all__ = ["BasisFunction", "CountedFunction"]


class BasisFunction(Protocol):
    """A count-based, pointer or neural predictor p(y | context), fitted once and then fixed."""

    @property
    def name(self) -> str:
        """What it is, in full, such as `kn(1,2,3)`; equal names on equal data are equal."""

    @property
    def family(self) -> str:
        """The sort of function: `constant`, `count`, `class`, `pointer`, `neural` or `plain`."""

    @property
    def stored_bytes(self) -> int:
        """What its arrays take."""

    def target_probabilities(self, inputs: Int64Array, targets: Int64Array) -> FloatArray:
        """Return `p(targets | inputs up to there)`, `(B, T)`."""

    def distribution(self, history: Int64Array) -> FloatArray:
        """Return `p(. | history)`, `(V,)`, after `(t,)` tokens of a block, t >= 1."""

    def spec(self) -> Mapping[str, Any]:
        """Return plain JSON values that, with `to_arrays`, make the function again."""

    def to_arrays(self) -> Mapping[str, npt.NDArray[Any]]:
        """Return the fitted arrays by name; arrays of one name are equal in one library."""


class CountedFunction(BasisFunction, Protocol):
    """A function that a library fits by counting, and whose cost is known."""

    def flops_per_token(self, block_size: int) -> int:
        """Return the operations that price one target in blocks of T tokens.

        Counted are arithmetic and comparisons, in the direct form of the definition. Reading an
        array at a known place is free; finding a key among n sorted ones takes as many comparisons
        as n has binary digits. Position t = 0 .. T - 1 has t + 1 sources, (T + 1) / 2 on average.
        A level that was never seen, or a source outside the context, would cost less: these are
        the costs of contexts where everything is found. What functions might share while they are
        asked together is not taken off.
        """
