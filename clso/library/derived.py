r"""Matrices that are not drawn: they follow from a layout of the residual stream.

Notation: d = `n_embd`; positions s <= t; a head of d / H coordinates. With a position coordinate
`step * s` and a query that is 1 at every position, a key of `rate * sqrt(d / H) / step` times that
coordinate makes attention weigh the past by its distance alone,

    a_s = exp(-rate (t - s)) / sum_{s' <= t} exp(-rate (t - s')).

It weighs the current position by nearly w = 1 - exp(-rate). A head whose value is `- 1 / w` times
coordinates that the residual stream holds already takes the current token's part out of them:
what remains is -1/w sum_{s < t} a_s e_s, the earlier tokens alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, Self

import numpy as np

from clso.errors import ConfigError
from clso.library.entry import FloatMatrix, LibraryEntry, Shape
from clso.library.residual_layout import ResidualLayout

__all__ = ["DerivedEntry", "HeadMerge", "RecencyAttention"]


class DerivedEntry(LibraryEntry):
    """An entry that is made from other things than random numbers."""

    @classmethod
    def draw(
        cls, rng: np.random.Generator, shape: Shape, gain: float, parameters: Mapping[str, Any]
    ) -> NoReturn:
        """See the base class."""
        raise ConfigError(
            f"matrices of the family {cls.family} are not drawn",
            remedy="turn gpt.spectral.enabled on to have them in the library",
        )


class RecencyAttention(DerivedEntry):
    """Queries, keys and values of heads that weigh the past by its distance.

    Arrays: `starts`, `widths` `(h,)` int32, the coordinates that each head reads; `rates` `(h,)`
    float64, its decay per position.

    Parameters: `n_head`; `step` and `loud`, from the layout.
    """

    family = "recency_attention"

    @classmethod
    def of(cls, layout: ResidualLayout, n_head: int, rates: Sequence[float]) -> Self:
        """Return heads for recent and topic; other heads stay idle.

        Args:
            layout: which coordinates they read.
            n_head: H.
            rates: the decay of the first and of the second head.

        Raises:
            ConfigError: fewer than two heads, or heads narrower than what they carry.
        """
        _check_heads(layout, n_head)
        widths = layout.widths[1:]
        return cls(
            (layout.n_embd, 3 * layout.n_embd),
            {
                "n_head": n_head,
                "step": layout.step,
                "loud": layout.loud,
                "rates": [float(rate) for rate in rates],
            },
            {
                "starts": np.array([layout.near, layout.near + layout.recent], dtype=np.int32),
                "widths": np.array(widths, dtype=np.int32),
                "rates": np.array(rates, dtype=np.float64),
            },
        )

    def dense(self) -> FloatMatrix:
        """Return W, `(d, 3 d)` float32."""
        n_embd = self.shape[0]
        head = n_embd // int(self.parameters["n_head"])
        weight = np.zeros(self.shape, dtype=np.float32)
        heads = zip(*(self.arrays[name] for name in ("starts", "widths", "rates")), strict=True)
        for number, (start, width, rate) in enumerate(heads):
            query = number * head
            weight[n_embd - 2 :, query] = np.array([0.5, -0.5]) / self.parameters["loud"]
            weight[n_embd - 3, n_embd + query] = rate * math.sqrt(head) / self.parameters["step"]
            index = np.arange(width)
            weight[start + index, 2 * n_embd + query + index] = 1.0 / math.expm1(-rate)
        return weight

    @property
    def flops(self) -> int:
        """A multiplication per coordinate and key, two and an addition per query."""
        return int(self.arrays["widths"].sum()) + 4 * len(self.arrays["widths"])

    def defect(self) -> str:
        """See the base class."""
        if self.arrays.keys() != {"starts", "widths", "rates"}:
            return "expected the arrays `starts`, `widths` and `rates`"
        if not {"n_head", "step", "loud"} <= self.parameters.keys():
            return "expected the parameters `n_head`, `step` and `loud`"
        starts, widths, rates = (self.arrays[name] for name in ("starts", "widths", "rates"))
        if not starts.shape == widths.shape == rates.shape or starts.ndim != 1:
            return "expected a start, a width and a rate per head"
        if not (len(rates) <= int(self.parameters["n_head"]) and np.all(rates > 0)):
            return "expected positive rates, no more than heads"
        if starts.min() < 0 or (starts + widths).max() > self.shape[0]:
            return "a head reads beyond the residual stream"
        return ""


class HeadMerge(DerivedEntry):
    """Puts what heads bring back to the coordinates that they read, balanced.

    Arrays: `starts`, `widths` `(h,)` int32, as in `RecencyAttention`.

    Parameters: `n_head`; `gain`, a factor, 1 where the current token's part is to vanish.
    """

    family = "head_merge"

    @classmethod
    def of(cls, layout: ResidualLayout, n_head: int, gain: float) -> Self:
        """Return the matrix for a layout's two heads.

        Raises:
            ConfigError: fewer than two heads, or heads narrower than what they carry.
        """
        _check_heads(layout, n_head)
        return cls(
            (layout.n_embd, layout.n_embd),
            {"n_head": n_head, "gain": gain},
            {
                "starts": np.array([layout.near, layout.near + layout.recent], dtype=np.int32),
                "widths": np.array(layout.widths[1:], dtype=np.int32),
            },
        )

    def dense(self) -> FloatMatrix:
        """Return W, `(d, d)` float32."""
        n_embd, gain = self.shape[0], self.parameters["gain"]
        head = n_embd // int(self.parameters["n_head"])
        weight = np.zeros(self.shape, dtype=np.float32)
        heads = zip(self.arrays["starts"], self.arrays["widths"], strict=True)
        for number, (start, width) in enumerate(heads):
            index = np.arange(width)
            weight[number * head + index, start + index] = gain
            weight[number * head : number * head + width, n_embd - 2 :] = -gain / 2
        return weight

    @property
    def flops(self) -> int:
        """A multiplication and a subtraction per coordinate."""
        return 2 * int(self.arrays["widths"].sum())

    def defect(self) -> str:
        """See the base class."""
        if self.arrays.keys() != {"starts", "widths"}:
            return "expected the arrays `starts` and `widths`"
        if not {"n_head", "gain"} <= self.parameters.keys():
            return "expected the parameters `n_head` and `gain`"
        starts, widths = self.arrays["starts"], self.arrays["widths"]
        if starts.shape != widths.shape or starts.ndim != 1:
            return "expected a start and a width per head"
        if starts.min() < 0 or (starts + widths).max() > self.shape[0]:
            return "a head writes beyond the residual stream"
        return ""


def _check_heads(layout: ResidualLayout, n_head: int) -> None:
    """Refuse heads that cannot carry a layout's recent and topic coordinates.

    Raises:
        ConfigError: fewer than two heads, or heads narrower than what they carry.
    """
    widest = max(layout.recent, layout.topic)
    if n_head < 2 or widest > layout.n_embd // n_head:
        raise ConfigError(
            f"{n_head} heads of {layout.n_embd // n_head} coordinates cannot carry "
            f"{layout.recent} recent and {layout.topic} topic coordinates",
            remedy="use two heads or more, and lower gpt.spectral.recent_width or topic_width",
        )
