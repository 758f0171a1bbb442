r"""Circulant matrices, cut to any shape.

Notation: n = max(in, out); c the first row, n numbers. :math:`W_{ij} = c_{(j - i) \bmod n}`, so
each row is the row above, moved one place to the right, and

    x W = irfft(rfft(x) rfft(c))     x padded with zeros to n, the result cut to out

is a circular convolution (Golub and Van Loan, Matrix Computations, 4th edition, section 4.8).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from scipy.linalg import toeplitz

from clso.library.entry import FamilySettings, FloatMatrix, LibraryEntry, Shape, Work, norm_scale
from clso.library.linear_map import ChunkedMap, LinearMap

if TYPE_CHECKING:  # takes seconds: settings do without
    import torch

__all__ = ["Circulant"]


class Circulant(LibraryEntry):
    """The first rows and columns of a circulant matrix with a Gaussian first row.

    Arrays: `first_row` `(n,)` float32, n = max(in, out).
    """

    family = "circulant"
    array_types = (("first_row", np.float32),)

    class Settings(FamilySettings):
        """Shifts of one Gaussian row."""

        family: Literal["circulant"] = "circulant"

    @classmethod
    def draw(
        cls, rng: np.random.Generator, shape: Shape, gain: float, parameters: Mapping[str, Any]
    ) -> Self:
        """See the base class."""
        unit = rng.standard_normal(max(shape))
        # every row of a wide matrix, and every column of a tall one, has all elements of c
        squared_norm = min(shape) * float(np.square(unit).sum())
        first_row = unit * norm_scale(squared_norm, shape, gain)
        return cls(shape, {"gain": gain}, {"first_row": first_row.astype(np.float32)})

    def dense(self) -> FloatMatrix:
        """Return W, `(in, out)` float32."""
        first_row = self.arrays["first_row"]
        first_column = first_row[-np.arange(self.shape[0]) % len(first_row)]
        return np.ascontiguousarray(toeplitz(first_column, first_row[: self.shape[1]]))

    @property
    def flops(self) -> int:
        """5 n log2 n for two real transforms, 6 for each of n/2 + 1 complex products.

        A real transform of length n counts as 5/2 n log2 n, the convention of Frigo and Johnson
        2005, "The Design and Implementation of FFTW3"; the transform of c is not counted, as it is
        done once. For tiny matrices the plain product takes fewer operations and is counted.
        """
        return min(self.work.flops, 2 * self.shape[0] * self.shape[1])

    @property
    def work(self) -> Work:
        """Transforms and complex products as in `flops`, with x padded and the result cut."""
        n = max(self.shape)
        flops = math.ceil(5 * n * math.log2(n)) + 6 * (n // 2 + 1)
        padding = self.shape[0] + n if self.shape[0] < n else 0
        return Work(flops, 4 * (padding + 6 * n + 2 * self.shape[1]))

    def structured(self, device: torch.device | str = "cpu") -> LinearMap:
        """See the base class."""
        import torch

        first_row = self.arrays["first_row"].astype(np.float64)
        spectrum = np.fft.rfft(first_row).astype(np.complex64)
        return _CirculantMap(self.shape, torch.tensor(spectrum, device=device))

    def defect(self) -> str:
        """See the base class."""
        return self.wrong_shapes(first_row=(max(self.shape),))


class _CirculantMap(ChunkedMap):
    def _into(self, y: torch.Tensor, x: torch.Tensor) -> None:
        import torch

        (spectrum,) = self._tensors
        n = max(self.shape)
        convolved = torch.fft.irfft(torch.fft.rfft(x, n=n).mul_(spectrum), n=n)
        y.copy_(convolved[:, : y.shape[1]])
