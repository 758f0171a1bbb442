"""Values that many tasks read: packed once, sent to each worker once, and kept there.

A value is pickled by cloudpickle with its arrays apart (pickle protocol 5, buffers out of band). So
Dask and Ray send the arrays without a copy, and processes of this machine map them from one file.
"""

from __future__ import annotations

import mmap
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

import cloudpickle
import numpy as np

__all__ = ["Packed", "Shared"]

V = TypeVar("V")

_ALIGNMENT = 64


@dataclass(frozen=True)
class Shared(Generic[V]):
    """A value that many tasks read.

    Attributes:
        fingerprint: names everything in the value that a result follows from; workers take values
            of one fingerprint as equal.
        value: must be picklable, and no task may change what a result follows from.
    """

    fingerprint: str
    value: V


@dataclass(frozen=True)
class Packed:
    """A pickled value whose arrays are apart.

    Attributes:
        fingerprint: that of the `Shared`.
        head: the pickle without the arrays.
        buffers: the arrays' bytes, in the order of the pickle.
    """

    fingerprint: str
    head: bytes
    buffers: Sequence[Any]

    @classmethod
    def of(cls, shared: Shared[Any]) -> Self:
        """Pickle a value.

        Raises:
            Exception: a part of it cannot be pickled; its type depends on the part.
        """
        buffers: list[pickle.PickleBuffer] = []
        head = cloudpickle.dumps(shared.value, protocol=5, buffer_callback=buffers.append)
        return cls(shared.fingerprint, head, [buffer.raw() for buffer in buffers])

    def value(self) -> Any:  # noqa: ANN401 - as it was packed
        """Build the value; its arrays read these buffers, or aligned copies."""
        aligned = [_aligned(buffer) for buffer in self.buffers]
        return pickle.loads(self.head, buffers=aligned)  # noqa: S301 - the driver's own bytes

    def __reduce__(self) -> tuple[Any, ...]:
        buffers = [pickle.PickleBuffer(buffer) for buffer in self.buffers]
        return type(self), (self.fingerprint, self.head, buffers)

    def write(self, path: Path) -> None:
        """Write a file for `open`.

        Raises:
            OSError: the file cannot be written.
        """
        sizes = [buffer.nbytes for buffer in self.buffers]
        with path.open("wb") as file:
            pickle.dump((self.fingerprint, self.head, sizes), file)
            for buffer in self.buffers:
                file.write(bytes(-file.tell() % _ALIGNMENT))
                file.write(buffer)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Map a file that `write` has written; its pages are shared by all processes."""
        with path.open("rb") as file:
            fingerprint, head, sizes = pickle.load(file)  # noqa: S301 - the driver's own bytes
            position = file.tell()
            # writes stay in this process: torch asks for writable arrays
            mapped = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
        buffers = []
        for size in sizes:
            position += -position % _ALIGNMENT
            buffers.append(mapped[position : position + size])
            position += size
        return cls(fingerprint, head, buffers)


def _aligned(buffer: Any) -> Any:  # noqa: ANN401 - anything that has bytes
    """Return bytes at an aligned address; the last bits of a sum may depend on it."""
    values = np.frombuffer(buffer, dtype=np.uint8)
    if values.ctypes.data % _ALIGNMENT == 0:
        return buffer
    room = np.empty(values.size + _ALIGNMENT, dtype=np.uint8)
    start = -room.ctypes.data % _ALIGNMENT
    room[start : start + values.size] = values
    return room[start : start + values.size]
