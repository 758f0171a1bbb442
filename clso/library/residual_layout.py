"""Which coordinates of the residual stream a spectral model uses for what.

Notation: d = `n_embd`. From the first coordinate on:

    near      what the current token says of the next one
    recent    what the last few tokens say, brought there by a first head of attention
    topic     what a longer stretch of tokens says, brought there by a second head
    position  one coordinate that grows with the position
    plus      + sqrt(d / 2) minus half the sum of the others, so that every row sums to 0
    minus     - sqrt(d / 2) minus the other half

The last two are large beside the rest, so LayerNorm, which divides by the root of the mean
square, divides by about 1: by sqrt(1 + (|e|^2 + (sum e)^2 / 2) / d) for what else, e, stands in a
row. It is linear to first order, and half the difference of the two is the same in every row: a
query that does not depend on the token.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from clso.errors import ConfigError
from clso.library.entry import FloatMatrix

__all__ = ["ResidualLayout"]

_RESERVED = 3
# The position coordinate of the last position, as a share of sqrt(d).
_LARGEST_POSITION = 0.05


@dataclass(frozen=True, slots=True)
class ResidualLayout:
    """The division of d coordinates.

    Args:
        n_embd: d.
        recent: coordinates for the recent tokens.
        topic: coordinates for the topic; near gets what remains.
        block_size: T, positions.

    Raises:
        ConfigError: nothing remains for the current token.
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
    def rank(self) -> int:
        """Coordinates that carry co-occurrence: all but the reserved ones."""
        return self.n_embd - _RESERVED

    @property
    def widths(self) -> tuple[int, int, int]:
        """Coordinates of near, recent and topic."""
        return self.near, self.recent, self.topic

    @property
    def position(self) -> int:
        """The coordinate that grows with the position."""
        return self.n_embd - 3

    @property
    def loud(self) -> float:
        """The size of plus and minus, sqrt(d / 2)."""
        return math.sqrt(self.n_embd / 2)

    @property
    def step(self) -> float:
        """How much the position coordinate grows from one position to the next."""
        return _LARGEST_POSITION * math.sqrt(self.n_embd) / self.block_size

    def positions(self) -> FloatMatrix:
        """Return wpe, `(T, d)`: the position coordinate, balanced."""
        wpe = np.zeros((self.block_size, self.n_embd), dtype=np.float32)
        wpe[:, self.position] = self.step * np.arange(self.block_size)
        wpe[:, -2:] = -wpe[:, self.position, None] / 2
        return wpe
