"""The division of the residual stream of a spectral model into coordinates.

Notation: d = `n_embd`. From the first coordinate on:

    near      the prediction from the current token
    recent    the prediction from the last few tokens, written by the first head of attention
    topic     the prediction from a longer stretch of tokens, written by the second head
    position  one coordinate that grows with the position
    plus      + sqrt(d / 2) minus half the sum of the others, so that every row sums to 0
    minus     - sqrt(d / 2) minus the other half

Plus and minus are large beside the other coordinates e of a row. LayerNorm divides by the root of
the mean square, here sqrt(1 + (|e|^2 + (sum e)^2 / 2) / d), which is about 1: it is linear to first
order. Half the difference of plus and minus is the same in every row, and so gives a query that
does not depend on the token.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from clso.errors import ConfigError
from clso.library.entry import FloatMatrix

__all__ = ["ResidualLayout"]

_RESERVED = 3
# The largest position coordinate, as a share of sqrt(d).
_LARGEST_POSITION = 0.05


@dataclass(frozen=True, slots=True)
class ResidualLayout:
    """The division of d coordinates, for blocks of `block_size` positions.

    Args:
        recent: coordinates for the recent tokens.
        topic: coordinates for the topic; near gets the others.

    Raises:
        ConfigError: no coordinate is left for the current token.
    """

    n_embd: int
    recent: int
    topic: int
    block_size: int

    def __post_init__(self) -> None:
        if self.near < 1 or min(self.recent, self.topic) < 1:
            raise ConfigError(
                f"n_embd {self.n_embd} cannot be divided into {self.recent} recent and "
                f"{self.topic} topic coordinates, {_RESERVED} reserved ones, and some for the "
                "current token",
                remedy="lower gpt.spectral.recent_width or topic_width, or raise model.n_embd",
            )

    @property
    def near(self) -> int:
        """Coordinates for the current token."""
        return self.n_embd - self.recent - self.topic - _RESERVED

    @property
    def widths(self) -> tuple[int, int, int]:
        """Coordinates of near, recent and topic."""
        return self.near, self.recent, self.topic

    @property
    def loud(self) -> float:
        """The size of plus and minus, sqrt(d / 2)."""
        return math.sqrt(self.n_embd / 2)

    @property
    def step(self) -> float:
        """The growth of the position coordinate from one position to the next."""
        return _LARGEST_POSITION * math.sqrt(self.n_embd) / self.block_size

    def positions(self) -> FloatMatrix:
        """Return wpe, `(T, d)`: the position coordinate, balanced."""
        wpe = np.zeros((self.block_size, self.n_embd), dtype=np.float32)
        wpe[:, -3] = self.step * np.arange(self.block_size)
        wpe[:, -2:] = -wpe[:, -3, None] / 2
        return wpe
