"""A cache of dense entries as torch tensors."""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from threading import Lock
from typing import Any

import torch

from clso.library.basis_library import BasisLibrary

__all__ = ["DenseCache"]


class DenseCache:
    """Dense matrices of a library, within `max_bytes`; the least recently used are dropped first.

    A single matrix above the bound is returned but not kept. Safe to use from several threads.
    A pickled copy is empty.
    """

    def __init__(
        self,
        library: BasisLibrary,
        *,
        max_bytes: int = 512 * 2**20,
        device: torch.device | str = "cpu",
    ) -> None:
        self.library = library
        self.max_bytes = max_bytes
        self.size_bytes = 0
        self._device = torch.device(device)
        self._kept: OrderedDict[tuple[str, int], torch.Tensor] = OrderedDict()
        self._lock = Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        build = partial(DenseCache, max_bytes=self.max_bytes, device=str(self._device))
        return build, (self.library,)

    def weight(self, slot: str, index: int) -> torch.Tensor:
        """Return W of an entry, `(in, out)` float32; it is read-only."""
        key = (slot, index)
        with self._lock:
            kept = self._kept.get(key)
            if kept is not None:
                self._kept.move_to_end(key)
                return kept
        # outside the lock: two threads may compute the same matrix, with the same bits
        dense = torch.from_numpy(self.library[slot][index].dense())
        # torch aligns memory to 64 bytes, numpy does not, and rounding may depend on alignment
        weight = torch.empty(dense.shape, device=self._device).copy_(dense)
        with self._lock:
            if key not in self._kept and weight.nbytes <= self.max_bytes:
                self._kept[key] = weight
                self.size_bytes += weight.nbytes
                while self.size_bytes > self.max_bytes:
                    self.size_bytes -= self._kept.popitem(last=False)[1].nbytes
        return weight
