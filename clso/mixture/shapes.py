"""What tokens look like: shapes of their bytes, from fine to coarse.

Notation: V tokens; a shape numbering gives each of them a number, `(V,)`, from 0; equal shapes
have equal numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from clso.scoring import Int64Array

__all__ = ["COARSE", "token_shapes"]

Key = tuple[int, bytes]

# the numbering that serves as a class map: suffixes of two letters
COARSE: Final = 1


def token_shapes(token_texts: Sequence[bytes]) -> list[Int64Array]:
    """Return four numberings, by ever shorter suffixes: three letters, two, one, none.

    A shape is a leading space or not, the kind of the rest (lower case, Capital, UPPER, digits,
    signs, mixed, bytes beyond ASCII), and for words the last letters in lower case.
    """
    keys = [_key(text) for text in token_texts]
    numberings = [_numbers(keys)]
    keys = list(dict.fromkeys(keys))
    for length in (2, 1, 0):
        # only the distinct shapes of the finer numbering are looked at again
        cut = [(head, suffix[-length:] if length else b"") for head, suffix in keys]
        numberings.append(_numbers(cut)[numberings[-1]])
        keys = list(dict.fromkeys(cut))
    return numberings


def _numbers(keys: Sequence[Key]) -> Int64Array:
    number = {key: i for i, key in enumerate(dict.fromkeys(keys))}
    return np.array([number[key] for key in keys], dtype=np.int64)


def _key(text: bytes) -> Key:
    rest = text[1:] if text[:1] == b" " else text
    head = 8 * (len(rest) < len(text))
    if not rest:
        return head, b""
    if rest.isalpha():
        kind = 1 if rest.islower() else 2 if rest.istitle() else 3 if rest.isupper() else 4
        return head + kind, rest[-3:].lower()
    if rest.isdigit():
        # how many digits tells a year from a count
        return head + 5, b"%d" % min(len(rest), 4)
    if rest.isascii() and not any(byte > 127 or chr(byte).isalnum() for byte in rest):
        return head + 6, rest[-1:]
    return head + 7, b""
