"""The division of the residual stream of a spectral model into coordinates.

Notation: d = `n_embd`. From the first coordinate on:

    near      the prediction from the current token
    recent    the prediction from the last few tokens, written by the first head of attention
    topic     the prediction from a longer stretch of tokens, written by the second head
    code      which token this is (`clso.library.token_code`)
    previous  the code of the token before, written by the third head
    waves     cosine and sine of the position times some frequencies
    position  one coordinate that grows with the position
    plus      + sqrt(d / 2) minus half the sum of the others, so that every row sums to 0
    minus     - sqrt(d / 2) minus the other half

Plus and minus are large beside the other coordinates e of a row. LayerNorm divides by the root of
the mean square, here sqrt(1 + (|e|^2 + (sum e)^2 / 2) / d), which is about 1: it is linear to first
order. Half the difference of plus and minus is the same in every row, and so gives a query that
does not depend on the token.

Code, previous and waves are there for memories of token pairs only. Their length is the same in all
rows, a thousandth of d at most.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from clso.counting import FloatArray
from clso.errors import ConfigError
from clso.library.entry import FloatMatrix

__all__ = ["ResidualLayout"]

_RESERVED = 3
_WAVES = 8
_CODE_SHARE = _WAVE_SHARE = 0.001  # of the squared length of a row, d
# The largest position coordinate, as a share of sqrt(d).
_LARGEST_POSITION = 0.05


@dataclass(frozen=True, slots=True)
class ResidualLayout:
    """The division of d coordinates, for blocks of `block_size` positions.

    Args:
        recent: coordinates for the recent tokens.
        topic: coordinates for the topic; near gets the others.
        code: coordinates of a code; 0: no code, previous and waves.
        most_near: near gets no more; what is left, between topic and code, stays zero. `None`: near
            gets all.

    Raises:
        ConfigError: no coordinate is left for the current token.
    """

    n_embd: int
    recent: int
    topic: int
    block_size: int
    code: int = 0
    most_near: int | None = None

    def __post_init__(self) -> None:
        if self.near < 1 or min(self.recent, self.topic) < 1:
            raise ConfigError(
                f"n_embd {self.n_embd} cannot be divided into {self.recent} recent and "
                f"{self.topic} topic coordinates, {self._marks} reserved ones, and some for the "
                "current token",
                remedy="lower gpt.spectral.recent_width or topic_width, "
                + ("set gpt.spectral.memory.sets to 0, " if self.code else "")
                + "or raise model.n_embd",
            )

    @property
    def near(self) -> int:
        """Coordinates for the current token."""
        left = self.n_embd - self.recent - self.topic - self._marks
        return left if self.most_near is None else min(left, self.most_near)

    @property
    def n_waves(self) -> int:
        """Frequencies of the waves."""
        return _WAVES if self.code else 0

    @property
    def _marks(self) -> int:
        return _RESERVED + 2 * self.code + 2 * self.n_waves

    @property
    def reserved(self) -> int:
        """Coordinates after the topic."""
        return self.n_embd - sum(self.widths)

    @property
    def code_start(self) -> int:
        """The first coordinate of code; that of previous is `code` later."""
        return self.n_embd - self._marks

    @property
    def waves_start(self) -> int:
        """The first coordinate of the waves: all cosines, then all sines."""
        return self.code_start + 2 * self.code

    @property
    def code_size(self) -> float:
        """The size of each coordinate of code."""
        return math.sqrt(_CODE_SHARE * self.n_embd / self.code)

    @property
    def wave_size(self) -> float:
        """The size of a wave."""
        return math.sqrt(_WAVE_SHARE * self.n_embd / self.n_waves)

    @property
    def frequencies(self) -> FloatArray:
        """Radians per position, `(n_waves,)`: half a turn per block to almost that per step."""
        slowest, fastest = math.pi / self.block_size, 0.9 * math.pi
        return np.geomspace(min(slowest, fastest / 2), fastest, self.n_waves)

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
        """Return wpe, `(T, d)`: waves and the position coordinate, balanced."""
        wpe = np.zeros((self.block_size, self.n_embd), dtype=np.float32)
        wpe[:, -3] = self.step * np.arange(self.block_size)
        if self.n_waves:
            angles = np.arange(self.block_size)[:, None] * self.frequencies
            waves = self.wave_size * np.concatenate([np.cos(angles), np.sin(angles)], axis=1)
            wpe[:, self.waves_start : self.waves_start + 2 * self.n_waves] = waves
        wpe[:, -2:] = -wpe[:, :-2].sum(1, keepdims=True) / 2
        return wpe
