"""Seals: the sha256 of a file, in the file itself.

A sealed file has the text `clso-seal:` and 64 hexadecimal digits: the sha256 of its bytes with
these digits as zeros. So a flipped, lost or added byte is found, also where the format of the file
would not notice. The seal is text, so that every format has a place for it: a member of a JSON
object, an entry in the footer of Parquet or in the header of safetensors.

Beside the seal stands what a file belongs to: the `uid` of its run, the fingerprint of its data
set, or the name of its trial.
"""

from __future__ import annotations

import hashlib
import mmap
import os
from pathlib import Path

from clso.errors import DamageError

__all__ = ["AGAIN", "PLACEHOLDER", "Sealed", "check_belongs_to", "mapped", "seal_of"]

AGAIN = "delete it and run the stage again"
"""The remedy for a file that a stage makes."""

_MARK = b"clso-seal:"
_DIGITS = 64
_ZEROS = b"0" * _DIGITS
PLACEHOLDER = (_MARK + _ZEROS).decode()
"""What stands in a file's bytes until it is sealed."""

# JSON and Parquet have the seal at their end, safetensors in a header of at most 100 MB.
_TAIL = 1 << 16
_HEAD = 100_000_000

Content = bytes | memoryview


def seal_of(content: Content) -> tuple[int, bytes]:
    """Return where the digits of a content's seal begin, and the right digits.

    Raises:
        ValueError: the content has no seal and no placeholder.
    """
    view = memoryview(content)
    start = _start(view)
    if start is None:
        raise ValueError("the content has no placeholder of a seal")
    digest = hashlib.sha256(view[:start])
    digest.update(_ZEROS)
    digest.update(view[start + _DIGITS :])
    return start, digest.hexdigest().encode()


class Sealed:
    """The bytes of a file, and whether their seal is right.

    Args:
        path: of the file, for messages.
        remedy: what to do if it is damaged.

    Attributes:
        has_seal: whether there is one, right or not. Files of an older CLSO have none.
    """

    def __init__(self, path: Path, content: Content, remedy: str = AGAIN) -> None:
        self._path, self._remedy = path, remedy
        self.has_seal = _start(memoryview(content)) is not None
        self._is_right = False
        if self.has_seal:
            start, digits = seal_of(content)
            self._is_right = content[start : start + _DIGITS] == digits

    def check(self) -> None:
        """Check that the bytes are those that were written.

        Raises:
            DamageError: they are others, or there is no seal.
        """
        if not self.has_seal:
            raise DamageError(
                f"{self._path} has no seal: it is damaged, or an older CLSO wrote it",
                remedy=self._remedy,
            )
        if not self._is_right:
            raise DamageError(
                f"{self._path} is damaged: its bytes are not those that were written",
                remedy=self._remedy,
            )


def check_belongs_to(path: Path, found: object, expected: str, remedy: str = AGAIN) -> None:
    """Check that a file belongs where it lies.

    Raises:
        DamageError: it belongs to another run, data set or trial.
    """
    if found != expected:
        raise DamageError(
            f"{path} is another one's: it belongs to {found or 'nothing'}, expected "
            f"{expected or 'nothing'}",
            remedy=remedy,
        )


def mapped(path: Path) -> memoryview:
    """Return the bytes of a file without a copy of them.

    Raises:
        OSError: the file cannot be read.
    """
    with open(path, "rb") as file:
        if os.fstat(file.fileno()).st_size == 0:  # cannot be mapped
            return memoryview(b"")
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def _start(view: memoryview) -> int | None:
    """Return where the digits of the seal begin; `None`: there is none."""
    first = max(0, len(view) - _TAIL)
    place = bytes(view[first:]).rfind(_MARK)
    if place >= 0:
        place += first
    elif first:
        place = _in_header(view)
    start = place + len(_MARK)
    return start if place >= 0 and start + _DIGITS <= len(view) else None


def _in_header(view: memoryview) -> int:
    """Return where a mark lies in the header of safetensors; -1: nowhere."""
    size = int.from_bytes(view[:8], "little")
    return bytes(view[: 8 + min(size, _HEAD)]).find(_MARK)
