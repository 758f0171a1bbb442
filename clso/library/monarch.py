"""Monarch matrices: two block-diagonal ones with a permutation between them.

Notation: k = `blocks`; m = min(in, out); F_1 ... F_k `(in / k, m / k)`, G_1 ... G_k
`(m / k, out / k)`; P_n the permutation of n places that writes k rows of n / k as n / k rows of k.

    W = diag(F_1, ..., F_k) P_m diag(G_1, ..., G_k) P_out

is the rectangular form of Dao et al. 2022, "Monarch: Expressive Structured Matrices for Efficient
and Accurate Training", section 3.1 and its appendix. Every output depends on every input where
k^2 <= m.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field

from clso.library.entry import (
    FamilySettings,
    FloatMatrix,
    LibraryEntry,
    Shape,
    check_divides,
    norm_scale,
    not_dividing,
)

__all__ = ["Monarch"]


class Monarch(LibraryEntry):
    """A product of two block-diagonal matrices with Gaussian blocks, shuffled between.

    Arrays: `first` `(k, in / k, m / k)` float32, F; `second` `(k, m / k, out / k)` float32, G.

    Parameters: `blocks` k, at least 2, a divisor of in and out.
    """

    family = "monarch"

    class Settings(FamilySettings):
        """Two block-diagonal Gaussian matrices with a permutation between them.

        Attributes:
            blocks: on each diagonal; a divisor of `model.n_embd`. Every output depends on every
                input up to its square root.
        """

        family: Literal["monarch"] = "monarch"
        blocks: Annotated[int, Field(ge=2, le=10**6)] = 8

        def misfit(self, n_embd: int) -> str:
            """See the base class."""
            return not_dividing("blocks", self.blocks, n_embd)

    @classmethod
    def draw(
        cls, rng: np.random.Generator, shape: Shape, gain: float, parameters: Mapping[str, Any]
    ) -> Self:
        """See the base class."""
        blocks = int(parameters["blocks"])
        check_divides(cls.family, shape, blocks=blocks)
        inner = min(shape) // blocks
        first = rng.standard_normal((blocks, shape[0] // blocks, inner))
        second = rng.standard_normal((blocks, inner, shape[1] // blocks))
        squared_norm = float(np.square(_product(first, second)).sum())
        # shared evenly, so that float32 rounds both alike
        scale = np.sqrt(norm_scale(squared_norm, shape, gain))
        return cls(
            shape,
            {"blocks": blocks, "gain": gain},
            {
                "first": (first * scale).astype(np.float32),
                "second": (second * scale).astype(np.float32),
            },
        )

    def dense(self) -> FloatMatrix:
        """Return W, `(in, out)` float32."""
        factors = (self.arrays[name].astype(np.float64) for name in ("first", "second"))
        return np.ascontiguousarray(_product(*factors), dtype=np.float32)

    @property
    def flops(self) -> int:
        """A multiplication and an addition per stored element."""
        return 2 * int(self.arrays["first"].size + self.arrays["second"].size)

    def defect(self) -> str:
        """See the base class."""
        if self.arrays.keys() != {"first", "second"}:
            return "expected the arrays `first` and `second`"
        first, second = self.arrays["first"], self.arrays["second"]
        if first.dtype != np.float32 or second.dtype != np.float32:
            return f"blocks are {first.dtype} and {second.dtype}, expected float32"
        if first.ndim != 3 or second.ndim != 3 or len(first) != len(second):
            return "expected as many first as second blocks"
        blocks, inner = len(first), first.shape[2]
        outer = (first.shape[1] * blocks, second.shape[2] * blocks)
        if outer != self.shape or inner != second.shape[1] or inner * blocks != min(outer):
            return f"blocks are {first.shape} and {second.shape}"
        return ""


def _product(
    first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return the dense product, `(in, out)`."""
    blocks, rows, inner = first.shape
    shuffled = np.zeros((blocks, rows, inner, blocks))
    index = np.arange(blocks)
    shuffled[index, :, :, index] = first
    pieces = shuffled.reshape(blocks * rows, blocks, inner)
    # numpy's own loops: a BLAS may add in another order when it has more threads
    product = np.einsum("rkm,kmc->rck", pieces, second, optimize=False)
    return np.asarray(product.reshape(blocks * rows, -1))
