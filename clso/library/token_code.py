"""Codes of tokens: vectors of +1 and -1 that one unit can tell apart.

The code of token v is the word of the Reed-Muller code RM(2, r) that the binary digits of v choose,
2^r long. Two of its words differ in at least 2^(r - 2) places. So the product of two codes is 2^r
for equal tokens, and at most 2^(r - 1) for others. r = 5 has a word for each of 65,536 tokens, and
r = 6 for 4 million.

Source: MacWilliams and Sloane 1977, chapter 13.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from clso.library.entry import FloatMatrix

__all__ = ["code_length", "least_difference", "token_codes"]

_SMALLEST, _LARGEST = 3, 7


def code_length(vocab_size: int) -> int:
    """Return the length of the codes of this many tokens."""
    for r in range(_SMALLEST, _LARGEST):
        if 2 ** len(_words(r)) >= vocab_size:
            return int(2**r)
    raise ValueError(f"there are no codes for {vocab_size} tokens")


def least_difference(length: int) -> int:
    """Return by how much the product of a code with another is below that with itself."""
    return length // 2


def token_codes(tokens: npt.NDArray[np.integer], length: int) -> FloatMatrix:
    """Return the codes of tokens, `(n, length)`."""
    words = _words(length.bit_length() - 1)
    digits = np.asarray(tokens, dtype=np.int64)[:, None] >> np.arange(len(words)) & 1
    return np.asarray(1 - 2 * (digits @ words % 2), dtype=np.float32)


def _words(r: int) -> npt.NDArray[np.int64]:
    """Return a generator matrix of RM(2, r): the monomials of degree 2 at most, `(k, 2**r)`."""
    digits = (np.arange(2**r) >> np.arange(r)[:, None] & 1).astype(np.int64)
    products = [digits[i] * digits[j] for i in range(r) for j in range(i)]
    return np.array([np.ones(2**r, dtype=np.int64), *digits, *products])
