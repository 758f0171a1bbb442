"""Signed permutations, tiled to any shape."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from clso.library.entry import FamilySettings, FloatMatrix, Shape, Work
from clso.library.linear_map import ChunkedMap, LinearMap
from clso.library.shuffled_tiles import ShuffledTiles

if TYPE_CHECKING:  # takes seconds: settings do without
    import torch

__all__ = ["Permutation"]


class Permutation(ShuffledTiles):
    """Random signed permutation matrices side by side, or stacked: W = s [P_1, P_2, ...].

    Every line has exactly one element that is not zero. The lines along the shorter side have
    floor(long / short) of them, or one more. A square W is s times an orthogonal matrix, a wide one
    reads every input, a tall one sends every input to one output.

    Arrays: `partners` `(long,)`, the place of each line's element; `signs` of long bits; `scale`
    `()` float32, s.
    """

    family = "permutation"
    array_types = (("partners", np.unsignedinteger), ("signs", np.uint8), ("scale", np.float32))

    class Settings(FamilySettings):
        """Signed permutations, tiled to the slot's shape."""

        family: Literal["permutation"] = "permutation"

    @classmethod
    def sizes(cls, shape: Shape) -> tuple[int, int, int]:
        """See the base class."""
        return min(shape), max(shape), max(shape)

    def dense(self) -> FloatMatrix:
        """Return W, `(in, out)` float32."""
        partners = self.arrays["partners"]
        lines = np.arange(len(partners))
        elements = (partners, lines) if self.shape[0] <= self.shape[1] else (lines, partners)
        weight = np.zeros(self.shape, dtype=np.float32)
        weight[elements] = self._signs() * self.arrays["scale"]
        return weight

    @property
    def flops(self) -> int:
        """A multiplication and an addition per element that is not zero."""
        return 2 * max(self.shape)

    @property
    def work(self) -> Work:
        """A look-up and a multiplication per line; of a tall matrix a sum of tiles too."""
        short, long = min(self.shape), max(self.shape)
        if self.shape[0] <= self.shape[1]:
            return Work(long, 4 * 4 * long)
        return Work(2 * long, 4 * (5 * long + short))

    def structured(self, device: torch.device | str = "cpu") -> LinearMap:
        """See the base class."""
        import torch

        values = self._signs() * self.arrays["scale"]
        if self.shape[0] <= self.shape[1]:
            places = self.arrays["partners"].astype(np.int64)
        else:
            places, missing = self._lines()
            values = values[places]
            values[missing] = 0.0
        return _PermutationMap(
            self.shape, torch.tensor(places, device=device), torch.tensor(values, device=device)
        )

    def _singular_values(self) -> npt.NDArray[np.float64]:
        # the lines along the shorter side are orthogonal: their norms are the singular values
        counts = np.sort(np.bincount(self.arrays["partners"], minlength=min(self.shape)))[::-1]
        return np.asarray(np.sqrt(counts) * float(self.arrays["scale"]), dtype=np.float64)


class _PermutationMap(ChunkedMap):
    def _into(self, y: torch.Tensor, x: torch.Tensor) -> None:
        import torch

        places, values = self._tensors
        if len(places) == y.shape[1]:
            torch.mul(x.index_select(1, places), values, out=y)
        else:
            tiles = x.index_select(1, places).mul_(values)
            torch.sum(tiles.view(len(x), -1, y.shape[1]), 1, out=y)
