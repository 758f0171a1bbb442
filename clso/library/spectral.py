"""Token embeddings and readouts from co-occurrence, as library entries.

Notation: V tokens, d coordinates; E, U and the layout are those of `clso.library.cooccurrence`.
Only the m tokens that occur have rows to store, in float16.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from clso.library.cooccurrence import SpectralFactors
from clso.library.derived import DerivedEntry
from clso.library.entry import FloatMatrix

__all__ = ["SpectralEmbedding", "SpectralReadout"]


class _SpectralEntry(DerivedEntry):
    """What embedding and readout share: rows of some tokens, scaled when densified."""

    @property
    def flops(self) -> int:
        """A multiplication and an addition per stored element."""
        return 2 * int(self.arrays["vectors"].size)

    def _singular_values(self) -> npt.NDArray[np.float64]:
        # in float32: the Gram matrix of 50,000 rows in float64 takes longer than all the rest
        dense = self.dense()
        gram = (dense.T @ dense).astype(np.float64)
        squares = np.asarray(np.linalg.eigvalsh(gram)[::-1], dtype=np.float64)
        return np.sqrt(np.maximum(squares, 0.0))

    def _problem(self, others: Sequence[str]) -> str:
        if self.arrays.keys() != {"tokens", "vectors", *others}:
            return f"expected the arrays {', '.join(sorted({'tokens', 'vectors', *others}))}"
        tokens, vectors = self.arrays["tokens"], self.arrays["vectors"]
        if tokens.dtype != np.int32 or vectors.dtype != np.float16 or vectors.ndim != 2:
            return "expected int32 tokens and a float16 matrix of vectors"
        if tokens.shape != vectors.shape[:1] or vectors.shape[1] + 3 != self.shape[1]:
            return f"vectors are {vectors.shape}, expected {tokens.shape} x {self.shape[1] - 3}"
        in_order = bool(np.all(np.diff(tokens) > 0))
        if not in_order or (len(tokens) and not 0 <= tokens[0] <= tokens[-1] < self.shape[0]):
            return f"token numbers are not ascending within 0 to {self.shape[0] - 1}"
        return ""


class SpectralEmbedding(_SpectralEntry):
    """wte: E with the rows of rare tokens shrunk, and the layout's last two coordinates.

    Row x is E_x r(x) / (r(x) + shrinkage), then 0 for the position, and plus and minus
    sqrt(d / 2), each less half the row's sum.

    Arrays: `tokens` `(m,)` int32, ascending; `vectors` `(m, rank)` float16; `counts` `(m,)`
    float32, r.

    Parameters: `shrinkage`; `loud`, from the layout; `source`, the tokens that were counted.
    """

    family = "spectral_embedding"

    @classmethod
    def of(cls, factors: SpectralFactors, shrinkage: float) -> Self:
        """Return the embedding for one shrinkage, at least 0."""
        seen = factors.seen
        return cls(
            (factors.vocab_size, factors.layout.n_embd),
            {"shrinkage": shrinkage, "loud": factors.layout.loud, "source": factors.source},
            {
                "tokens": seen,
                "vectors": factors.stored[0],
                "counts": factors.counts[seen].astype(np.float32),
            },
        )

    def _columns(self) -> FloatMatrix:
        counts = self.arrays["counts"]
        # a token that is never a context has a row of zeros, whatever it is divided by
        kept = counts / np.maximum(counts + np.float32(self.parameters["shrinkage"]), 1e-6)
        return np.asarray(self.arrays["vectors"].astype(np.float32) * kept[:, None])

    def dense(self) -> FloatMatrix:
        """Return wte, `(V, d)` float32; every row sums to 0."""
        loud, columns = self.parameters["loud"], self._columns()
        weight = np.zeros(self.shape, dtype=np.float32)
        weight[self.arrays["tokens"], : columns.shape[1]] = columns
        weight[:, -2:] = loud, -loud
        weight[self.arrays["tokens"], -2:] -= columns.sum(1)[:, None] / 2
        return weight

    def defect(self) -> str:
        """See the base class."""
        if not {"shrinkage", "loud"} <= self.parameters.keys():
            return "expected the parameters `shrinkage` and `loud`"
        problem = self._problem(["counts"])
        if not problem and self.arrays["counts"].shape != self.arrays["tokens"].shape:
            problem = "expected a count per token"
        return problem


class SpectralReadout(_SpectralEntry):
    """The head: U with a gain per part, and log p_1 in the last column.

    The last column is multiplied by the final LayerNorm's constant 1. The gains of recent and
    topic are negative: `RecencyAttention` brings the earlier tokens with a minus.

    Arrays: `tokens` `(m,)` int32, ascending; `vectors` `(m, rank)` float16; `gains` `(3,)`
    float32; `widths` `(3,)` int32; `log_prior` `(V,)` float32.

    Parameters: `gains`, of near, recent and topic; `source`, the tokens that were counted.
    """

    family = "spectral_readout"

    @classmethod
    def of(cls, factors: SpectralFactors, gains: Sequence[float]) -> Self:
        """Return the readout for three gains."""
        seen = factors.seen
        parameters: dict[str, Any] = {
            "gains": [float(gain) for gain in gains],
            "source": factors.source,
        }
        return cls(
            (factors.vocab_size, factors.layout.n_embd),
            parameters,
            {
                "tokens": seen,
                "vectors": factors.stored[1],
                "gains": np.array(gains, dtype=np.float32),
                "widths": np.array(factors.layout.widths, dtype=np.int32),
                "log_prior": factors.log_prior.astype(np.float32),
            },
        )

    def _columns(self) -> FloatMatrix:
        gains = np.repeat(self.arrays["gains"], self.arrays["widths"])
        return np.asarray(self.arrays["vectors"].astype(np.float32) * gains)

    def dense(self) -> FloatMatrix:
        """Return the head's matrix, `(V, d)` float32."""
        columns = self._columns()
        weight = np.zeros(self.shape, dtype=np.float32)
        weight[self.arrays["tokens"], : columns.shape[1]] = columns
        weight[:, -1] = self.arrays["log_prior"]
        return weight

    def defect(self) -> str:
        """See the base class."""
        problem = self._problem(["gains", "widths", "log_prior"])
        if problem:
            return problem
        gains, widths = self.arrays["gains"], self.arrays["widths"]
        if gains.shape != (3,) or widths.shape != (3,):
            return "expected three gains and three widths"
        if int(widths.sum()) != self.arrays["vectors"].shape[1]:
            return f"widths {widths.tolist()} are not those of the vectors"
        if self.arrays["log_prior"].shape != (self.shape[0],):
            return "expected a log-probability per token"
        return ""
