r"""Induction: the continuation of an earlier occurrence of the last tokens.

Notation: n is the number of last tokens that must be equal, lambda the decay.
"""

from __future__ import annotations

import numpy as np

from clso.counting import FloatArray
from clso.mixture.pointer.base import Pointer
from clso.mixture.pointer.names import InductionName
from clso.mixture.pointer.pairs import BlockView
from clso.scoring import Int64Array

__all__ = ["Induction"]


class Induction(Pointer):
    r"""Points at what followed earlier occurrences of the last n tokens.

    .. math:: w(t, s) = \lambda^{t - s} \, [x_{s-n} .. x_{s-1} = x_{t-n+1} .. x_t]

    Where the last n tokens are new in the block, the unigram predicts, `(V,)`.

    Source: Olsson et al. 2022, "In-context learning and induction heads" (the mechanism).
    """

    settings: InductionName
    parse = staticmethod(InductionName.parse)

    @property
    def flops_per_source(self) -> int:
        """N comparisons of tokens, the weight and the sum."""
        return self.settings.length + 2

    def masses(self, view: BlockView) -> tuple[FloatArray, FloatArray]:
        """Return the summed weight of the sources with the target, and of all; each `(B, T)`."""
        pairs = view.repeats(self.settings.length)
        recency = self.settings.decay ** np.arange(view.shape[1])
        weights = recency[pairs.query - pairs.source]
        continuation = view.inputs.reshape(-1)[pairs.source + 1]
        is_target = continuation == view.targets.reshape(-1)[pairs.query]
        return view.sums(pairs, weights * is_target), view.sums(pairs, weights)

    def weights(self, history: Int64Array, start: int) -> FloatArray:
        """Return the weight of each source; see `Pointer.weights`."""
        length, stop = self.settings.length, len(history)
        weights = np.zeros((stop - start, stop))
        if stop <= length:
            return weights
        queries = np.arange(max(start, length), stop)
        ends = np.arange(length - 1, stop - 1)
        equal = ends < queries[:, None]
        for back in range(length):
            equal &= history[queries - back, None] == history[ends - back]
        query, end = np.nonzero(equal)
        query, end = query + queries[0], end + length - 1
        weights[query - start, end + 1] = self.settings.decay ** (query - end)
        return weights
