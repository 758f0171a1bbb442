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

from collections.abc import Mapping
from typing import Any, Literal, Self

import numpy as np
from scipy.linalg import hadamard

from clso.library.entry import FamilySettings, FloatMatrix, LibraryEntry, Shape, norm_scale
from clso.library.packing import draw_signs, narrow, packed_defect, unpack_signs

__all__ = ["Hadamard"]


class Hadamard(LibraryEntry):
    """A matrix of one absolute value s whose signs are those of shuffled Hadamard matrices.

    The rows of a wide matrix, or the columns of a tall one, are orthogonal wherever n divides
    long, whether or not short is a power of two.

    Arrays: `picked` `(long,)`, for each line of the longer side the column of H in its tile, in
    the smallest unsigned type; `signs` `(tiles * short / 8,)` uint8, a bit each, tile after tile;
    `scale` `()` float32, s.

    Parameters: none.
    """

    family = "hadamard"

    class Settings(FamilySettings):
        """Hadamard matrices with random signs and order."""

        family: Literal["hadamard"] = "hadamard"

    @classmethod
    def draw(
        cls, rng: np.random.Generator, shape: Shape, gain: float, parameters: Mapping[str, Any]
    ) -> Self:
        """See the base class."""
        order, tiles = _tiling(shape)
        picked = np.concatenate([rng.permutation(order) for _ in range(tiles)])[: max(shape)]
        return cls(
            shape,
            {"gain": gain},
            {
                "picked": narrow(picked, order),
                "signs": draw_signs(rng, tiles * min(shape)),
                "scale": np.asarray(
                    norm_scale(float(shape[0] * shape[1]), shape, gain), dtype=np.float32
                ),
            },
        )

    def dense(self) -> FloatMatrix:
        """Return W, `(in, out)` float32; every element is s or -s."""
        order, tiles = _tiling(self.shape)
        short, picked = min(self.shape), self.arrays["picked"]
        signs = unpack_signs(self.arrays["signs"], tiles * short).reshape(tiles, short)
        of_line = signs[np.arange(len(picked)) // order] * self.arrays["scale"]
        lines = hadamard(order, dtype=np.int8)[picked, :short] * of_line  # (long, short)
        return np.ascontiguousarray(lines.T if self.shape[0] <= self.shape[1] else lines)

    @property
    def flops(self) -> int:
        """Per tile n log2 n for the transform, then a sign and an addition per line of short.

        The fast Walsh-Hadamard transform has log2 n stages of n additions each (Fino and Algazi
        1976, "Unified Matrix Treatment of the Fast Walsh-Hadamard Transform").
        """
        order, tiles = _tiling(self.shape)
        return tiles * (order * (order.bit_length() - 1) + 2 * min(self.shape))

    def defect(self) -> str:
        """See the base class."""
        if self.arrays.keys() != {"picked", "signs", "scale"}:
            return "expected the arrays `picked`, `signs` and `scale`"
        picked, signs, scale = (self.arrays[name] for name in ("picked", "signs", "scale"))
        order, tiles = _tiling(self.shape)
        long = max(self.shape)
        if picked.shape != (long,) or scale.shape != () or scale.dtype != np.float32:
            return f"picked has the shape {picked.shape}, expected {long} and a float32 scale"
        problem = packed_defect(picked, order, signs, tiles * min(self.shape))
        if problem:
            return problem
        tile = np.arange(long) // order
        if len(np.unique(tile * order + picked)) < long:
            return "a tile has a column twice"
        return ""


def _tiling(shape: Shape) -> tuple[int, int]:
    """Return n and how many tiles it takes."""
    order = 1 << (min(shape) - 1).bit_length()
    return order, -(-max(shape) // order)
