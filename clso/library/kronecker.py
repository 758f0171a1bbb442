r"""Kronecker products of two Gaussian matrices.

Notation: b = `block`; A `(in / b, out / b)`; B `(b, b)`. :math:`W = A \otimes B` consists of
in/b x out/b blocks, block (i, j) being :math:`A_{ij} B`. With x as X, `(in / b, b)` row by row,
x W is A^T X B, row by row (Van Loan 2000, "The ubiquitous Kronecker product"). Its
singular values are all products of one of A's and one of B's.
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

__all__ = ["Kronecker"]


class Kronecker(LibraryEntry):
    """A Kronecker product, W = A (x) B.

    Arrays: `left` `(in / b, out / b)` float32, A; `right` `(b, b)` float32, B.

    Parameters: `block` b, at least 2, a divisor of in and out.
    """

    family = "kronecker"

    class Settings(FamilySettings):
        """Kronecker products A (x) B of Gaussian factors.

        Attributes:
            block: side of B; a divisor of `model.n_embd`.
        """

        family: Literal["kronecker"] = "kronecker"
        block: Annotated[int, Field(ge=2, le=10**6)] = 8

        def misfit(self, n_embd: int) -> str:
            """See the base class."""
            return not_dividing("block", self.block, n_embd)

    @classmethod
    def draw(
        cls, rng: np.random.Generator, shape: Shape, gain: float, parameters: Mapping[str, Any]
    ) -> Self:
        """See the base class."""
        block = int(parameters["block"])
        check_divides(cls.family, shape, block=block)
        left = rng.standard_normal((shape[0] // block, shape[1] // block))
        right = rng.standard_normal((block, block))
        squared_norm = float(np.square(left).sum() * np.square(right).sum())
        # shared evenly, so that float32 rounds both alike
        scale = np.sqrt(norm_scale(squared_norm, shape, gain))
        return cls(
            shape,
            {"block": block, "gain": gain},
            {
                "left": (left * scale).astype(np.float32),
                "right": (right * scale).astype(np.float32),
            },
        )

    def dense(self) -> FloatMatrix:
        """Return W, `(in, out)` float32."""
        return np.ascontiguousarray(np.kron(self.arrays["left"], self.arrays["right"]))

    @property
    def flops(self) -> int:
        """A multiplication and an addition per term of A^T X B, in the cheaper order.

        For factors that leave nothing to save (A or B of a single number), the plain product's.
        """
        block = int(self.arrays["right"].shape[0])
        down, across = (side // block for side in self.shape)
        terms = down * across * block + min(down, across) * block**2
        return 2 * min(terms, self.shape[0] * self.shape[1])

    def _singular_values(self) -> npt.NDArray[np.float64]:
        left, right = (
            np.linalg.svd(self.arrays[name].astype(np.float64), compute_uv=False)
            for name in ("left", "right")
        )
        return np.asarray(np.sort(np.outer(left, right).ravel())[::-1], dtype=np.float64)

    def defect(self) -> str:
        """See the base class."""
        if self.arrays.keys() != {"left", "right"}:
            return "expected the arrays `left` and `right`"
        left, right = self.arrays["left"], self.arrays["right"]
        if left.dtype != np.float32 or right.dtype != np.float32:
            return f"factors are {left.dtype} and {right.dtype}, expected float32"
        if left.ndim != 2 or right.ndim != 2 or right.shape[0] != right.shape[1]:
            return "expected two matrices, the right one square"
        if (left.shape[0] * len(right), left.shape[1] * len(right)) != self.shape:
            return f"factors are {left.shape} and {right.shape}"
        return ""
