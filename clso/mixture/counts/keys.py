"""Sorting 64-bit keys: which are distinct, how often each occurs, which rank each has."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from clso.mixture.counts.rows import UnsignedArray, narrow

__all__ = ["KeyArray", "ranked", "tally"]

KeyArray = npt.NDArray[np.uint64]


def tally(keys: KeyArray) -> tuple[KeyArray, UnsignedArray]:
    """Return the distinct keys, increasing, and how often each occurs; `keys` is sorted."""
    keys.sort()
    places = np.flatnonzero(_firsts(keys))
    return keys[places], narrow(np.diff(places, append=len(keys)))


def ranked(keys: KeyArray) -> tuple[npt.NDArray[np.uint32], KeyArray]:
    """Return the rank of each key among the distinct ones, and those; `keys` is overwritten."""
    index_bits = len(keys).bit_length()
    if int(keys.max(initial=0)).bit_length() + index_bits <= 64:
        # one sort of keys with their places in the low bits is far faster than an argsort
        keys <<= np.uint64(index_bits)
        keys |= np.arange(len(keys), dtype=np.uint64)
        keys.sort()
        order = (keys & np.uint64((1 << index_bits) - 1)).view(np.int64)
        keys >>= np.uint64(index_bits)
    else:
        order = np.argsort(keys)
        keys = keys[order]
    firsts = _firsts(keys)
    ranks = np.empty(len(keys), dtype=np.uint32)
    ranks[order] = np.cumsum(firsts, dtype=np.uint32) - np.uint32(1)
    return ranks, keys[firsts]


def _firsts(ordered: KeyArray) -> npt.NDArray[np.bool_]:
    firsts = np.ones(len(ordered), dtype=np.bool_)
    np.not_equal(ordered[1:], ordered[:-1], out=firsts[1:])
    return firsts
