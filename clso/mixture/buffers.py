"""Large arrays that are used again: a new one takes the system longer than its contents."""

from __future__ import annotations

import math
import threading

import numpy as np

from clso.counting import FloatArray
from clso.mixture.arrays import Float32Array

__all__ = ["buffer", "buffer_float32"]

_OF_THREAD = threading.local()


def buffer(name: str, *shape: int) -> FloatArray:
    """Return an array of this thread that has what its last user left.

    The next call with the name returns the same memory, for any shape.
    """
    buffers: dict[str, FloatArray] = _OF_THREAD.__dict__.setdefault("buffers", {})
    size = math.prod(shape)
    if name not in buffers or buffers[name].size < size:
        buffers[name] = np.empty(size)
    return buffers[name][:size].reshape(shape)


def buffer_float32(name: str, size: int) -> Float32Array:
    """Return such an array of float32, `(size,)`."""
    return buffer(name, (size + 1) // 2).view(np.float32)[:size]
