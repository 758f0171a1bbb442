"""Loops that numba compiles, and how they read arrays of several integer types.

numpy makes a pass over memory for each operation; a compiled loop makes one for all of them, and
lets other threads run meanwhile. Sums keep the order that is written: no fast mathematics, but for
products of vectors. numba is imported when the first loop runs: it takes half a second.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property, update_wrapper
from types import FunctionType
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

__all__ = ["Handles", "compiled", "dot_product", "find_entry", "inner", "read", "read_float"]

_Function = TypeVar("_Function", bound=Callable[..., Any])


class _Loop:
    """A function that is compiled when it is first called."""

    def __init__(self, function: FunctionType, is_kept: bool, options: dict[str, Any]) -> None:
        self._function, self._is_kept, self._options = function, is_kept, options
        update_wrapper(self, function)

    def __call__(self, *arguments: Any) -> Any:  # noqa: ANN401 - the function's own
        return self.made(*arguments)

    @cached_property
    def made(self) -> Any:  # noqa: ANN401 - numba's own type
        """What numba makes of the function."""
        import numba

        own = self._function
        called = {
            name: value.made
            for name, value in own.__globals__.items()
            if isinstance(value, _Loop) and name in own.__code__.co_names
        }
        function = FunctionType(own.__code__, {**own.__globals__, **called}, own.__name__)
        function.__qualname__, function.__module__ = own.__qualname__, own.__module__
        if self._is_kept:
            try:
                return numba.njit(cache=True, **self._options)(function)
            except RuntimeError:  # neither the package's folder nor the user's can be written
                pass
        return numba.njit(**self._options)(function)


# Divisions by zero are not looked for: a loop that does cannot compute eight values at a time.
_OPTIONS = {"nogil": True, "error_model": "numpy"}


def compiled(function: _Function) -> _Function:
    """Compile a function at its first call, and keep the code on disk for later processes.

    Without a folder that can be written, each process compiles anew.
    """
    return cast(_Function, _Loop(cast(FunctionType, function), True, _OPTIONS))


def inner(function: _Function) -> _Function:
    """Compile a function with the loops that call it; it is not called from outside.

    Code on disk is kept by the file of the loop: after a change of an inner function, loops in
    other files are compiled anew only where their `__pycache__` is deleted.
    """
    return cast(_Function, _Loop(cast(FunctionType, function), False, _OPTIONS))


def dot_product(function: _Function) -> _Function:
    """Do the same for a sum whose terms a processor may add in any order, as in BLAS."""
    options = {**_OPTIONS, "fastmath": {"reassoc", "contract"}}
    return cast(_Function, _Loop(cast(FunctionType, function), False, options))


class Handles:
    """Where the memory of arrays begins, so that one compiled loop reads any number of them.

    Args:
        arrays: one-dimensional, of unsigned integers or float64; kept.

    Attributes:
        places: the address of each array and the bytes of an element, `(n_arrays, 2)`.
    """

    def __init__(self, arrays: Sequence[npt.NDArray[Any]]) -> None:
        self._arrays = [np.ascontiguousarray(array) for array in arrays]
        places = [(array.ctypes.data, array.itemsize) for array in self._arrays]
        self.places = np.array(places, dtype=np.int64).reshape(-1, 2)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._arrays,)


class _Load(_Loop):
    """Reads an unsigned integer of 1, 2 or 4 bytes at an address, or a float of 8."""

    @cached_property
    def made(self) -> Any:  # noqa: ANN401 - numba's own type
        from llvmlite import ir
        from numba.core import cgutils, types
        from numba.extending import intrinsic

        is_float = self._options["is_float"]

        def generate(_target: Any, builder: Any, _signature: Any, arguments: Any) -> Any:  # noqa: ANN401
            place, n_bytes = arguments
            if is_float:
                return builder.load(builder.inttoptr(place, ir.DoubleType().as_pointer()))
            result = cgutils.alloca_once(builder, ir.IntType(64))  # type: ignore[no-untyped-call]  # untyped library
            for size in (1, 2, 4):
                with builder.if_then(builder.icmp_signed("==", n_bytes, n_bytes.type(size))):
                    kind = ir.IntType(8 * size)
                    pointer = builder.inttoptr(place, kind.as_pointer())
                    builder.store(builder.zext(builder.load(pointer), ir.IntType(64)), result)
            return builder.load(result)

        def load(_context: Any, _address: Any, _n_bytes: Any) -> Any:  # noqa: ANN401
            kind = types.float64 if is_float else types.int64
            return kind(types.int64, types.int64), generate

        return intrinsic(load)


def _at_address(address: int, n_bytes: int) -> Any:  # noqa: ANN401 - an integer or a float
    """Return the number there; only for loops."""
    raise NotImplementedError


_load_integer = _Load(cast(FunctionType, _at_address), False, {"is_float": False})
_load_float = _Load(cast(FunctionType, _at_address), False, {"is_float": True})


@inner
def read(handle: npt.NDArray[np.int64], index: int) -> int:
    """Return an element of an array; `handle` is a row of `Handles.places`."""
    return _load_integer(handle[0] + index * handle[1], handle[1])  # type: ignore[no-any-return]


@inner
def read_float(handle: npt.NDArray[np.int64], index: int) -> float:
    """Do the same for an array of float64."""
    return _load_float(handle[0] + index * handle[1], handle[1])  # type: ignore[no-any-return]


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
