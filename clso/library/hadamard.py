r"""Randomised Hadamard matrices, tiled and cut to any shape.

Notation: short and long are the shorter and the longer of (in, out); n the smallest power of two
that is not below short; H the n x n Hadamard matrix of Sylvester, symmetric, :math:`H H = n I`;
D_t random diagonal signs; R_t n columns of the identity in random order. A wide matrix is

    W = s [D_1 H R_1, D_2 H R_2, ...]     the first short rows, the first long columns

with a tile per n columns, and a tall one the transpose of a wide one. Each tile is the subsampled
randomised Hadamard transform (Ailon and Chazelle 2009, "The Fast Johnson-Lindenstrauss
Transform"; Tropp 2011, "Improved Analysis of the Subsampled Randomized Hadamard Transform").

x H is the fast Walsh-Hadamard transform. It is computed in two stages of radix about sqrt(n), as
H = H_a (x) H_b with n = a b: with x as X, `(a, b)` row by row, x H is H_a X H_b. Log2 n stages of
radix 2 take fewer operations, but each reads and writes everything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy.linalg import hadamard

from clso.library.entry import FamilySettings, FloatMatrix, Shape, Work
from clso.library.linear_map import ChunkedMap, LinearMap
from clso.library.shuffled_tiles import ShuffledTiles

if TYPE_CHECKING:  # takes seconds: settings do without
    import torch

__all__ = ["Hadamard"]


class Hadamard(ShuffledTiles):
    """A matrix of elements s and -s, with the signs of shuffled Hadamard matrices.

    The rows of a wide matrix, or the columns of a tall one, are orthogonal wherever n divides
    long, whether or not short is a power of two.

    Arrays: `picked` `(long,)`, the column of H of each line; `signs` of `tiles * short` bits, tile
    after tile; `scale` `()` float32, s.
    """

    family = "hadamard"
    array_types = (("picked", np.unsignedinteger), ("signs", np.uint8), ("scale", np.float32))

    class Settings(FamilySettings):
        """Hadamard matrices with random signs and order."""

        family: Literal["hadamard"] = "hadamard"

    @classmethod
    def sizes(cls, shape: Shape) -> tuple[int, int, int]:
        """See the base class."""
        order = _order(shape)
        return order, -(-max(shape) // order) * min(shape), shape[0] * shape[1]

    def dense(self) -> FloatMatrix:
        """Return W, `(in, out)` float32; every element is s or -s."""
        order, short, picked = _order(self.shape), min(self.shape), self.arrays["picked"]
        signs = self._signs().reshape(-1, short)  # (tiles, short)
        scaled = signs[np.arange(len(picked)) // order] * self.arrays["scale"]
        lines = hadamard(order, dtype=np.int8)[picked, :short] * scaled  # (long, short)
        return np.ascontiguousarray(lines.T if self.shape[0] <= self.shape[1] else lines)

    @property
    def flops(self) -> int:
        """Per tile n log2 n for the transform, then a sign and an addition per line of short.

        The fast Walsh-Hadamard transform has log2 n stages of n additions each (Fino and Algazi
        1976, "Unified Matrix Treatment of the Fast Walsh-Hadamard Transform").
        """
        order = _order(self.shape)
        tiles = -(-max(self.shape) // order)
        return tiles * (order * (order.bit_length() - 1) + 2 * min(self.shape))

    @property
    def work(self) -> Work:
        """Per tile two stages of products with H_a and H_b, signs, and the order of lines."""
        order, short = _order(self.shape), min(self.shape)
        tiles, radices = -(-max(self.shape) // order), sum(_radices(order))
        moved = 2 * short + 2 * order * (order > short) + 6 * order
        return Work(tiles * (2 * order * radices + 2 * short), 4 * tiles * moved)

    def structured(self, device: torch.device | str = "cpu") -> LinearMap:
        """See the base class."""
        import torch

        order, is_wide = _order(self.shape), self.shape[0] <= self.shape[1]
        signs = self._signs().reshape(-1, min(self.shape)) * self.arrays["scale"]
        if is_wide:
            picked = self.arrays["picked"].astype(np.int64)
            places = picked + np.arange(len(picked)) // order * order
            missing = np.zeros(0, dtype=np.int64)
        else:
            places, missing = self._lines()
        stages = [hadamard(radix).astype(np.float32) for radix in _radices(order)]
        arrays = (*stages, signs, places, missing)
        kind = _WideMap if is_wide else _TallMap
        return kind(self.shape, *(torch.tensor(array, device=device) for array in arrays))


class _WideMap(ChunkedMap):
    def _into(self, y: torch.Tensor, x: torch.Tensor) -> None:
        import torch

        left, right, signs, places, _ = self._tensors
        order = len(left) * len(right)
        tiles = x[:, None] * signs
        if x.shape[1] < order:
            tiles = torch.nn.functional.pad(tiles, (0, order - x.shape[1]))
        torch.index_select(_transformed(tiles, left, right).view(len(x), -1), 1, places, out=y)


class _TallMap(ChunkedMap):
    def _into(self, y: torch.Tensor, x: torch.Tensor) -> None:
        import torch

        left, right, signs, places, missing = self._tensors
        tiles = x.index_select(1, places)
        if len(missing):
            tiles.index_fill_(1, missing, 0.0)
        sums = _transformed(tiles, left, right).view(len(x), len(signs), -1)[:, :, : y.shape[1]]
        torch.sum(sums * signs, 1, out=y)


def _transformed(tiles: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Return x H for each n elements x, `(k, a, b)`."""
    rows = tiles.view(-1, len(right)) @ right
    return left @ rows.view(-1, len(left), len(right))


def _radices(order: int) -> tuple[int, int]:
    """Return a and b, powers of two, a >= b."""
    right = 1 << (order.bit_length() - 1) // 2
    return order // right, right


def _order(shape: Shape) -> int:
    """Return n."""
    return 1 << (min(shape) - 1).bit_length()
