"""Matrices of dense Gaussian blocks on a random subset of a block grid."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import numpy.typing as npt

from clso.library.entry import FamilySettings, FloatMatrix, LibraryEntry, Shape, Work, norm_scale
from clso.library.linear_map import ChunkedMap, LinearMap
from clso.section import Count, Share

if TYPE_CHECKING:  # takes seconds: settings do without
    import torch

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
        grid = np.zeros((n_down * n_across, block, block), dtype=np.float32)
        grid[self.arrays["blocks"]] = self._kept()
        by_rows = grid.reshape(n_down, n_across, block, block).swapaxes(1, 2)
        padded = by_rows.reshape(n_down * block, n_across * block)
        return np.ascontiguousarray(padded[: self.shape[0], : self.shape[1]])

    @property
    def flops(self) -> int:
        """A multiplication and an addition per stored element."""
        return 2 * int(self.arrays["values"].size)

    @property
    def work(self) -> Work:
        """A product per column of the grid, after the coordinates of its blocks are gathered."""
        block, n_blocks = int(self.parameters["block"]), len(self.arrays["blocks"])
        moved = 2 * self.shape[0] + 2 * n_blocks * block + self.shape[1]
        return Work(self.flops, 4 * moved, calls=2 * -(-self.shape[1] // block))

    def structured(self, device: torch.device | str = "cpu") -> LinearMap:
        """See the base class."""
        return _BlockSparseMap(self.shape, self.arrays["blocks"], self._kept(), device)

    def _kept(self) -> FloatMatrix:
        """Return the kept blocks, `(k, block, block)`, zero where they are beyond the matrix."""
        kept = np.zeros(self._mask.shape, dtype=np.float32)
        kept[self._mask] = self.arrays["values"]
        return kept

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


class _BlockSparseMap(ChunkedMap):
    def __init__(
        self,
        shape: Shape,
        blocks: npt.NDArray[np.int32],
        kept: FloatMatrix,
        device: torch.device | str,
    ) -> None:
        import torch

        self._block = block = kept.shape[1]
        n_across = -(-shape[1] // block)
        tensors: list[torch.Tensor] = []
        for column in range(n_across):
            in_column = np.flatnonzero(blocks % n_across == column)
            width = min(block, shape[1] - column * block)
            factor = kept[in_column, :, :width].reshape(-1, width)
            rows = (blocks[in_column] // n_across).astype(np.int64)
            tensors += torch.tensor(rows, device=device), torch.tensor(factor, device=device)
        super().__init__(shape, *tensors)

    def _into(self, y: torch.Tensor, x: torch.Tensor) -> None:
        import torch

        turned = x.t()
        if beyond := -x.shape[1] % self._block:
            turned = torch.nn.functional.pad(turned, (0, 0, 0, beyond))
        # rows of x turned are contiguous, so a block's are gathered in one piece
        lines = turned.reshape(-1, self._block * len(x))
        for column, (rows, factor) in enumerate(
            zip(self._tensors[::2], self._tensors[1::2], strict=True)
        ):
            start = column * self._block
            gathered = lines.index_select(0, rows).view(-1, len(x))
            torch.mm(gathered.t(), factor, out=y[:, start : start + factor.shape[1]])


def _inside(blocks: npt.NDArray[np.int32], shape: Shape, block: int) -> npt.NDArray[np.bool_]:
    """Return which elements of each block lie within the matrix, `(k, block, block)`."""
    row, column = np.divmod(blocks, -(-shape[1] // block))
    offsets = np.arange(block)
    rows = (row[:, None] * block + offsets) < shape[0]
    columns = (column[:, None] * block + offsets) < shape[1]
    inside: npt.NDArray[np.bool_] = rows[:, :, None] & columns[:, None, :]
    return inside
