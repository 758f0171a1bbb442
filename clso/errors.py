"""Errors for users: each names the mistake, its place, what was expected, and the remedy."""

import errno
from typing import ClassVar

__all__ = [
    "DISK_ERRORS",
    "ArtifactError",
    "ClsoError",
    "ConfigError",
    "DamageError",
    "DataError",
    "DownloadError",
    "EngineError",
    "GenomeError",
    "MeterError",
    "SearchError",
    "StorageError",
    "WorkError",
    "first_line",
    "shown",
]

DISK_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
"""Numbers of the errors of a disk that is full, or that fails."""
_MOST_SHOWN = 160


class ClsoError(Exception):
    """An error that the user can correct; the command line prints it without a traceback.

    `message` says what was wrong, where, and what was expected; `remedy` what to do, as an
    instruction. `exit_status` of the command line is 2 for a user's mistake, 1 for failed work.
    """

    exit_status: ClassVar[int] = 2

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}\n  {self.remedy}" if self.remedy else self.message


class ConfigError(ClsoError):
    """A configuration file or override that does not describe a run."""


class DataError(ClsoError):
    """A corpus or tokenizer that cannot be read, or is too small."""


class WorkError(ClsoError):
    """Correctly configured work that failed, such as a training that diverged."""

    exit_status = 1


class DownloadError(DataError):
    """A download that was interrupted; another attempt may succeed."""

    exit_status = 1


class GenomeError(ClsoError):
    """A genome of the wrong length, or a gene outside its slot's library."""


class ArtifactError(ClsoError):
    """A stored table, manifest or folder that is missing, damaged, foreign or cannot be written."""


class DamageError(ArtifactError):
    """A stored file that is not what was written, or that belongs to another run."""

    exit_status = 1


class StorageError(ArtifactError):
    """A disk that is full, or that fails: nothing that the user typed is wrong."""

    exit_status = 1


class SearchError(ClsoError):
    """A search that gets results it did not ask for, or a request it cannot fulfil."""


class EngineError(ClsoError):
    """An engine that cannot be opened: not installed, out of reach, or with other code."""


class MeterError(ClsoError):
    """An energy meter that cannot be used or read."""


def first_line(error: BaseException) -> str:
    """Return the first line of what a library's error says, or the name of its class."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def shown(value: object) -> str:
    """Return a value as a message shows it: of a long one, its beginning."""
    try:
        text = repr(value)
    except (RecursionError, ValueError):  # nested too deeply; a number of thousands of digits
        return f"a value of type {type(value).__name__}"
    return (
        text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}... ({len(text):,} characters)"
    )
