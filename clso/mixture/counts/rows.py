"""Which symbols follow which context: a sparse table with one row per context.

Only the symbols that occur in a row are kept, as in the compressed sparse row (CSR) format.

Notation: row r holds `symbols[starts[r] : starts[r + 1]]`, in increasing order. An entry is one
element of `symbols`, and its index there is its entry number. Entry numbers of one table can be
the row numbers of another: an entry (context, symbol) is a context that is one element longer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from clso.errors import ArtifactError
from clso.mixture.arrays import UnsignedArray, narrow, stored_array
from clso.mixture.counts.keys import KeyArray
from clso.scoring import Int64Array

__all__ = ["Rows", "symbol_bits"]

BoolArray = npt.NDArray[np.bool_]


def symbol_bits(alphabet: int) -> int:
    """Return the number of bits that hold every symbol 0 .. `alphabet` - 1."""
    return max(alphabet - 1, 0).bit_length()


class Rows:
    """A sparse table of rows and symbols.

    Args:
        starts: the first entry of each row, and the number of entries, `(n_rows + 1,)`.
        symbols: the entries of all rows, `(n_entries,)`, increasing within a row.
        alphabet: the number of symbols; a symbol is 0 .. `alphabet` - 1.
    """

    def __init__(self, starts: UnsignedArray, symbols: UnsignedArray, alphabet: int) -> None:
        self.starts = starts
        self.symbols = symbols
        self.alphabet = alphabet

    @classmethod
    def from_parts(cls, parts: Iterable[tuple[int, KeyArray]], alphabet: int) -> Rows:
        """Return the table that has the rows of all parts, one part after another.

        A part is its number of rows and its entries, as increasing keys
        `row << symbol_bits(alphabet) | symbol`, where row 0 is the first of the part.
        """
        bits = symbol_bits(alphabet)
        degrees: list[UnsignedArray] = [np.empty(0, np.uint8)]
        symbols: list[UnsignedArray] = [np.empty(0, np.min_scalar_type(alphabet - 1))]
        for n_rows, keys in parts:
            rows = (keys >> np.uint64(bits)).astype(np.int64)
            degrees.append(narrow(np.bincount(rows, minlength=n_rows)))
            symbols.append((keys & np.uint64((1 << bits) - 1)).astype(symbols[0].dtype))
        starts = np.zeros(1 + sum(map(len, degrees)), dtype=np.uint32)
        np.cumsum(np.concatenate(degrees), out=starts[1:])
        return cls(starts, np.concatenate(symbols), alphabet)

    def __len__(self) -> int:
        return len(self.symbols)

    @property
    def n_rows(self) -> int:
        """The number of rows, with the empty ones."""
        return len(self.starts) - 1

    @property
    def degrees(self) -> UnsignedArray:
        """The number of entries of each row, `(n_rows,)`."""
        return np.diff(self.starts)

    @cached_property
    def occupied(self) -> BoolArray:
        """Whether a row has entries, `(n_rows,)`."""
        return np.asarray(self.starts[1:] != self.starts[:-1])

    @property
    def comparisons(self) -> int:
        """The comparisons that find an entry; in a table of one row, the symbol is an index."""
        return 0 if self.n_rows == 1 else len(self).bit_length()

    def row_of_entries(self) -> UnsignedArray:
        """Return the row of each entry, `(n_entries,)`."""
        return np.repeat(np.arange(self.n_rows, dtype=np.uint32), self.degrees)

    def find(self, rows: Int64Array, symbols: npt.NDArray[Any]) -> Int64Array:
        """Return the entry number of each pair of row and symbol, `(n,)`; -1 if there is none."""
        if self.n_rows == 1:
            return np.asarray(self._entry_of_symbol[symbols], dtype=np.int64)
        entries = np.full(len(rows), -1, dtype=np.int64)
        if len(self.symbols) == 0 or len(rows) == 0:
            return entries
        keys = self._key(rows, symbols)
        # sorted searches walk the same memory one after another: several times faster
        order = np.argsort(keys)
        keys = keys[order]
        candidates = np.searchsorted(self._keys, keys)
        candidates[candidates == len(self._keys)] = 0
        exists = self._keys[candidates] == keys
        entries[order[exists]] = candidates[exists]
        return entries

    def find_one(self, row: int, symbol: int) -> int:
        """Return the entry number of one row and symbol; -1 if there is none."""
        entries = self.entries_of(row)
        members = self.symbols[entries]
        index = int(np.searchsorted(members, symbol))
        exists = index < len(members) and members[index] == symbol
        return entries.start + index if exists else -1

    def entries_of(self, row: int) -> slice:
        """Return the range of a row's entry numbers."""
        return slice(int(self.starts[row]), int(self.starts[row + 1]))

    @cached_property
    def _keys(self) -> KeyArray:
        return self._key(self.row_of_entries(), self.symbols)

    @cached_property
    def _entry_of_symbol(self) -> npt.NDArray[np.int32]:
        """The entry number of each symbol in a table of one row, `(alphabet,)`."""
        entries = np.full(self.alphabet, -1, dtype=np.int32)
        entries[self.symbols] = np.arange(len(self.symbols), dtype=np.int32)
        return entries

    def _key(self, rows: npt.NDArray[Any], symbols: npt.NDArray[Any]) -> KeyArray:
        keys = rows.astype(np.uint64)
        keys <<= np.uint64(symbol_bits(self.alphabet))
        keys |= symbols.astype(np.uint64, copy=False)
        return keys

    def to_arrays(self) -> dict[str, UnsignedArray]:
        """Return symbols and degrees in the smallest types."""
        smallest = np.min_scalar_type(self.alphabet - 1)
        return {
            "symbols": self.symbols.astype(smallest, copy=False),
            "degrees": narrow(self.degrees),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]], name: str, alphabet: int) -> Rows:
        """Return the table that `to_arrays` described, from `name.symbols` and `name.degrees`.

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
                remedy="delete the stored functions and count again",
            )
        return cls(starts.astype(np.uint32), symbols, alphabet)
