r"""How text is cut: into documents, and into pieces that tokenize as the whole would.

Notation: a *piece* is a run of text; a document is one or more pieces, the last of which says
so. A *boundary* is a place where GPT-2's pre-tokenizer

    's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+

ends a token whatever stands around it, so that the tokens of a text are those of its runs
between boundaries, joined. Only pairs of ASCII characters are looked at: a letter, a digit or a
mark before a character of another of these kinds or whitespace, where no alternative goes on
from the one to the other. An apostrophe may be the start of `'s`, so it has no boundary after it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import chain, pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = [
    "END_OF_DOCUMENT",
    "Piece",
    "articles",
    "boundary_mask",
    "is_heading",
    "last_cut",
]

_HEADING = re.compile(r" = (?!=)[^\n]*(?<!=) = ?\r?\n?")
_CUT_WINDOW = 1 << 12


def _kinds() -> npt.NDArray[np.uint8]:
    """Number the kinds of ASCII characters; other bytes are of no kind, 0."""
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
    """A run of text and whether its document ends with it."""

    text: str
    ends_document: bool


END_OF_DOCUMENT = Piece("", True)


def is_heading(line: str) -> bool:
    """Return whether a line is a level-one WikiText heading, ` = Title = `."""
    return _HEADING.fullmatch(line) is not None


def articles(lines: Iterable[str]) -> Iterator[Piece]:
    r"""Join lines of WikiText (each with its `\n`) to documents, one per article.

    An article starts at a level-one heading with blank lines around it; formulas such as
    ` = 1 / s and k = ` inside a paragraph look like headings but have none.
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
    """Return where to cut UTF-8 text of more than `limit` bytes: after at most so many of them.

    It is the last boundary; text without any (no spaces at all) is cut between characters.
    """
    for start in (max(0, limit - _CUT_WINDOW), 0):
        window = np.frombuffer(text, np.uint8, limit + 1 - start, start)
        found = np.flatnonzero(boundary_mask(window))
        if len(found):
            return start + int(found[-1])
    while text[limit] & 0xC0 == 0x80:
        limit -= 1
    return limit
