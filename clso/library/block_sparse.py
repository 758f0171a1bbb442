"""Matrices of dense Gaussian blocks on a random subset of a block grid."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from clso.library.entry import FamilySettings, FloatMatrix, LibraryEntry, Shape, norm_scale
from clso.section import Count, Share

__all__ = ["BlockSparse"]


class BlockSparse(LibraryEntry):
    """A matrix that is zero outside some blocks of a grid of `block` x `block` squares.

    The grid starts at the upper left corner, so that blocks at the right and lower edges are
    smaller where `block` does not divide the shape.

    Arrays: `blocks` `(k,)` int32, the numbers of the kept blocks in row-major order of the grid,
    ascending; `values` `(nnz,)` float32, their elements, block after block, each by rows.

    Parameters: `block`, side of a square, at least 1; `density` in (0, 1], share of the blocks
    kept, rounded to a whole number of blocks and at least one.
    """

    family = "block_sparse"
    array_types = (("blocks", np.int32), ("values", np.float32))

    class Settings(FamilySettings):
        """Dense Gaussian blocks on a random subset of a block grid."""

        family: Literal["block_sparse"] = "block_sparse"
        block: Count = 16
        density: Share = 0.25

    @classmethod
    def draw(
        cls, rng: np.random.Generator, shape: Shape, gain: float, parameters: Mapping[str, Any]
    ) -> Self:
        """See the base class."""
        block, density = parameters["block"], parameters["density"]
        n_blocks = -(-shape[0] // block) * -(-shape[1] // block)
        n_kept = max(1, round(density * n_blocks))
        blocks = np.sort(rng.choice(n_blocks, size=n_kept, replace=False)).astype(np.int32)
        unit = rng.standard_normal(int(_inside(blocks, shape, block).sum()))
        values = unit * norm_scale(float(unit @ unit), shape, gain)
        return cls(
            shape,
            {"block": block, "density": density, "gain": gain},
            {"blocks": blocks, "values": values.astype(np.float32)},
        )

    def dense(self) -> FloatMatrix:
        """Return W, `(in, out)` float32; elements outside the kept blocks are exactly zero."""
        block = int(self.parameters["block"])
        n_down, n_across = -(-self.shape[0] // block), -(-self.shape[1] // block)
        kept = np.zeros((len(self.arrays["blocks"]), block, block), dtype=np.float32)
        kept[self._mask] = self.arrays["values"]
        grid = np.zeros((n_down * n_across, block, block), dtype=np.float32)
        grid[self.arrays["blocks"]] = kept
        by_rows = grid.reshape(n_down, n_across, block, block).swapaxes(1, 2)
        padded = by_rows.reshape(n_down * block, n_across * block)
        return np.ascontiguousarray(padded[: self.shape[0], : self.shape[1]])

    @property
    def flops(self) -> int:
        """A multiplication and an addition per stored element."""
        return 2 * int(self.arrays["values"].size)

    @cached_property
    def _mask(self) -> npt.NDArray[np.bool_]:
        return _inside(self.arrays["blocks"], self.shape, int(self.parameters["block"]))

    def defect(self) -> str:
        """See the base class."""
        blocks, values = self.arrays["blocks"], self.arrays["values"]
        if "block" not in self.parameters or blocks.ndim != 1:
            return "expected the parameter `block` and one dimension of `blocks`"
        block = int(self.parameters["block"])
        n_blocks = -(-self.shape[0] // block) * -(-self.shape[1] // block)
        in_order = len(blocks) > 0 and bool(np.all(np.diff(blocks) > 0))
        if not in_order or blocks[0] < 0 or blocks[-1] >= n_blocks:
            return f"block numbers are not ascending within 0 to {n_blocks - 1}"
        if values.shape != (int(self._mask.sum()),):
            return f"{values.size} values, expected {int(self._mask.sum())}"
        return ""


def _inside(blocks: npt.NDArray[np.int32], shape: Shape, block: int) -> npt.NDArray[np.bool_]:
    """Return which elements of each block lie within the matrix, `(k, block, block)`."""
    row, column = np.divmod(blocks, -(-shape[1] // block))
    offsets = np.arange(block)
    rows = (row[:, None] * block + offsets) < shape[0]
    columns = (column[:, None] * block + offsets) < shape[1]
    inside: npt.NDArray[np.bool_] = rows[:, :, None] & columns[:, None, :]
    return inside
