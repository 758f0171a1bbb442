"""Ragged rows of increasing symbols: how contexts and their successors are kept and looked up.

Notation: row r holds symbols[starts[r] : starts[r + 1]], increasing; an entry is one place in
`symbols`, so that (row, symbol) names an entry and the entry's number can name a row elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from clso.errors import ArtifactError
from clso.scoring import Int64Array

__all__ = ["Rows", "RowsBuilder", "UnsignedArray", "narrow", "symbol_bits", "unsigned"]

UnsignedArray = npt.NDArray[np.unsignedinteger[Any]]
BoolArray = npt.NDArray[np.bool_]
_REMEDY = "delete the stored functions and count again"


def symbol_bits(alphabet: int) -> int:
    """Return how many bits hold every symbol below `alphabet`."""
    return max(alphabet - 1, 0).bit_length()


def unsigned(largest: int) -> np.dtype[Any]:
    """Return the smallest unsigned integer type that holds `largest`."""
    return np.min_scalar_type(largest)


def narrow(values: npt.NDArray[Any]) -> UnsignedArray:
    """Return non-negative integers in the smallest type that holds them."""
    return values.astype(unsigned(int(values.max(initial=0))), copy=False)


class Rows:
    """Ragged rows; equal arguments make equal rows.

    Args:
        starts: where each row starts and the last one ends, `(n_rows + 1,)`.
        symbols: all entries, increasing within a row, `(n_entries,)`.
        alphabet: symbols are below it.
    """

    def __init__(self, starts: UnsignedArray, symbols: UnsignedArray, alphabet: int) -> None:
        self.starts = starts
        self.symbols = symbols
        self.alphabet = alphabet

    def __len__(self) -> int:
        return len(self.symbols)

    @property
    def n_rows(self) -> int:
        """How many rows there are, those without entries included."""
        return len(self.starts) - 1

    @property
    def degrees(self) -> UnsignedArray:
        """How many entries each row has, `(n_rows,)`."""
        return np.diff(self.starts)

    @cached_property
    def occupied(self) -> BoolArray:
        """Whether a row has entries, `(n_rows,)`."""
        return np.asarray(self.starts[1:] != self.starts[:-1])

    def row_of_entries(self) -> UnsignedArray:
        """Return the row that each entry stands in, `(n_entries,)`."""
        return np.repeat(np.arange(self.n_rows, dtype=np.uint32), self.degrees)

    @cached_property
    def _keys(self) -> npt.NDArray[np.uint64]:
        return self._key(self.row_of_entries(), self.symbols)

    @cached_property
    def _places(self) -> npt.NDArray[np.int32]:
        places = np.full(self.alphabet, -1, dtype=np.int32)
        places[self.symbols] = np.arange(len(self.symbols), dtype=np.int32)
        return places

    def _key(self, rows: npt.NDArray[Any], symbols: npt.NDArray[Any]) -> npt.NDArray[np.uint64]:
        keys = rows.astype(np.uint64)
        keys <<= np.uint64(symbol_bits(self.alphabet))
        keys |= symbols.astype(np.uint64, copy=False)
        return keys

    def find(self, rows: Int64Array, symbols: npt.NDArray[Any]) -> Int64Array:
        """Return the entries of pairs of row and symbol, `(n,)`; -1 where there is none."""
        if self.n_rows == 1:
            return np.asarray(self._places[symbols], dtype=np.int64)
        found = np.full(len(rows), -1, dtype=np.int64)
        if len(self.symbols) == 0 or len(rows) == 0:
            return found
        wanted = self._key(rows, symbols)
        # in order, neighbouring searches walk the same memory: several times faster
        order = np.argsort(wanted)
        wanted = wanted[order]
        places = np.searchsorted(self._keys, wanted)
        places[places == len(self._keys)] = 0
        there = self._keys[places] == wanted
        found[order[there]] = places[there]
        return found

    def bounds(self, row: int) -> slice:
        """Return where in `symbols` a row stands."""
        return slice(int(self.starts[row]), int(self.starts[row + 1]))

    def find_one(self, row: int, symbol: int) -> int:
        """Return one entry; -1 if there is none."""
        bounds = self.bounds(row)
        members = self.symbols[bounds]
        place = int(np.searchsorted(members, symbol))
        return bounds.start + place if place < len(members) and members[place] == symbol else -1

    def to_arrays(self) -> dict[str, UnsignedArray]:
        """Return what the rows are, in the smallest types."""
        return {
            "symbols": self.symbols.astype(unsigned(self.alphabet - 1), copy=False),
            "degrees": narrow(self.degrees),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]], name: str, alphabet: int) -> Rows:
        """Read what `to_arrays` returned under `name.symbols` and `name.degrees`.

        Raises:
            ArtifactError: an array is missing, or the two do not fit each other.
        """
        symbols = stored_array(arrays, f"{name}.symbols")
        degrees = stored_array(arrays, f"{name}.degrees")
        starts = np.concatenate([[0], np.cumsum(degrees, dtype=np.int64)])
        if starts[-1] != len(symbols) or int(symbols.max(initial=0)) >= max(alphabet, 1):
            raise ArtifactError(
                f"{name} has {len(symbols):,} symbols up to {symbols.max(initial=0)}, expected "
                f"{starts[-1]:,} below {alphabet}",
                remedy=_REMEDY,
            )
        return cls(starts.astype(np.uint32), symbols, alphabet)


class RowsBuilder:
    """Collects rows in increasing order, a range of rows at a time."""

    def __init__(self, alphabet: int) -> None:
        self._alphabet = alphabet
        self._degrees: list[UnsignedArray] = []
        self._symbols: list[UnsignedArray] = []

    def add(self, n_rows: int, keys: npt.NDArray[np.uint64]) -> None:
        """Append `n_rows` rows, given as increasing keys `row << bits | symbol` from row 0 on."""
        bits = symbol_bits(self._alphabet)
        rows = (keys >> np.uint64(bits)).astype(np.int64)
        self._degrees.append(narrow(np.bincount(rows, minlength=n_rows)))
        keys = keys & np.uint64((1 << bits) - 1)
        self._symbols.append(keys.astype(unsigned(self._alphabet - 1)))

    def build(self) -> Rows:
        """Return all rows."""
        starts = np.zeros(1 + sum(map(len, self._degrees)), dtype=np.uint32)
        np.cumsum(joined(self._degrees, np.uint8), out=starts[1:])
        return Rows(starts, joined(self._symbols, unsigned(self._alphabet - 1)), self._alphabet)


def joined(parts: Iterable[UnsignedArray], dtype: npt.DTypeLike) -> UnsignedArray:
    """Concatenate arrays; no arrays at all make an empty one of `dtype`."""
    several = list(parts)
    return np.concatenate(several) if several else np.empty(0, dtype)


def stored_array(arrays: Mapping[str, npt.NDArray[Any]], name: str) -> npt.NDArray[Any]:
    """Return an array of unsigned integers by name.

    Raises:
        ArtifactError: it is missing, or another kind of array.
    """
    array = arrays.get(name)
    if array is None or array.ndim != 1 or array.dtype.kind != "u":
        kind = "missing" if array is None else f"{array.dtype} {array.shape}"
        raise ArtifactError(f"{name} is {kind}, expected counts (n,)", remedy=_REMEDY)
    return array
