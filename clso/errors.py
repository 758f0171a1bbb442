"""What can go wrong for a user: one class per place, each saying what, where and what to do."""

from typing import ClassVar

__all__ = [
    "ArtifactError",
    "ClsoError",
    "ConfigError",
    "DataError",
    "DownloadError",
    "GenomeError",
    "MeterError",
    "SearchError",
    "WorkError",
]


class ClsoError(Exception):
    """Something that the user can mend, told without a traceback.

    Attributes:
        exit_status: what the command line exits with: 2 for a user's mistake, 1 for a failure of
            the work itself.

    Args:
        message: what was wrong, where, and what was expected.
        remedy: what to do about it, as an instruction.
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
    """A corpus or tokenizer that cannot be read, or is too small for what is asked of it."""


class WorkError(ClsoError):
    """Work that was asked for rightly and came to nothing, such as a training that diverged."""

    exit_status = 1


class DownloadError(DataError):
    """A download that broke off midway and may go through when it is tried again."""

    exit_status = 1


class GenomeError(ClsoError):
    """A genome of the wrong length, or a gene outside its slot's library."""


class ArtifactError(ClsoError):
    """A stored table, manifest or folder that is missing, damaged, foreign or cannot be written."""


class SearchError(ClsoError):
    """A search that was told what it did not ask for, or asked to do what it cannot."""


class MeterError(ClsoError):
    """An energy meter that was asked for by name and is not there."""
