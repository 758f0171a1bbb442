r"""Randomised Hadamard matrices, tiled and cut to any shape.

Notation: short and long are the shorter and the longer of (in, out); n the smallest power of two
that is not below short; H the n x n Hadamard matrix of Sylvester, symmetric, :math:`H H = n I`;
D_t random diagonal signs; R_t n columns of the identity in random order. A wide matrix is

    W = s [D_1 H R_1, D_2 H R_2, ...]     the first short rows, the first long columns

with a tile per n columns, and a tall one the transpose of a wide one. Each tile is the subsampled
randomised Hadamard transform (Ailon and Chazelle 2009, "The Fast Johnson-Lindenstrauss
Transform"; Tropp 2011, "Improved Analysis of the Subsampled Randomized Hadamard Transform").
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy.linalg import hadamard

from clso.library.entry import FamilySettings, FloatMatrix, Shape
from clso.library.shuffled_tiles import ShuffledTiles

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


def _order(shape: Shape) -> int:
    """Return n."""
    return 1 << (min(shape) - 1).bit_length()
