"""Sorting 64-bit integer keys: the distinct keys, how often each occurs, and the rank of each."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from clso.mixture.arrays import UnsignedArray, narrow

__all__ = ["KeyArray", "ranked", "tally"]

KeyArray = npt.NDArray[np.uint64]


def tally(keys: KeyArray) -> tuple[KeyArray, UnsignedArray]:
    """Return the distinct keys in increasing order and their counts; `keys` is sorted in place."""
    keys.sort()
    starts = np.flatnonzero(_first_of_equal(keys))
    return keys[starts], narrow(np.diff(starts, append=len(keys)))


def ranked(keys: KeyArray) -> tuple[npt.NDArray[np.uint32], KeyArray]:
    """Return each key's rank among the distinct keys, and the distinct keys in increasing order.

    `keys` is overwritten.
    """
    index_bits = len(keys).bit_length()
    if int(keys.max(initial=0)).bit_length() + index_bits <= 64:
        # sorting keys with their index in the low bits is far faster than an argsort
        keys <<= np.uint64(index_bits)
        keys |= np.arange(len(keys), dtype=np.uint64)
        keys.sort()
        order = (keys & np.uint64((1 << index_bits) - 1)).view(np.int64)
        keys >>= np.uint64(index_bits)
    else:
        order = np.argsort(keys)
        keys = keys[order]
    is_first = _first_of_equal(keys)
    ranks = np.empty(len(keys), dtype=np.uint32)
    ranks[order] = np.cumsum(is_first, dtype=np.uint32) - np.uint32(1)
    return ranks, keys[is_first]


def _first_of_equal(sorted_keys: KeyArray) -> npt.NDArray[np.bool_]:
    """Return which keys differ from the key before them, `(n,)`."""
    is_first = np.ones(len(sorted_keys), dtype=np.bool_)
    np.not_equal(sorted_keys[1:], sorted_keys[:-1], out=is_first[1:])
    return is_first
