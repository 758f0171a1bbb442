"""A matrix of a library as it is applied: the block of its rows and columns that are not all zero.

Derived entries read and write few coordinates of the residual stream, so their blocks are much
smaller than the matrices. The products are those of the dense matrix, without the terms that are
zero.
"""

from __future__ import annotations

from typing import NamedTuple, Self

import numpy as np
import torch

from clso.library.entry import FloatMatrix, LibraryEntry

__all__ = ["RowsOfTokens", "Weight", "aligned"]

# A block of a larger share of the matrix is not worth the copies that it takes.
_LARGEST_SHARE = 0.5


class Weight:
    """W `(in, out)` float32, read-only.

    Attributes:
        is_zero: whether all elements are zero.
    """

    def __init__(self, dense: FloatMatrix, device: torch.device | str = "cpu") -> None:
        self.shape = dense.shape
        nonzero = dense != 0
        rows, columns = np.flatnonzero(nonzero.any(1)), np.flatnonzero(nonzero.any(0))
        self.is_zero = len(rows) == 0
        self._rows = self._columns = None
        if len(rows) * len(columns) <= _LARGEST_SHARE * dense.size:
            dense = dense[np.ix_(rows, columns)]
            self._rows = torch.from_numpy(rows).to(device)
            self._columns = torch.from_numpy(columns).to(device)
        self._block = aligned(dense, device)

    @property
    def nbytes(self) -> int:
        """Size of the block and its places."""
        places = (self._rows, self._columns)
        return self._block.nbytes + sum(place.nbytes for place in places if place is not None)

    def product(self, x: torch.Tensor) -> torch.Tensor:
        """Return x W, `(n, out)`."""
        if self._rows is None or self._columns is None:
            return x @ self._block
        product = x.new_zeros(x.shape[0], self.shape[1])
        product[:, self._columns] = x[:, self._rows] @ self._block
        return product

    def added(self, residual: torch.Tensor, x: torch.Tensor, alpha: float = 1.0) -> torch.Tensor:
        """Return residual + alpha x W, `(n, out)`."""
        if self._rows is None or self._columns is None:
            return torch.addmm(residual, x, self._block, alpha=alpha)
        added = residual.clone()
        part = torch.addmm(residual[:, self._columns], x[:, self._rows], self._block, alpha=alpha)
        added[:, self._columns] = part
        return added


class RowsOfTokens(NamedTuple):
    """A readout, each distinct row once.

    Attributes:
        rows: `(m, d)` float32.
        row_of_token: `(V,)` int64; `None`: row and token have the same number.
    """

    rows: torch.Tensor
    row_of_token: torch.Tensor | None

    @classmethod
    def of(cls, entry: LibraryEntry, device: torch.device | str = "cpu") -> Self:
        """Return the rows of an entry of the slot `readout`."""
        distinct = entry.distinct_rows()
        if distinct is None:
            return cls(aligned(entry.dense(), device), None)
        rows, row_of_token = distinct
        return cls(aligned(rows, device), torch.from_numpy(row_of_token).to(device))

    @property
    def nbytes(self) -> int:
        """Size of both."""
        return sum(part.nbytes for part in self if part is not None)


def aligned(dense: FloatMatrix, device: torch.device | str = "cpu") -> torch.Tensor:
    """Return a copy as a tensor in torch's own memory."""
    # torch aligns memory to 64 bytes, numpy does not, and rounding may depend on alignment
    return torch.empty(dense.shape, device=device).copy_(torch.from_numpy(dense))
