"""A cache of library entries as they are applied."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from threading import Lock
from typing import Any, Protocol, TypeVar, cast

import numpy as np
import numpy.typing as npt
import torch

from clso.library.basis_library import BasisLibrary
from clso.library.entry import LibraryEntry
from clso.library.linear_map import LinearMap
from clso.library.weight import aligned, applied

__all__ = ["MatrixCache"]


class _Made(Protocol):
    @property
    def nbytes(self) -> int: ...


Made = TypeVar("Made", bound=_Made)


class MatrixCache:
    """What the matrices of a library are applied with, in memory, within `max_bytes`.

    The least recently used go first. A single matrix above the bound is returned but not kept. Safe
    to use from several threads. A pickled copy is empty.

    Args:
        tokens: whose rows of an embedding are kept, `(m,)`; `None`: those of all tokens.
    """

    def __init__(
        self,
        library: BasisLibrary,
        *,
        tokens: npt.NDArray[np.int64] | None = None,
        max_bytes: int = 512 * 2**20,
        device: torch.device | str = "cpu",
    ) -> None:
        self.library = library
        self.tokens = tokens
        self.max_bytes = max_bytes
        self.size_bytes = 0
        self._device = torch.device(device)
        self._kept: OrderedDict[tuple[str, int, object], _Made] = OrderedDict()
        self._lock = Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        build = partial(
            MatrixCache, tokens=self.tokens, max_bytes=self.max_bytes, device=str(self._device)
        )
        return build, (self.library,)

    def weight(self, slot: str, index: int) -> LinearMap:
        """Return an entry of the body."""
        return self.made(slot, index, applied)

    def matrix(self, slot: str, index: int) -> torch.Tensor:
        """Return the embedding's rows of `tokens`, `(m, d)` or `(V, d)` float32, read-only."""
        return self.made(slot, index, self._embedding)

    def _embedding(self, entry: LibraryEntry, device: torch.device) -> torch.Tensor:
        dense = entry.dense()
        return aligned(dense if self.tokens is None else dense[self.tokens], device)

    def made(
        self, slot: str, index: int, make: Callable[[LibraryEntry, torch.device], Made]
    ) -> Made:
        """Return what a function makes of an entry; equal functions share it."""
        key = (slot, index, make)
        with self._lock:
            kept = self._kept.get(key)
            if kept is not None:
                self._kept.move_to_end(key)
                return cast("Made", kept)
        # outside the lock: two threads may compute the same matrix, with the same bits
        made = make(self.library[slot][index], self._device)
        with self._lock:
            if key not in self._kept and made.nbytes <= self.max_bytes:
                self._kept[key] = made
                self.size_bytes += made.nbytes
                while self.size_bytes > self.max_bytes:
                    self.size_bytes -= self._kept.popitem(last=False)[1].nbytes
        return made
