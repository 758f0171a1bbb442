r"""Matrices that are not drawn but follow from a layout of the residual stream.

Notation: d = `n_embd`; positions s <= t; a head of d / H coordinates. With a position coordinate
`step * s` and a query that is 1 at every position, a key of `rate * sqrt(d / H) / step` times that
coordinate makes attention weigh the past by its distance alone,

    a_s = exp(-rate (t - s)) / sum_{s' <= t} exp(-rate (t - s')).

The weight of the current position is nearly w = 1 - exp(-rate). A head whose value is `- 1 / w`
times coordinates e of the residual stream cancels the current token's part in them: what remains
is -1/w sum_{s < t} a_s e_s, the part of the earlier tokens.

With waves cos(f s) and sin(f s), f in some frequencies, as keys, and the same waves turned back by
o positions as queries, the product is sum_f cos(f (t - s - o)): a sharp maximum where t - s = o.
Such a head copies from o positions before. At the start of a block, where there is no such
position, it copies from some other.
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

__all__ = [
    "ContextAttention",
    "ContextMerge",
    "DerivedEntry",
    "HeadMerge",
    "RecencyAttention",
]

# Exponent per frequency by which attention prefers its distance: with 8 frequencies and 1,024
# positions no other distance gets more than e^-24 of the weight.
_SHARPNESS = 12.0


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

    @classmethod
    def _further_parameters(cls, layout: ResidualLayout, n_head: int) -> dict[str, Any]:
        """Return the parameters of further heads, if the heads can carry them."""
        del layout, n_head
        return {}

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
                **cls._further_parameters(layout, n_head),
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
        further = cls._further_parameters(layout, n_head)
        return cls(
            (layout.n_embd, layout.n_embd), {"n_head": n_head, "gain": gain, **further}, heads
        )

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


class ContextAttention(RecencyAttention):
    """Recency attention with a third head, which copies the code of the token before.

    Its layout has codes, and there are three heads or more.

    Parameters besides: `code`, `code_start`, `waves_start`, `wave_size` and `frequencies`, from the
    layout.
    """

    family = "context_attention"
    parameter_names = RecencyAttention.parameter_names | {
        "code",
        "code_start",
        "waves_start",
        "wave_size",
        "frequencies",
    }

    @classmethod
    def _further_parameters(cls, layout: ResidualLayout, n_head: int) -> dict[str, Any]:
        _check_code(layout, n_head)
        return {
            "code": layout.code,
            "code_start": layout.code_start,
            "waves_start": layout.waves_start,
            "wave_size": layout.wave_size,
            "frequencies": [float(frequency) for frequency in layout.frequencies],
        }

    def dense(self) -> FloatMatrix:
        """Return W, `(d, 3 d)` float32."""
        weight = super().dense()
        n_embd, head = self.shape[0], 2 * self._head_width
        cosines = self.parameters["waves_start"] + np.arange(len(self.parameters["frequencies"]))
        sines = cosines + len(cosines)
        first = head + np.arange(len(cosines))
        second = first + len(cosines)
        size = math.sqrt(_SHARPNESS * math.sqrt(self._head_width)) / self.parameters["wave_size"]
        frequencies = np.array(self.parameters["frequencies"])
        back, side = size * np.cos(frequencies), size * np.sin(frequencies)
        weight[cosines, first] = weight[sines, second] = back
        weight[sines, first], weight[cosines, second] = side, -side
        weight[cosines, n_embd + first] = weight[sines, n_embd + second] = size
        index = np.arange(self.parameters["code"])
        weight[self.parameters["code_start"] + index, 2 * n_embd + head + index] = 1.0
        return weight

    @property
    def flops(self) -> int:
        """Those of the other heads, and per wave four products and two sums, a product per key."""
        return super().flops + 8 * len(self.parameters["frequencies"])


class ContextMerge(HeadMerge):
    """Head merge with a third head, whose output becomes the coordinates of the previous code.

    Its layout has codes, and there are three heads or more.

    Parameters besides: `code` and `previous_start`, from the layout.
    """

    family = "context_merge"
    parameter_names = HeadMerge.parameter_names | {"code", "previous_start"}

    @classmethod
    def _further_parameters(cls, layout: ResidualLayout, n_head: int) -> dict[str, Any]:
        _check_code(layout, n_head)
        return {"code": layout.code, "previous_start": layout.code_start + layout.code}

    def dense(self) -> FloatMatrix:
        """Return W, `(d, d)` float32."""
        weight = super().dense()
        index = np.arange(self.parameters["code"])
        rows = 2 * self._head_width + index
        weight[rows, self.parameters["previous_start"] + index] = 1.0
        weight[rows, -2:] = -0.5
        return weight

    @property
    def flops(self) -> int:
        """Those of the other heads, and a subtraction per coordinate of a code."""
        return super().flops + int(self.parameters["code"])


def _check_code(layout: ResidualLayout, n_head: int) -> None:
    width = layout.n_embd // n_head
    if n_head < 3 or max(layout.code, 2 * layout.n_waves) > width:
        raise ConfigError(
            f"{n_head} heads of {width} coordinates cannot carry the code of a token, "
            f"{layout.code} coordinates, beside recent and topic",
            remedy="use three heads or more, and raise model.n_embd, or set "
            "gpt.spectral.memory.sets to 0",
        )
