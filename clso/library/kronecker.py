r"""Kronecker products of two Gaussian matrices.

Notation: b = `block`; A `(in / b, out / b)`; B `(b, b)`. :math:`W = A \otimes B` consists of
in/b x out/b blocks, block (i, j) being :math:`A_{ij} B`. With x as X, `(in / b, b)` row by row,
x W is A^T X B, row by row (Van Loan 2000, "The ubiquitous Kronecker product"). The singular values
of W are all products of one of A's and one of B's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from clso.library.entry import FloatMatrix, Shape, Work
from clso.library.factor_pair import Divisor, Factor, FactorPair, FactorShapes
from clso.library.linear_map import ChunkedMap, LinearMap

if TYPE_CHECKING:  # takes seconds: settings do without
    import torch

__all__ = ["Kronecker"]


class Kronecker(FactorPair):
    """A Kronecker product, W = A (x) B.

    Arrays: `left` `(in / b, out / b)` float32, A; `right` `(b, b)` float32, B.

    Parameters: `block` b, at least 2, a divisor of in and out.
    """

    family = "kronecker"
    divisor = "block"
    array_types = (("left", np.float32), ("right", np.float32))

    class Settings(FactorPair.Settings):
        """Kronecker products A (x) B of Gaussian factors.

        Attributes:
            block: side of B; a divisor of `model.n_embd`.
        """

        family: Literal["kronecker"] = "kronecker"
        block: Divisor = 8

    @classmethod
    def factor_shapes(cls, shape: Shape, divisor: int) -> FactorShapes:
        """See the base class."""
        return (shape[0] // divisor, shape[1] // divisor), (divisor, divisor)

    @staticmethod
    def squared_norm(first: Factor, second: Factor) -> float:
        """See the base class."""
        return float(np.square(first).sum() * np.square(second).sum())

    def dense(self) -> FloatMatrix:
        """Return W, `(in, out)` float32."""
        return np.ascontiguousarray(np.kron(self.arrays["left"], self.arrays["right"]))

    @property
    def flops(self) -> int:
        """A multiplication and an addition per term of A^T X B, in the cheaper order.

        Where the factors save nothing (A or B is a single number), those of the plain product.
        """
        (rows, columns), (block, _) = self.arrays["left"].shape, self.arrays["right"].shape
        terms = rows * columns * block + min(rows, columns) * block**2
        return 2 * int(min(terms, self.shape[0] * self.shape[1]))

    @property
    def work(self) -> Work:
        """Two products in the cheaper order, and a transposition before and after that with A."""
        (rows, columns), (block, _) = self.arrays["left"].shape, self.arrays["right"].shape
        flops = 2 * (rows * columns * block + min(rows, columns) * block**2)
        moved = 3 * sum(self.shape) + 2 * min(self.shape)
        return Work(int(flops), 4 * moved)

    def structured(self, device: torch.device | str = "cpu") -> LinearMap:
        """See the base class."""
        import torch

        factors = (self.arrays[name] for name, _ in self.array_types)
        return _KroneckerMap(
            self.shape, *(torch.tensor(factor, device=device) for factor in factors)
        )

    def _singular_values(self) -> npt.NDArray[np.float64]:
        left, right = (
            np.linalg.svd(self.arrays[name].astype(np.float64), compute_uv=False)
            for name, _ in self.array_types
        )
        return np.asarray(np.sort(np.outer(left, right).ravel())[::-1], dtype=np.float64)


class _KroneckerMap(ChunkedMap):
    def _into(self, y: torch.Tensor, x: torch.Tensor) -> None:
        import torch

        left, right = self._tensors
        (rows, columns), block = left.shape, len(right)
        if rows <= columns:
            x = x.reshape(-1, block) @ right
        turned = x.reshape(-1, rows, block).transpose(1, 2).reshape(-1, rows) @ left
        product = turned.view(-1, block, columns).transpose(1, 2)
        if rows <= columns:
            y.view(-1, columns, block).copy_(product)
        else:
            torch.mm(product.reshape(-1, block), right, out=y.view(-1, block))
