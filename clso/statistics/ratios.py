r"""Ratios of paired positive values, such as joules of two models in the same repeats.

Notation: a_i, b_i > 0 of repeat i. The ratio is :math:`\exp(\overline{\ln a_i - \ln b_i})`; its
interval is Student's t over the differences of logarithms, which are closer to normal than ratios.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from clso.statistics.paired import Difference, FloatArray

__all__ = ["Ratio"]


@dataclass(frozen=True)
class Ratio:
    """A mean ratio with the ends of its interval, which are `None` for fewer than two pairs."""

    mean: float
    low: float | None
    high: float | None

    @classmethod
    def of(cls, a: FloatArray, b: FloatArray) -> Ratio:
        """Return the geometric mean of a_i / b_i, both `(n,)`, with its interval."""
        difference = Difference.of(np.log(a) - np.log(b))
        ends = [None if end is None else math.exp(end) for end in (difference.low, difference.high)]
        return cls(math.exp(difference.mean), *ends)
