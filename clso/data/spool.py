"""The corpus in one temporary file while a data set is built.

A spool is written once, from front to back, and then read by byte ranges. So a corpus of any size
needs bounded memory, and a source on the network is read once.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np

from clso.data.duplicates import PlainTexts
from clso.data.extents import Extents
from clso.data.text import LONGEST_WORD, Piece, first_cut, last_cut
from clso.errors import DataError
from clso.progress import ProgressTask

__all__ = ["Spool", "TextRun"]

_SNAP_WINDOW = 1 << 16
_REPORT_BYTES = 1 << 24


class TextRun(NamedTuple):
    """UTF-8 text and whether its extent ends with it."""

    text: bytes
    ends_extent: bool


class Spool:
    """A temporary file of text at a path that does not exist yet; the caller removes it.

    Attributes:
        size_bytes: UTF-8 bytes of all documents.
        n_skipped: documents of whitespace alone.
        texts: says which documents are equal or near.
    """

    def __init__(self, path: Path) -> None:
        self._file = open(path, "xb", buffering=1 << 20)  # noqa: SIM115 - closed by __exit__
        # unbuffered: documents are read in any order, so reading ahead would be useless
        self._reader = open(path, "rb", buffering=0)  # noqa: SIM115 - closed by __exit__
        self._sizes = array("q")
        self._hash = hashlib.sha256()
        self.texts = PlainTexts()
        self.size_bytes = 0
        self.n_skipped = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._reader.close()
        self._file.close()

    @property
    def text_sha256(self) -> str:
        """64 hexadecimal digits of all documents' bytes in order."""
        return self._hash.hexdigest()

    def append(self, pieces: Iterable[Piece], corpus: str, progress: ProgressTask) -> Extents:
        """Write documents and return their extents; documents of whitespace alone are skipped.

        Raises:
            DataError: there is no text at all, or a lone surrogate, which UTF-8 cannot encode.
        """
        first, start = len(self._sizes), self.size_bytes
        hash_before, position, blank = self._hash.copy(), start, True
        reported = any_text = 0
        for text, ends_document in pieces:
            try:
                data = text.encode()
            except UnicodeEncodeError as error:
                raise DataError(
                    f"{corpus}: document {len(self._sizes) + self.n_skipped} holds the lone "
                    f"surrogate {text[error.start]!a}",
                    remedy="mend the text where it was exported; such a character is half of one",
                ) from error
            self._file.write(data)
            self._hash.update(data)
            self.texts.add(text)
            position += len(data)
            any_text |= len(data)
            blank = blank and (not text or text.isspace())
            if ends_document:
                self.texts.end()
                if blank:
                    self._file.seek(self.size_bytes)
                    self._file.truncate()
                    self._hash, position = hash_before, self.size_bytes
                    self.n_skipped += 1
                else:
                    self._sizes.append(position - self.size_bytes)
                    self.size_bytes = position
                hash_before, blank = self._hash.copy(), True
            if position - reported >= _REPORT_BYTES:
                reported = position
                progress.update(position, f"{len(self._sizes):,} documents")
        self._file.flush()
        if len(self._sizes) == first:
            raise DataError(
                f"{corpus} holds only whitespace" if any_text else f"{corpus} is empty",
                remedy="name files or rows that hold text",
            )
        n_bytes = np.array(self._sizes[first:], np.int64)
        ends = start + np.cumsum(n_bytes)
        return Extents(np.arange(first, len(self._sizes)), ends - n_bytes, n_bytes)

    def read(self, extents: Extents, run_bytes: int) -> Iterator[TextRun]:
        """Stream extents in order, in runs of at most `run_bytes` cut at token boundaries."""
        for offset, n_bytes in zip(extents.offset.tolist(), extents.n_bytes.tolist(), strict=True):
            end, carried = offset + n_bytes, b""
            while offset < end:
                # one byte more than a run: a boundary depends on the byte after it
                text = carried + self._bytes(
                    offset, min(run_bytes + 1 - len(carried), end - offset)
                )
                offset += len(text) - len(carried)
                cut = len(text) if len(text) <= run_bytes else last_cut(text, run_bytes)
                carried = text[cut:]
                yield TextRun(text[:cut], offset == end and not carried)
            if carried:
                yield TextRun(carried, True)

    def snap(self, position: int, end: int) -> int:
        """Return the first place from `position` on at which the document may be divided.

        The document ends at `end`; `first_cut` says which places these are.
        """
        window = self._bytes(position, min(_SNAP_WINDOW, end - position))
        before = self._bytes(max(0, position - LONGEST_WORD), min(position, LONGEST_WORD))
        ends = position + len(window) == end
        return position + first_cut(window, before=before, ends_document=ends)

    def _bytes(self, offset: int, n_bytes: int) -> bytes:
        self._reader.seek(offset)
        return self._reader.read(n_bytes)
