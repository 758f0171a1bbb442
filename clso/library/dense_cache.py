"""Densified entries as torch tensors, the recently used ones kept."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock

import torch

from clso.library.basis_library import BasisLibrary

__all__ = ["DenseCache"]


class DenseCache:
    """Densified matrices of a library, bounded in bytes; the least recently used leave first.

    Safe to use from several threads.

    Args:
        library: where the matrices come from.
        max_bytes: the bound; a single matrix larger than it is handed out but not kept.
        device: where the tensors live.
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

    def weight(self, slot: str, index: int) -> torch.Tensor:
        """Return W of an entry, `(in, out)` float32; not to be written to."""
        key = (slot, index)
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
                return found
        # densified outside the lock: two threads may do it twice, with the same bits
        dense = torch.from_numpy(self.library[slot][index].dense())
        # torch's own memory is aligned to 64 bytes, numpy's is not, and kernels may round
        # differently on other alignments
        weight = torch.empty(dense.shape, device=self._device).copy_(dense)
        with self._lock:
            if key not in self._kept and weight.nbytes <= self.max_bytes:
                self._kept[key] = weight
                self.size_bytes += weight.nbytes
                while self.size_bytes > self.max_bytes:
                    self.size_bytes -= self._kept.popitem(last=False)[1].nbytes
        return weight
