"""What can go wrong for a user: one class per place, each saying what, where and what to do."""

__all__ = [
    "ArtifactError",
    "ClsoError",
    "ConfigError",
    "DataError",
    "DownloadError",
    "GenomeError",
    "MeterError",
]


class ClsoError(Exception):
    """A mistake that the user can mend.

    The command line prints the message without a traceback and exits with status 2.

    Args:
        message: what was wrong, where, and what was expected.
        remedy: what to do about it, as an instruction.
    """

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


class DownloadError(DataError):
    """A download that broke off midway and may go through when it is tried again."""


class GenomeError(ClsoError):
    """A genome of the wrong length, or a gene outside its slot's library."""


class ArtifactError(ClsoError):
    """A stored table, manifest or folder that is missing, damaged, foreign or cannot be written."""


class MeterError(ClsoError):
    """An energy meter that was asked for by name and is not there."""
