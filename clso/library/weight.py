"""A matrix of a library as it is applied: by its structure, as a dense matrix, or as a block of it.

An entry is applied by its structure where that is faster. No clock decides, so that losses are the
same on any machine of a kind, but a count. The time of a product is taken to be proportional to

    flops + 14 moved bytes + 2,700 calls of kernels for 256 rows

because one core with vectors of 16 numbers computes about 14 flops while it moves a byte, and 2,700
for each of 256 rows while a kernel starts. The count must be ahead by 1.4, as it is coarse: where
it was, the structured form was ahead by 1.2 or more in every slot. No side of the matrix may be
below 256: at a width of 128 these products are a small share of an evaluation, which took the same
time. `python -m benchmarks structured` measures both forms, and prints them beside the count.

Other matrices are applied as the block of their rows and columns that are not all zero. Derived
entries read and write few coordinates of the residual stream, so their blocks are much smaller than
the matrices. The products are those of the dense matrix, without the terms that are zero.
"""

from __future__ import annotations

from typing import NamedTuple, Self

import numpy as np
import torch

from clso.library.entry import FloatMatrix, LibraryEntry, Work
from clso.library.linear_map import LinearMap

__all__ = ["RowsOfTokens", "Weight", "aligned", "applied", "counted_gain", "is_structured"]

_FLOPS_PER_BYTE = 14
_FLOPS_PER_CALL = 2_700
_LEAST_GAIN = 1.4
_LEAST_SIDE = 256

# A block of a larger share of the matrix is not worth the copies that it takes.
_LARGEST_SHARE = 0.5
_LARGEST_SHARE_OF_READOUT = 0.75


def counted_gain(entry: LibraryEntry) -> float | None:
    """Return how many times as fast the structured form should be; `None`: there is none."""
    if entry.work is None:
        return None
    return _counted(Work.of_dense(entry.shape)) / max(1, _counted(entry.work))


def _counted(work: Work) -> int:
    return work.flops + _FLOPS_PER_BYTE * work.moved_bytes + _FLOPS_PER_CALL * work.calls


def is_structured(entry: LibraryEntry) -> bool:
    """Return whether an entry is applied by its structure."""
    gain = counted_gain(entry)
    return gain is not None and gain >= _LEAST_GAIN and min(entry.shape) >= _LEAST_SIDE


def applied(entry: LibraryEntry, device: torch.device | str = "cpu") -> LinearMap:
    """Return an entry of the body as it is applied."""
    return entry.structured(device) if is_structured(entry) else Weight(entry.dense(), device)


class Weight(LinearMap):
    """W `(in, out)` float32, read-only, as a dense matrix or a block of it."""

    def __init__(self, dense: FloatMatrix, device: torch.device | str = "cpu") -> None:
        shape = dense.shape
        nonzero = dense != 0
        rows, columns = np.flatnonzero(nonzero.any(1)), np.flatnonzero(nonzero.any(0))
        self.is_zero = len(rows) == 0
        self._rows = self._columns = None
        if len(rows) * len(columns) <= _LARGEST_SHARE * dense.size:
            dense = dense[np.ix_(rows, columns)]
            # to gather all coordinates would be a copy for nothing
            if len(rows) < shape[0]:
                self._rows = torch.from_numpy(rows).to(device)
            if len(columns) < shape[1]:
                self._columns = torch.from_numpy(columns).to(device)
        self._block = aligned(dense, device)
        places = (place for place in (self._rows, self._columns) if place is not None)
        super().__init__(shape, self._block, *places)

    def product(self, x: torch.Tensor) -> torch.Tensor:
        """See the base class."""
        product = self._read(x) @ self._block
        if self._columns is None:
            return product
        return x.new_zeros(len(x), self.shape[1]).index_copy_(1, self._columns, product)

    def added(self, residual: torch.Tensor, x: torch.Tensor, alpha: float = 1.0) -> torch.Tensor:
        """See the base class."""
        if self._columns is None:
            return torch.addmm(residual, self._read(x), self._block, alpha=alpha)
        part = residual.index_select(1, self._columns)
        part = torch.addmm(part, self._read(x), self._block, alpha=alpha)
        return residual.index_copy(1, self._columns, part)

    def _read(self, x: torch.Tensor) -> torch.Tensor:
        return x if self._rows is None else x.index_select(1, self._rows)


class RowsOfTokens(NamedTuple):
    """A readout, each distinct row once.

    Attributes:
        rows: `(m, c)` float32.
        row_of_token: `(V,)` int64; `None`: row and token have the same number.
        columns: those that are not zero, `(c,)` int64; `None`: the rows have all d.
        width: d.
    """

    rows: torch.Tensor
    row_of_token: torch.Tensor | None
    columns: torch.Tensor | None
    width: int

    @classmethod
    def of(cls, entry: LibraryEntry, device: torch.device | str = "cpu") -> Self:
        """Return the rows of an entry of the slot `readout`."""
        distinct = entry.distinct_rows()
        rows, row_of_token = (entry.dense(), None) if distinct is None else distinct
        width = rows.shape[1]
        used = np.flatnonzero(rows.any(0))
        columns = None
        # a wide model has coordinates that no readout reads
        if len(used) <= _LARGEST_SHARE_OF_READOUT * width:
            rows = rows[:, used]
            columns = torch.from_numpy(used).to(device)
        places = None if row_of_token is None else torch.from_numpy(row_of_token).to(device)
        return cls(aligned(rows, device), places, columns, width)

    @property
    def nbytes(self) -> int:
        """Size of the tensors."""
        return sum(part.nbytes for part in self if isinstance(part, torch.Tensor))


def aligned(dense: FloatMatrix, device: torch.device | str = "cpu") -> torch.Tensor:
    """Return a copy as a tensor in torch's own memory."""
    # torch aligns memory to 64 bytes, numpy does not, and rounding may depend on alignment
    return torch.empty(dense.shape, device=device).copy_(torch.from_numpy(dense))
