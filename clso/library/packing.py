"""Signs as bits and indices in the fewest bytes: what the families without numbers store."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from clso.library.entry import FloatMatrix

__all__ = ["draw_signs", "narrow", "packed_defect", "unpack_signs"]


def draw_signs(rng: np.random.Generator, n: int) -> npt.NDArray[np.uint8]:
    """Draw n fair signs, packed: `(ceil(n / 8),)` uint8, a bit that is set is a minus."""
    return np.packbits(rng.integers(0, 2, size=n, dtype=np.uint8))


def unpack_signs(packed: npt.NDArray[np.uint8], n: int) -> FloatMatrix:
    """Return the n signs, 1 and -1, `(n,)` float32."""
    bits = np.unpackbits(packed, count=n).astype(np.float32)
    return np.asarray(1.0 - 2.0 * bits, dtype=np.float32)


def narrow(indices: npt.NDArray[np.int64], n: int) -> npt.NDArray[Any]:
    """Return indices below n as the smallest unsigned type that holds n - 1."""
    return indices.astype(np.min_scalar_type(n - 1))


def packed_defect(
    indices: npt.NDArray[Any], below: int, signs: npt.NDArray[Any], n_signs: int
) -> str:
    """Say what is wrong with indices and packed signs; empty if nothing is."""
    if indices.dtype.kind != "u" or signs.dtype != np.uint8:
        return f"indices are {indices.dtype}, signs {signs.dtype}, expected unsigned and uint8"
    if len(indices) and indices.max() >= below:
        return f"an index is {indices.max()}, expected less than {below}"
    if signs.shape != (-(-n_signs // 8),):
        return f"signs have the shape {signs.shape}, expected {n_signs} bits"
    return ""
