"""Monarch matrices: two block-diagonal matrices with a permutation between them.

Notation: k = `blocks`; m = min(in, out); F_1 ... F_k `(in / k, m / k)`, G_1 ... G_k
`(m / k, out / k)`; P_n the permutation of n places that writes k rows of n / k as n / k rows of k.

    W = diag(F_1, ..., F_k) P_m diag(G_1, ..., G_k) P_out

is the rectangular form of Dao et al. 2022, "Monarch: Expressive Structured Matrices for Efficient
and Accurate Training", section 3.1 and its appendix. Every output depends on every input where
k^2 <= m.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from clso.library.entry import FloatMatrix, Shape, Work
from clso.library.factor_pair import Divisor, Factor, FactorPair, FactorShapes
from clso.library.linear_map import ChunkedMap, LinearMap

if TYPE_CHECKING:  # takes seconds: settings do without
    import torch

__all__ = ["Monarch"]


class Monarch(FactorPair):
    """A product of two block-diagonal matrices with Gaussian blocks and a permutation between.

    Arrays: `first` `(k, in / k, m / k)` float32, F; `second` `(k, m / k, out / k)` float32, G.

    Parameters: `blocks` k, at least 2, a divisor of in and out.
    """

    family = "monarch"
    divisor = "blocks"
    array_types = (("first", np.float32), ("second", np.float32))

    class Settings(FactorPair.Settings):
        """Two block-diagonal Gaussian matrices with a permutation between them.

        Attributes:
            blocks: on each diagonal; a divisor of `model.n_embd`. Every output depends on every
                input up to its square root.
        """

        family: Literal["monarch"] = "monarch"
        blocks: Divisor = 8

    @classmethod
    def factor_shapes(cls, shape: Shape, divisor: int) -> FactorShapes:
        """See the base class."""
        inner = min(shape) // divisor
        return (divisor, shape[0] // divisor, inner), (divisor, inner, shape[1] // divisor)

    @staticmethod
    def squared_norm(first: Factor, second: Factor) -> float:
        """See the base class."""
        return float(np.square(_product(first, second)).sum())

    def dense(self) -> FloatMatrix:
        """Return W, `(in, out)` float32."""
        factors = (self.arrays[name].astype(np.float64) for name, _ in self.array_types)
        return np.ascontiguousarray(_product(*factors), dtype=np.float32)

    @property
    def flops(self) -> int:
        """A multiplication and an addition per stored element."""
        return 2 * int(self.arrays["first"].size + self.arrays["second"].size)

    @property
    def work(self) -> Work:
        """The products of all blocks, and both permutations."""
        n_in, n_out = self.shape
        return Work(self.flops, 4 * (n_in + 4 * min(self.shape) + 3 * n_out))

    def structured(self, device: torch.device | str = "cpu") -> LinearMap:
        """See the base class."""
        import torch

        factors = (self.arrays[name] for name, _ in self.array_types)
        return _MonarchMap(self.shape, *(torch.tensor(factor, device=device) for factor in factors))


class _MonarchMap(ChunkedMap):
    def _into(self, y: torch.Tensor, x: torch.Tensor) -> None:
        first, second = self._tensors
        blocks, rows, inner = first.shape
        halfway = x.view(-1, blocks, rows).transpose(0, 1).bmm(first)  # (k, m, inner)
        shuffled = halfway.permute(1, 2, 0).reshape(-1, blocks, inner)
        product = shuffled.transpose(0, 1).bmm(second)  # (k, m, out / k)
        y.view(len(x), -1, blocks).copy_(product.permute(1, 2, 0))


def _product(first: Factor, second: Factor) -> Factor:
    """Return the dense product, `(in, out)`."""
    blocks, rows, inner = first.shape
    shuffled = np.zeros((blocks, rows, inner, blocks))
    index = np.arange(blocks)
    shuffled[index, :, :, index] = first
    pieces = shuffled.reshape(blocks * rows, blocks, inner)
    # without BLAS, whose order of summation may depend on the number of threads
    product = np.einsum("rkm,kmc->rck", pieces, second, optimize=False)
    return np.asarray(product.reshape(blocks * rows, -1))
