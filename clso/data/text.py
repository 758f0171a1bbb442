r"""How text is cut: into documents, and at boundaries that keep its tokens unchanged.

Notation: a *piece* is a run of text; a document is one or more pieces, and the last of them is
marked. A *boundary* is a place where GPT-2's pre-tokenizer

    's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+

ends a token in every context. So the tokens of a text are the joined tokens of its runs between
boundaries. Only pairs of characters are examined: a letter, digit or mark before a character of
another of these kinds or before whitespace, because no alternative of the pattern spans both. An
apostrophe may be the start of `'s`, so it has no boundary after it. Letters, digits and whitespace
are those of Unicode; next to a character that Python's tables do not know there is no boundary.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from itertools import chain, pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = [
    "END_OF_DOCUMENT",
    "LONGEST_WORD",
    "Piece",
    "articles",
    "boundary_mask",
    "first_cut",
    "is_heading",
    "last_cut",
    "short_words",
]

LONGEST_WORD = 1 << 10
"""Bytes; what is longer has no spaces, as Chinese or encoded data, and is no word."""

_HEADING = re.compile(r" = (?!=)[^\n]*(?<!=) = ?\r?\n?")
_CUT_WINDOW = 1 << 12


_WORD_END = re.compile(rb"[!-~](?=[ \t-\r])")
_SPACE_AFTER = re.compile(r"\S(?=\s)")
_JOINER = "\u200d"
_WHITESPACE = " \t\n\v\f\r\x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(
    map(chr, range(0x2000, 0x200B))
)


def _kind(character: str) -> int:
    """Return the kind: 1 letter, 2 digit, 3 mark, 4 whitespace, 0 control or unknown."""
    if character in _WHITESPACE:
        return 4
    category = unicodedata.category(character)
    if category[0] in "LN":
        return 1 if category[0] == "L" else 2
    return 0 if category in ("Cc", "Cn", "Co", "Cs") else 3


_ASCII_AFTER = np.array([*map(_kind, map(chr, range(128))), *[0] * 128], np.uint8)
_NEVER_BEFORE = frozenset(map(ord, _WHITESPACE + "'"))


class _Kinds:
    """The kinds of all code points, found for 256 at a time when the first of them is asked for.

    All at once would take a third of a second.

    Attributes:
        before: kinds of characters that may have a boundary after them, else 0, `(0x110000,)`.
        after: all kinds.
    """

    def __init__(self) -> None:
        self.before = np.zeros(0x110000, np.uint8)
        self.after = np.zeros(0x110000, np.uint8)
        self._known = np.zeros(0x1100, bool)

    def find(self, codes: npt.NDArray[np.uint32]) -> None:
        """Fill in the kinds of code points."""
        asked = np.bincount(codes >> 8, minlength=len(self._known)) > 0
        for page in np.flatnonzero(asked & ~self._known).tolist():
            some = range(page << 8, (page + 1) << 8)
            kinds = [*map(_kind, map(chr, some))]
            self.after[some.start : some.stop] = kinds
            self.before[some.start : some.stop] = [
                0 if code in _NEVER_BEFORE else kind for code, kind in zip(some, kinds, strict=True)
            ]
            self._known[page] = True


_KINDS = _Kinds()

_ASCII_BEFORE = _ASCII_AFTER.copy()
_ASCII_BEFORE[[code for code in _NEVER_BEFORE if code < 256]] = 0


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
    """Mark the bytes, `(n,)`, of UTF-8 text, whole characters, that have a boundary before them."""
    mask = np.zeros(len(text), bool)
    if not len(text):
        return mask
    if text.max() < 128:
        mask[1:] = _between(_ASCII_BEFORE[text[:-1]], _ASCII_AFTER[text[1:]])
        return mask
    codes = np.frombuffer(text.tobytes().decode().encode("utf-32-le"), "<u4")
    starts = np.flatnonzero((text & 0xC0) != 0x80)
    _KINDS.find(codes)
    mask[starts[1:]] = _between(_KINDS.before[codes[:-1]], _KINDS.after[codes[1:]])
    return mask


def _between(before: npt.NDArray[np.uint8], after: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    bounded: npt.NDArray[np.bool_] = (before != after) & (before != 0) & (after != 0)
    return bounded


def last_cut(text: bytes, limit: int) -> int:
    """Return the last place within the first `limit` bytes at which UTF-8 text may be cut.

    This is a boundary, or a place between characters if there is no boundary (no spaces at all).
    The text may break off within its last character.
    """
    end = limit
    while text[end] & 0xC0 == 0x80:
        end -= 1
    # a boundary depends on the character after it
    whole = end + _character_bytes(text[end])
    stop = whole if whole <= len(text) else end
    for start in (_character_start(text, max(0, limit - _CUT_WINDOW)), 0):
        window = np.frombuffer(text, np.uint8, stop - start, start)
        boundaries = np.flatnonzero(boundary_mask(window))
        if len(boundaries):
            return start + int(boundaries[-1])
    return end


def _character_bytes(first: int) -> int:
    """Return the length of a character in UTF-8 by its first byte."""
    return 1 if first < 0xC0 else 2 if first < 0xE0 else 3 if first < 0xF0 else 4


def _character_start(text: bytes, place: int) -> int:
    while place < len(text) and text[place] & 0xC0 == 0x80:
        place += 1
    return place


def first_cut(text: bytes, *, before: bytes, ends_document: bool) -> int:
    """Return the first place in UTF-8 text at which its document may be divided.

    It is the end of a word, in writing without spaces the end of a clause, and without either a
    place between characters. A word at the end of the document is kept whole: then it is the
    length of the text. Both texts may begin and break off within a character.

    Args:
        before: what stands before the text, as far as the length of a word.
        ends_document: whether the text is all that is left of the document.
    """
    ascii_end = _WORD_END.search(text)
    if ascii_end and (ascii_end.end() <= LONGEST_WORD or text[ascii_end.end() :].strip()):
        return ascii_end.end()
    start = _character_start(text, 0)
    characters = text[start:].decode(errors="ignore")

    def place(number: int) -> int:
        return start + len(characters[:number].encode())

    space = _SPACE_AFTER.search(characters)
    if space and place(space.end()) <= LONGEST_WORD:
        return place(space.end())
    has_words = any(map(str.isspace, before.decode(errors="ignore")))
    if ends_document and has_words and len(text) <= LONGEST_WORD:
        return len(text)
    clause = _clause_end(characters)
    if clause is None and space and characters[space.end() :].strip():
        clause = space.end()
    if clause is None:
        previous = (before + text[:start]).decode(errors="ignore")[-1:]
        clause = _whole_characters(characters, previous)
    return place(clause)


def _clause_end(characters: str) -> int | None:
    """Return the first place after punctuation and before a letter, digit or symbol."""
    categories = map(unicodedata.category, characters)
    for number, (left, right) in enumerate(pairwise(categories), 1):
        if left[0] == "P" and right[0] in "LNS":
            return number
    return None


def _whole_characters(characters: str, previous: str) -> int:
    """Return the first place that parts no accent or joined sign from the character before it."""
    for number, character in enumerate(characters):
        joined = _JOINER in (previous, character) or unicodedata.category(character)[0] == "M"
        if not joined:
            return number
        previous = character
    return len(characters)


def short_words(text: bytes, longest: int = LONGEST_WORD) -> list[bytes]:
    """Cut UTF-8 text within its runs between boundaries that are longer than `longest` bytes.

    The work of learning merges grows with the square of such a run.
    """
    bounds = np.flatnonzero(boundary_mask(np.frombuffer(text, np.uint8)))
    starts = [0, *bounds.tolist()]
    cuts = [0]
    for low, high in pairwise([*starts, len(text)]):
        if high - low > longest:
            cuts += [_character_start(text, place) for place in range(low + longest, high, longest)]
    return [text[low:high] for low, high in pairwise([*cuts, len(text)])]
