"""Loops that numba compiles, and how they read arrays of several integer types.

numpy makes a pass over memory for each operation; a compiled loop makes one for all of them, and
lets other threads run meanwhile. Sums keep the order that is written: no fast mathematics.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import numba
import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

__all__ = ["Handles", "compiled", "dot_product", "find_entry", "inner", "read"]

_Function = TypeVar("_Function", bound=Callable[..., Any])


def compiled(function: _Function) -> _Function:
    """Compile a function at its first call, and keep the code on disk for later processes.

    Without a folder that can be written, each process compiles anew.
    """
    # a division by zero is not to be looked for: the loop could not compute eight at a time
    options = {"nogil": True, "error_model": "numpy"}
    try:
        made = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # neither the package's folder nor the user's own can be written
        made = numba.njit(**options)(function)
    return cast(_Function, made)


def inner(function: _Function) -> _Function:
    """Compile a function with the loops that call it; it is not called from outside."""
    return cast(_Function, numba.njit(error_model="numpy")(function))


def dot_product(function: _Function) -> _Function:
    """Do the same for a sum whose terms a processor may add in any order, as in BLAS."""
    options = {"error_model": "numpy", "fastmath": {"reassoc", "contract"}}
    return cast(_Function, numba.njit(**options)(function))


class Handles:
    """Where the memory of arrays begins, so that one compiled loop reads any number of them.

    Args:
        arrays: one-dimensional, of unsigned integers; kept.

    Attributes:
        places: the address of each array and the bytes of an element, `(n_arrays, 2)`.
    """

    def __init__(self, arrays: Sequence[npt.NDArray[Any]]) -> None:
        self._arrays = [np.ascontiguousarray(array) for array in arrays]
        places = [(array.ctypes.data, array.itemsize) for array in self._arrays]
        self.places = np.array(places, dtype=np.int64).reshape(-1, 2)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._arrays,)


@intrinsic  # type: ignore[untyped-decorator]  # numba leaves it untyped
def _load(_context: Any, address: Any, width: Any) -> Any:  # noqa: ANN401 - numba's own types
    """Read an unsigned integer of 1, 2 or 4 bytes at an address."""

    def generate(_target: Any, builder: Any, _signature: Any, arguments: Any) -> Any:  # noqa: ANN401
        place, n_bytes = arguments
        result = cgutils.alloca_once(builder, ir.IntType(64))
        for size in (1, 2, 4):
            with builder.if_then(builder.icmp_signed("==", n_bytes, n_bytes.type(size))):
                kind = ir.IntType(8 * size)
                pointer = builder.inttoptr(place, kind.as_pointer())
                builder.store(builder.zext(builder.load(pointer), ir.IntType(64)), result)
        return builder.load(result)

    return types.int64(types.int64, types.int64), generate


@inner
def read(handle: npt.NDArray[np.int64], index: int) -> int:
    """Return an element of an array; `handle` is a row of `Handles.places`."""
    return int(_load(handle[0] + index * handle[1], handle[1]))


@inner
def find_entry(
    starts: npt.NDArray[np.int64], symbols: npt.NDArray[np.int64], row: int, symbol: int
) -> int:
    """Return the entry number of a row and a symbol of `Rows`; -1 if there is none."""
    low, high = read(starts, row), read(starts, row + 1)
    stop = high
    while low < high:
        middle = (low + high) >> 1
        if read(symbols, middle) < symbol:
            low = middle + 1
        else:
            high = middle
    if low < stop and read(symbols, low) == symbol:
        return low
    return -1
