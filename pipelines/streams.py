"""The output streams of the command: closed, full, or of an encoding that lacks a character.

Work goes on when nobody can read what it says. What could not be written is told at the end, on the
error stream, with status 1. A pipe whose reader has gone ends the command, as it ends others.
"""

from __future__ import annotations

import codecs
import errno
import io
import os
import sys
import unicodedata
from typing import TextIO

__all__ = ["prepare_streams", "unwritten"]

_ERRORS = "clso-plain"
_PLAIN = {
    ord(odd): plain
    for odds, plain in (
        ("\u2500\u2501\u2550\u254c\u2010\u2011\u2012\u2013\u2014\u2212", "-"),
        ("\u2502\u2503\u2551\u254e", "|"),
        ("\u256d\u256e\u256f\u2570\u250c\u2510\u2514\u2518\u251c\u2524\u252c\u2534\u253c", "+"),
        ("\u2022\u00b7\u25cf\u22c5", "*"),
        ("\u201c\u201d\u201e\u00ab\u00bb", '"'),
        ("\u2018\u2019\u201a", "'"),
        ("\u2581\u2582\u2583\u2584", "."),
        ("\u2585\u2586\u2587\u2588", "#"),
        ("\u00d7\u2717", "x"),
        ("\u2192\u2265", ">"),
        ("\u2264\u2190", "<"),
        ("\u2713", "v"),
        ("\u2248", "~"),
        ("\u00b5\u03bc", "u"),
    )
    for odd in odds
}
"""What stands for a character that an encoding lacks: lines, dashes, quotes, bars, signs."""

_failures: dict[str, str] = {}


def prepare_streams() -> None:
    """Make standard output and error able to take every text, whatever they lead to.

    A width of the terminal that is no number counts as not given.
    """
    codecs.register_error(_ERRORS, _plain)
    for name in ("COLUMNS", "LINES"):  # rich fails at a text, and shows nothing at 0
        text = os.environ.get(name)
        if text is not None and not _is_size(text):
            del os.environ[name]
    for descriptor, name in ((0, "stdin"), (1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is None:
            _reserve(descriptor)
            stream = open(os.devnull, "w" if descriptor else "r", encoding="utf-8")  # noqa: SIM115
            setattr(sys, name, stream)
        elif descriptor and _is_plain(stream, descriptor):
            setattr(sys, name, _lenient(stream, descriptor, name))


def _is_size(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 6 and int(text) > 0


def unwritten() -> str:
    """Return a sentence on standard output if it could not be written; empty: it was."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    reason = _failures.get("stdout", "")
    return f"standard output cannot be written: {reason}" if reason else ""


def _reserve(descriptor: int) -> None:
    """Let a closed descriptor lead nowhere, or the next file that is opened takes its number."""
    try:
        os.fstat(descriptor)
    except OSError:
        opened = os.open(os.devnull, os.O_RDWR)
        if opened != descriptor:
            os.dup2(opened, descriptor)
            os.close(opened)


def _is_plain(stream: object, descriptor: int) -> bool:
    """Return whether a stream is the one that Python has made for a descriptor."""
    try:
        return isinstance(stream, io.TextIOWrapper) and stream.fileno() == descriptor
    except (OSError, ValueError):
        return False


def _lenient(stream: io.TextIOWrapper, descriptor: int, name: str) -> TextIO:
    raw = _Lenient(descriptor, name)
    buffer = io.BufferedWriter(raw)
    is_live = raw.isatty() or name == "stderr" or stream.write_through  # by python -u
    text = io.TextIOWrapper(buffer, stream.encoding, errors=_ERRORS, line_buffering=is_live)
    stream.flush()
    return text


class _Lenient(io.RawIOBase):
    """A descriptor that takes everything, and remembers the first failure."""

    def __init__(self, descriptor: int, name: str) -> None:
        super().__init__()
        self._descriptor = descriptor
        self.name = f"<{name}>"
        self.mode = "wb"
        self._key = name

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def write(self, content: object) -> int:
        """Write what can be written; the rest counts as written.

        Raises:
            BrokenPipeError: the reader has gone.
        """
        data = memoryview(content).cast("B")  # type: ignore[arg-type]  # a buffer, as typeshed has it
        try:
            return os.write(self._descriptor, data)
        except OSError as error:
            if error.errno in (errno.EPIPE, errno.EAGAIN):
                raise
            _failures.setdefault(self._key, error.strerror or str(error))
            return len(data)


def _plain(error: UnicodeError) -> tuple[str, int]:
    """Return what stands for characters that an encoding lacks: one for each, so tables stay."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(map(_ascii, lacking)), error.end


def _ascii(character: str) -> str:
    if ord(character) in _PLAIN:
        return _PLAIN[ord(character)]
    if unicodedata.category(character) == "Zs":
        return " "
    base = unicodedata.normalize("NFKD", character)[:1]
    return base if base.isascii() else "?"
