"""The base of matrices whose elements are s, -s or 0: shuffled tiles with random signs.

Notation: short and long are the shorter and the longer of (in, out). A line is a column of a wide
matrix or a row of a tall one, so a matrix has max(in, out) lines. A tile is n lines, the order; the
last tile may be cut.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from clso.library.entry import ArrayTypes, FloatMatrix, LibraryEntry, Shape, norm_scale

__all__ = ["ShuffledTiles"]


class ShuffledTiles(LibraryEntry):
    """A matrix whose lines are numbered 0 to n - 1 in each tile, in random order.

    Arrays: the number of each line, `(long,)`, in the smallest unsigned type; `signs` uint8, a bit
    each, 1 for a minus; `scale` `()` float32, the absolute value s.
    """

    array_types: ClassVar[ArrayTypes]

    @classmethod
    @abstractmethod
    def sizes(cls, shape: Shape) -> tuple[int, int, int]:
        """Return n, how many signs there are, and how many elements that are not zero."""

    @classmethod
    def draw(
        cls, rng: np.random.Generator, shape: Shape, gain: float, parameters: Mapping[str, Any]
    ) -> Self:
        """See the base class."""
        order, n_signs, n_nonzero = cls.sizes(shape)
        tiles = [rng.permutation(order) for _ in range(-(-max(shape) // order))]
        numbers = np.concatenate(tiles)[: max(shape)].astype(np.min_scalar_type(order - 1))
        signs = np.packbits(rng.integers(0, 2, size=n_signs, dtype=np.uint8))
        scale = np.asarray(norm_scale(float(n_nonzero), shape, gain), dtype=np.float32)
        name = cls.array_types[0][0]
        return cls(shape, {"gain": gain}, {name: numbers, "signs": signs, "scale": scale})

    def _signs(self) -> FloatMatrix:
        """Return all signs, 1 and -1, `(n_signs,)` float32."""
        bits = np.unpackbits(self.arrays["signs"], count=self.sizes(self.shape)[1])
        return np.asarray(1.0 - 2.0 * bits.astype(np.float32), dtype=np.float32)

    def _lines(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return the line of each number in each tile, `(tiles n,)`, and what the last tile lacks.

        Numbers that the last tile does not have get line 0; their places come second.
        """
        order = self.sizes(self.shape)[0]
        numbers = self.arrays[self.array_types[0][0]].astype(np.int64)
        lines = np.arange(len(numbers))
        line_of = np.full(-(-len(numbers) // order) * order, -1)
        line_of[lines // order * order + numbers] = lines
        missing = np.flatnonzero(line_of < 0)
        line_of[missing] = 0
        return line_of, missing

    def defect(self) -> str:
        """See the base class."""
        order, n_signs, _ = self.sizes(self.shape)
        name = self.array_types[0][0]
        shapes = {name: (max(self.shape),), "signs": (-(-n_signs // 8),), "scale": ()}
        if problem := self.wrong_shapes(**shapes):
            return problem
        numbers = self.arrays[name]
        if numbers.max() >= order:
            return f"a line has the number {numbers.max()}, expected less than {order}"
        tile = np.arange(len(numbers)) // order
        if len(np.unique(tile * order + numbers)) < len(numbers):
            return "a tile has a number twice"
        return ""
