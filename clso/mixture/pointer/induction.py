r"""Induction: what followed the last tokens when they stood together before.

Notation: n tokens must agree; lambda is the decay.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from clso.counting import FloatArray
from clso.mixture.arrays import stored_array
from clso.mixture.pointer.base import Pointer, flops_over_sources, views
from clso.mixture.pointer.names import InductionName
from clso.mixture.pointer.pairs import BlockView
from clso.mixture.text import FittingText
from clso.scoring import Int64Array

__all__ = ["LONGEST_MATCH", "Induction", "match_length"]

LONGEST_MATCH: Final = 3


class Induction(Pointer):
    r"""Points at what followed earlier occurrences of the last n tokens.

    .. math:: w(t, s) = \lambda^{t - s} \, [x_{s-n} .. x_{s-1} = x_{t-n+1} .. x_t]

    Args:
        settings: n and decay.
        unigram: what is predicted where nothing matches, `(V,)`.

    Source: Olsson et al. 2022, "In-context learning and induction heads" (the mechanism).
    """

    def __init__(self, settings: InductionName, unigram: FloatArray) -> None:
        super().__init__(settings, unigram)
        self.settings = settings

    def masses(self, view: BlockView) -> tuple[FloatArray, FloatArray]:
        """Return the weight on the target and the weight on all sources, each `(B, T)`."""
        pairs = view.repeats(self.settings.length)
        recency = self.settings.decay ** np.arange(view.shape[1])
        weights = recency[pairs.query - pairs.source]
        following = view.inputs.reshape(-1)[pairs.source + 1]
        right = following == view.targets.reshape(-1)[pairs.query]
        return view.sums(pairs, weights * right), view.sums(pairs, weights)

    def weights(self, history: Int64Array) -> FloatArray:
        """Return the weight of each source after the history's last token, `(t,)`."""
        length, last = self.settings.length, len(history) - 1
        weights = np.zeros(len(history))
        if last < length:
            return weights
        ends = np.arange(length - 1, last)
        same = np.ones(len(ends), dtype=np.bool_)
        for back in range(length):
            same &= history[ends - back] == history[last - back]
        matched = ends[same]
        weights[matched + 1] = self.settings.decay ** (last - matched)
        return weights

    @classmethod
    def parse(cls, text: str) -> InductionName:
        """Read the name; see `InductionName.parse`."""
        return InductionName.parse(text)

    @classmethod
    def from_text(cls, settings: InductionName, text: FittingText) -> Induction:
        """Count what the settings need in a text.

        Raises:
            ConfigError: a class map is missing or not `(V,)`.
        """
        return cls(settings, text.unigram.p)

    def flops_per_token(self, block_size: int) -> int:
        """Return n + 2 per source (n tokens compared, the weight, the sum), 1 for the quotient."""
        return flops_over_sources(self.settings.length + 2, block_size) + 1

    @classmethod
    def from_arrays(cls, spec: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Make the function again, equal to the last bit.

        Raises:
            ArtifactError: the unigram is missing or does not fit.
        """
        settings = cls.parse(spec["name"])
        return cls(settings, stored_array(arrays, "unigram", (spec["vocab_size"],)))


def match_length(inputs: Int64Array) -> npt.NDArray[np.int8]:
    """Return how many of the last tokens stood together before in the block, `(B, T)`, 0 to 3."""
    longest = np.zeros(inputs.shape, dtype=np.int8)
    for blocks, view in views(inputs, inputs):
        found = np.zeros(view.inputs.size, dtype=np.int8)
        for length in range(1, LONGEST_MATCH + 1):
            found[view.repeats(length).query] = length
        longest[blocks] = found.reshape(view.shape)
    return longest
