r"""Matrices that are not drawn but follow from a layout of the residual stream.

Notation: d = `n_embd`; positions s <= t; a head of d / H coordinates. With a position coordinate
`step * s` and a query that is 1 at every position, a key of `rate * sqrt(d / H) / step` times that
coordinate makes attention weigh the past by its distance alone,

    a_s = exp(-rate (t - s)) / sum_{s' <= t} exp(-rate (t - s')).

The weight of the current position is nearly w = 1 - exp(-rate). A head whose value is `- 1 / w`
times coordinates e of the residual stream cancels the current token's part in them: what remains
is -1/w sum_{s < t} a_s e_s, the part of the earlier tokens.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NoReturn, Self

import numpy as np
import numpy.typing as npt

from clso.errors import ConfigError
from clso.library.entry import FloatMatrix, LibraryEntry, Shape
from clso.library.residual_layout import ResidualLayout

__all__ = ["DerivedEntry", "HeadMerge", "RecencyAttention"]


class DerivedEntry(LibraryEntry):
    """An entry that is computed and not drawn."""

    @classmethod
    def draw(
        cls, rng: np.random.Generator, shape: Shape, gain: float, parameters: Mapping[str, Any]
    ) -> NoReturn:
        """See the base class."""
        raise ConfigError(
            f"matrices of the family {cls.family} are not drawn",
            remedy="turn gpt.spectral.enabled on to have them in the library",
        )


class _HeadEntry(DerivedEntry):
    """A matrix of two heads: the first carries the recent tokens, the second the topic.

    Arrays: `starts`, `widths` `(h,)` int32, the coordinates of each head. Parameters: `n_head`.
    """

    parameter_names: ClassVar[frozenset[str]]

    @staticmethod
    def _heads(layout: ResidualLayout, n_head: int) -> dict[str, npt.NDArray[Any]]:
        """Return the arrays `starts` and `widths` for a layout, if the heads can carry it."""
        width = layout.n_embd // n_head
        if n_head < 2 or max(layout.recent, layout.topic) > width:
            raise ConfigError(
                f"{n_head} heads of {width} coordinates cannot carry "
                f"{layout.recent} recent and {layout.topic} topic coordinates",
                remedy="use two heads or more, and lower gpt.spectral.recent_width or topic_width",
            )
        return {
            "starts": np.array([layout.near, layout.near + layout.recent], dtype=np.int32),
            "widths": np.array(layout.widths[1:], dtype=np.int32),
        }

    @property
    def _head_width(self) -> int:
        return self.shape[0] // int(self.parameters["n_head"])

    def defect(self) -> str:
        """See the base class."""
        if not self.parameters.keys() >= self.parameter_names:
            return f"expected the parameters {', '.join(sorted(self.parameter_names))}"
        shapes = {array.shape for array in self.arrays.values()}
        if len(shapes) > 1 or len(shapes.pop()) != 1:
            return f"expected one element of {', '.join(self.arrays)} per head"
        starts, widths = self.arrays["starts"], self.arrays["widths"]
        if starts.min() < 0 or (starts + widths).max() > self.shape[0]:
            return "a head is beyond the residual stream"
        return ""


class RecencyAttention(_HeadEntry):
    """Queries, keys and values of heads that weigh the past by its distance.

    Arrays: `starts`, `widths` `(h,)` int32, the coordinates that each head reads; `rates` `(h,)`
    float64, its decay per position.

    Parameters: `n_head`; `step` and `loud`, from the layout.
    """

    family = "recency_attention"
    array_types = (("starts", np.int32), ("widths", np.int32), ("rates", np.float64))
    parameter_names = frozenset({"n_head", "step", "loud"})

    @classmethod
    def of(cls, layout: ResidualLayout, n_head: int, rates: Sequence[float]) -> Self:
        """Return the heads for recent and topic, each with its decay; other heads are zero.

        Raises:
            ConfigError: fewer than two heads, or heads narrower than what they carry.
        """
        heads = cls._heads(layout, n_head)
        return cls(
            (layout.n_embd, 3 * layout.n_embd),
            {
                "n_head": n_head,
                "step": layout.step,
                "loud": layout.loud,
                "rates": [float(rate) for rate in rates],
            },
            {**heads, "rates": np.array(rates, dtype=np.float64)},
        )

    def dense(self) -> FloatMatrix:
        """Return W, `(d, 3 d)` float32."""
        n_embd, head_width = self.shape[0], self._head_width
        weight = np.zeros(self.shape, dtype=np.float32)
        heads = zip(*(self.arrays[name] for name in ("starts", "widths", "rates")), strict=True)
        for head, (start, width, rate) in enumerate(heads):
            query = head * head_width
            key_scale = rate * math.sqrt(head_width) / self.parameters["step"]
            weight[n_embd - 2 :, query] = np.array([0.5, -0.5]) / self.parameters["loud"]
            weight[n_embd - 3, n_embd + query] = key_scale
            index = np.arange(width)
            weight[start + index, 2 * n_embd + query + index] = 1.0 / math.expm1(-rate)
        return weight

    @property
    def flops(self) -> int:
        """A multiplication per coordinate and key, two and an addition per query."""
        return int(self.arrays["widths"].sum()) + 4 * len(self.arrays["widths"])

    def defect(self) -> str:
        """See the base class."""
        problem, rates = super().defect(), self.arrays["rates"]
        if not problem and not (len(rates) <= self.parameters["n_head"] and np.all(rates > 0)):
            problem = "expected positive rates, no more than heads"
        return problem


class HeadMerge(_HeadEntry):
    """Adds the outputs of the heads to the coordinates that they read, balanced.

    Arrays: `starts`, `widths` `(h,)` int32, as in `RecencyAttention`.

    Parameters: `n_head`; `gain`, a factor; at 1 the part of the current token vanishes.
    """

    family = "head_merge"
    array_types = (("starts", np.int32), ("widths", np.int32))
    parameter_names = frozenset({"n_head", "gain"})

    @classmethod
    def of(cls, layout: ResidualLayout, n_head: int, gain: float) -> Self:
        """Return the matrix for the two heads of a layout.

        Raises:
            ConfigError: fewer than two heads, or heads narrower than what they carry.
        """
        heads = cls._heads(layout, n_head)
        return cls((layout.n_embd, layout.n_embd), {"n_head": n_head, "gain": gain}, heads)

    def dense(self) -> FloatMatrix:
        """Return W, `(d, d)` float32."""
        n_embd, gain, head_width = self.shape[0], self.parameters["gain"], self._head_width
        weight = np.zeros(self.shape, dtype=np.float32)
        heads = zip(self.arrays["starts"], self.arrays["widths"], strict=True)
        for head, (start, width) in enumerate(heads):
            rows = head * head_width + np.arange(width)
            weight[rows, start + np.arange(width)] = gain
            weight[rows, n_embd - 2 :] = -gain / 2
        return weight

    @property
    def flops(self) -> int:
        """A multiplication and a subtraction per coordinate."""
        return 2 * int(self.arrays["widths"].sum())
