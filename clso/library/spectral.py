"""Token embeddings and readouts from co-occurrence, as library entries.

Notation: V tokens, d coordinates; E, U and the layout are those of `clso.library.cooccurrence`.
Only the m tokens that occur have rows to store, in float16.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
import numpy.typing as npt

from clso.library.cooccurrence import SpectralFactors
from clso.library.derived import DerivedEntry
from clso.library.entry import FloatMatrix
from clso.library.residual_layout import ResidualLayout
from clso.library.token_code import token_codes

__all__ = [
    "ReweightedEmbedding",
    "ReweightedReadout",
    "SpectralEmbedding",
    "SpectralReadout",
]


_USUALLY_RESERVED = 3  # coordinates after the topic


class _SpectralEntry(DerivedEntry):
    """The base of embedding and readout: rows of the tokens that occur, scaled in `dense`."""

    @property
    def flops(self) -> int:
        """A multiplication and an addition per stored element."""
        return 2 * int(self.arrays["vectors"].size)

    def _singular_values(self) -> npt.NDArray[np.float64]:
        squares = np.asarray(np.linalg.eigvalsh(self._gram())[::-1], dtype=np.float64)
        return np.sqrt(np.maximum(squares, 0.0))

    def _gram(self) -> npt.NDArray[np.float64]:
        """Return W^T W, `(d, d)`."""
        dense = self.dense()
        seen = np.zeros(len(dense), dtype=bool)
        seen[self.arrays["tokens"]] = True
        # the other rows are zero in most columns
        return _gram(dense[seen]) + _gram(dense[~seen])

    def defect(self) -> str:
        """See the base class."""
        tokens = self.arrays["tokens"]
        width = self.shape[1] - int(self.parameters.get("reserved", _USUALLY_RESERVED))
        shapes = {"tokens": (tokens.size,), "vectors": (tokens.size, width)}
        if problem := self.wrong_shapes(**shapes):
            return problem
        in_order = bool(np.all(np.diff(tokens) > 0))
        if not in_order or (len(tokens) and not 0 <= tokens[0] <= tokens[-1] < self.shape[0]):
            return f"token numbers are not ascending within 0 to {self.shape[0] - 1}"
        return ""


class SpectralEmbedding(_SpectralEntry):
    """wte: E with the rows of rare tokens shrunk, and the layout's last two coordinates.

    Row x is E_x r(x) / (r(x) + shrinkage), then 0 for the position, then sqrt(d / 2) and
    -sqrt(d / 2), each minus half the sum of the row.

    Arrays: `tokens` `(m,)` int32, ascending; `vectors` `(m, rank)` float16; `counts` `(m,)`
    float32, r.

    Parameters: `shrinkage`; `loud`, from the layout; `source`, the tokens that were counted; of a
    layout with codes `reserved`, `code`, `code_start` and `code_size` too.
    """

    family = "spectral_embedding"
    array_types = (("tokens", np.int32), ("vectors", np.float16), ("counts", np.float32))

    @classmethod
    def of(cls, factors: SpectralFactors, shrinkage: float) -> Self:
        """Return the embedding for one shrinkage, at least 0."""
        seen = factors.seen
        return cls(
            (factors.vocab_size, factors.layout.n_embd),
            {
                "shrinkage": shrinkage,
                "loud": factors.layout.loud,
                "source": factors.source,
                **_marks(factors.layout),
            },
            {
                "tokens": seen,
                "vectors": factors.stored[0],
                "counts": factors.counts[seen].astype(np.float32),
            },
        )

    def dense(self) -> FloatMatrix:
        """Return wte, `(V, d)` float32; every row sums to 0."""
        counts, loud = self.arrays["counts"], self.parameters["loud"]
        # the row of a token that is never a context is zero, whatever the divisor
        kept = counts / np.maximum(counts + np.float32(self.parameters["shrinkage"]), 1e-6)
        columns = self.arrays["vectors"].astype(np.float32) * kept[:, None]
        weight = np.zeros(self.shape, dtype=np.float32)
        weight[self.arrays["tokens"], : columns.shape[1]] = columns
        weight[:, -2:] = loud, -loud
        weight[self.arrays["tokens"], -2:] -= columns.sum(1)[:, None] / 2
        length = int(self.parameters.get("code", 0))
        if length:
            codes = token_codes(np.arange(len(weight)), length) * self.parameters["code_size"]
            start = int(self.parameters["code_start"])
            weight[:, start : start + length] = codes
            weight[:, -2:] -= codes.sum(1)[:, None] / 2
        return weight

    def defect(self) -> str:
        """See the base class."""
        if not {"shrinkage", "loud"} <= self.parameters.keys():
            return "expected the parameters `shrinkage` and `loud`"
        return super().defect() or self.wrong_shapes(counts=self.arrays["tokens"].shape)


class SpectralReadout(_SpectralEntry):
    """The head: U with a gain per part, and log p_1 in the last column.

    The constant 1 of the final LayerNorm multiplies the last column. The gains of recent and topic
    are negative, because `RecencyAttention` gives the earlier tokens a negative sign.

    Arrays: `tokens` `(m,)` int32, ascending; `vectors` `(m, rank)` float16; `gains` `(3,)`
    float32; `widths` `(3,)` int32; `log_prior` `(V,)` float32.

    Parameters: `gains`, of near, recent and topic; `source`, the tokens that were counted.
    """

    family = "spectral_readout"
    array_types = (
        ("tokens", np.int32),
        ("vectors", np.float16),
        ("gains", np.float32),
        ("widths", np.int32),
        ("log_prior", np.float32),
    )

    @classmethod
    def of(cls, factors: SpectralFactors, gains: Sequence[float]) -> Self:
        """Return the readout for three gains."""
        seen = factors.seen
        return cls(
            (factors.vocab_size, factors.layout.n_embd),
            {
                "gains": [float(gain) for gain in gains],
                "source": factors.source,
                **_marks(factors.layout),
            },
            {
                "tokens": seen,
                "vectors": factors.stored[1],
                "gains": np.array(gains, dtype=np.float32),
                "widths": np.array(factors.layout.widths, dtype=np.int32),
                "log_prior": factors.log_prior.astype(np.float32),
            },
        )

    def dense(self) -> FloatMatrix:
        """Return the head's matrix, `(V, d)` float32."""
        rows, row_of_token = self._rows()
        weight = rows[row_of_token]
        weight[:, -1] = self.arrays["log_prior"]
        return weight

    def distinct_rows(self) -> tuple[FloatMatrix, npt.NDArray[np.int64]] | None:
        """Return the rows of tokens that have vectors, and one for all others."""
        rows, row_of_token = self._rows()
        log_prior = self.arrays["log_prior"]
        others = log_prior[row_of_token == len(rows) - 1]
        if not len(others) or (others != others[0]).any():
            return None
        rows[:, -1] = np.append(log_prior[self.arrays["tokens"]], others[0])
        return rows, row_of_token

    def _gram(self) -> npt.NDArray[np.float64]:
        distinct = self.distinct_rows()
        if distinct is None:
            return super()._gram()
        rows, row_of_token = distinct
        counts = np.bincount(row_of_token, minlength=len(rows)).astype(np.float32)
        return _gram(rows * np.sqrt(counts)[:, None])

    def _rows(self) -> tuple[FloatMatrix, npt.NDArray[np.int64]]:
        """Return the rows of `tokens` and of all others, without prior, and each token's row."""
        tokens, vectors = self.arrays["tokens"], self._vectors()
        rows = np.zeros((len(tokens) + 1, self.shape[1]), dtype=np.float32)
        rows[:-1, : vectors.shape[1]] = vectors
        rows[-1, : vectors.shape[1]] = self._other_vector(vectors)
        row_of_token = np.full(self.shape[0], len(tokens))
        row_of_token[tokens] = np.arange(len(tokens))
        return rows, row_of_token

    def _other_vector(self, vectors: FloatMatrix) -> FloatMatrix:
        """Return the vector of a token that has none of its own, `(rank,)`."""
        return np.zeros(vectors.shape[1], dtype=np.float32)

    def _vectors(self) -> FloatMatrix:
        gains = np.repeat(self.arrays["gains"], self.arrays["widths"])
        return np.asarray(self.arrays["vectors"].astype(np.float32) * gains)

    def defect(self) -> str:
        """See the base class."""
        problem = super().defect()
        problem = problem or self.wrong_shapes(gains=(3,), widths=(3,), log_prior=self.shape[:1])
        width, expected = int(self.arrays["widths"].sum()), self.arrays["vectors"].shape[-1]
        if not problem and width != expected:
            problem = f"the sum of widths is {width}, expected {expected}"
        return problem


class ReweightedEmbedding(SpectralEmbedding):
    """wte with E of `clso.library.reweighted`."""

    family = "reweighted_embedding"


class ReweightedReadout(SpectralReadout):
    """The head with U of `clso.library.reweighted`.

    Parameters: `unseen`, the token whose row all tokens without a row have.
    """

    family = "reweighted_readout"

    @classmethod
    def of(cls, factors: SpectralFactors, gains: Sequence[float]) -> Self:
        """Return the readout for three gains."""
        entry = super().of(factors, gains)
        return cls(entry.shape, {**entry.parameters, "unseen": factors.unseen}, entry.arrays)

    def _other_vector(self, vectors: FloatMatrix) -> FloatMatrix:
        unseen = np.flatnonzero(self.arrays["tokens"] == self.parameters.get("unseen"))
        return vectors[unseen[0]] if len(unseen) else super()._other_vector(vectors)


def _gram(rows: FloatMatrix) -> npt.NDArray[np.float64]:
    """Return rows^T rows, in float32: in float64 it would dominate the time of a library."""
    columns = np.flatnonzero(rows.any(0))
    used = rows[:, columns]
    gram = np.zeros((rows.shape[1], rows.shape[1]))
    gram[np.ix_(columns, columns)] = used.T @ used
    return gram


def _marks(layout: ResidualLayout) -> dict[str, float]:
    """Return the parameters of entries whose layout has more than the usual three at its end."""
    if layout.reserved == _USUALLY_RESERVED:
        return {}
    if not layout.code:
        return {"reserved": layout.reserved}
    return {
        "reserved": layout.reserved,
        "code": layout.code,
        "code_start": layout.code_start,
        "code_size": layout.code_size,
    }
