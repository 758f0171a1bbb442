r"""How text is cut: into documents, and at boundaries that keep its tokens unchanged.

Notation: a *piece* is a run of text; a document is one or more pieces, and the last of them is
marked. A *boundary* is a place where GPT-2's pre-tokenizer

    's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+

ends a token in every context. So the tokens of a text are the joined tokens of its runs between
boundaries. Only pairs of ASCII characters are examined: a letter, digit or mark before a character
of another of these kinds or before whitespace, because no alternative of the pattern spans both.
An apostrophe may be the start of `'s`, so it has no boundary after it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import chain, pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["END_OF_DOCUMENT", "Piece", "articles", "boundary_mask", "is_heading", "last_cut"]

_HEADING = re.compile(r" = (?!=)[^\n]*(?<!=) = ?\r?\n?")
_CUT_WINDOW = 1 << 12


def _kinds() -> npt.NDArray[np.uint8]:
    """Return the kind of each byte: 1 letter, 2 digit, 3 mark, 4 whitespace, 0 other."""
    kinds = np.zeros(256, np.uint8)
    for byte in range(128):
        character = chr(byte)
        if character in " \t\n\v\f\r":
            kinds[byte] = 4
        elif character.isprintable():
            kinds[byte] = 1 if character.isalpha() else 2 if character.isdigit() else 3
    return kinds


_KIND_AFTER = _kinds()
_KIND_BEFORE = _KIND_AFTER.copy()
_KIND_BEFORE[list(b" \t\n\v\f\r'")] = 0


class Piece(NamedTuple):
    """A run of text, and whether it is the last of its document."""

    text: str
    ends_document: bool


END_OF_DOCUMENT = Piece("", True)


def is_heading(line: str) -> bool:
    """Return whether a line is a level-one WikiText heading, ` = Title = `."""
    return _HEADING.fullmatch(line) is not None


def articles(lines: Iterable[str]) -> Iterator[Piece]:
    r"""Join lines of WikiText (each with its `\n`) to documents, one per article.

    An article starts at a level-one heading with blank lines around it. Formulas such as
    ` = 1 / s and k = ` look like headings, but have no blank lines around them.
    """
    after_blank, has_text = True, False
    for line, following in pairwise(chain(lines, ("",))):
        blank = not line.strip()
        if has_text and after_blank and is_heading(line) and not following.strip():
            yield END_OF_DOCUMENT
            has_text = False
        yield Piece(line, False)
        after_blank, has_text = blank, has_text or not blank
    yield END_OF_DOCUMENT


def boundary_mask(text: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Mark the bytes, `(n,)`, of UTF-8 text that have a boundary before them."""
    kind_before, kind_after = _KIND_BEFORE[text[:-1]], _KIND_AFTER[text[1:]]
    mask = np.zeros(len(text), bool)
    mask[1:] = (kind_before != kind_after) & (kind_before != 0) & (kind_after != 0)
    return mask


def last_cut(text: bytes, limit: int) -> int:
    """Return the last place within the first `limit` bytes at which UTF-8 text may be cut.

    This is a boundary, or a place between characters if there is no boundary (no spaces at all).
    """
    for start in (max(0, limit - _CUT_WINDOW), 0):
        window = np.frombuffer(text, np.uint8, limit + 1 - start, start)
        boundaries = np.flatnonzero(boundary_mask(window))
        if len(boundaries):
            return start + int(boundaries[-1])
    while text[limit] & 0xC0 == 0x80:
        limit -= 1
    return limit
