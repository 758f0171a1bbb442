"""The product x W as an entry computes it.

Notation: x is `(n, in)`, W `(in, out)`, y = x W `(n, out)`, all float32.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from clso.library.entry import Shape

if TYPE_CHECKING:  # takes seconds: settings do without
    import torch

__all__ = ["ChunkedMap", "LinearMap"]

# Rows whose intermediate results stay in a second-level cache of 2 MiB up to 3,072 columns: from
# 128 to 512 rows the time is the same, and 2,048 at once take up to twice as long.
_CHUNK = 256


class LinearMap(ABC):
    """x -> x W.

    Args:
        shape: `(in, out)`.
        tensors: what W is applied with.

    Attributes:
        is_zero: whether W is zero everywhere.
    """

    is_zero = False

    def __init__(self, shape: Shape, *tensors: torch.Tensor) -> None:
        self.shape = shape
        self._tensors = tensors

    @property
    def nbytes(self) -> int:
        """Size of what W is applied with."""
        return sum(tensor.nbytes for tensor in self._tensors)

    @abstractmethod
    def product(self, x: torch.Tensor) -> torch.Tensor:
        """Return x W, `(n, out)`, contiguous."""

    def added(self, residual: torch.Tensor, x: torch.Tensor, alpha: float = 1.0) -> torch.Tensor:
        """Return residual + alpha x W, `(n, out)`."""
        return residual.add(self.product(x), alpha=alpha)


class ChunkedMap(LinearMap):
    """A map of several steps, done for some rows of x after another."""

    def product(self, x: torch.Tensor) -> torch.Tensor:
        """See the base class."""
        import torch

        y = x.new_empty(len(x), self.shape[1])
        for rows, part in zip(torch.split(y, _CHUNK), torch.split(x, _CHUNK), strict=True):
            self._into(rows, part)
        return y

    @abstractmethod
    def _into(self, y: torch.Tensor, x: torch.Tensor) -> None:
        """Write the product of some rows, `(m, in)`, into y, `(m, out)`."""
