"""Files that are written whole or not at all.

A file is written beside its target, synced, then renamed over it. A reader sees the old contents
or the new; an interrupted writer leaves at most a temporary file.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from clso.errors import DISK_ERRORS, ArtifactError, StorageError

__all__ = [
    "atomic_file",
    "atomic_write_bytes",
    "atomic_write_json",
    "read_json",
    "remove",
    "write_error",
]

_WRITE_REMEDIES = {
    errno.ENOSPC: "free some space, or write elsewhere with --out DIR; the run resumes",
    errno.EFBIG: "files may not be as large here: raise the limit (ulimit -f), or write elsewhere "
    "with --out DIR; the run resumes",
    errno.EDQUOT: "the quota is used up: free some space, or write elsewhere with --out DIR",
    errno.EACCES: "make the folder writable, or write elsewhere with --out DIR",
    errno.EPERM: "make the folder writable, or write elsewhere with --out DIR",
    errno.EROFS: "the file system is read-only: write elsewhere with --out DIR",
    errno.ENOTDIR: "a file stands where a folder is needed: move it, or use --out DIR",
    errno.EEXIST: "a file stands where a folder is needed: move it, or use --out DIR",
    errno.EISDIR: "a folder stands where a file is needed: move it, or use --out DIR",
}


def write_error(path: Path, error: OSError) -> ArtifactError:
    """Return the error that tells a user why a path cannot be written, and what to do."""
    reason = error.strerror or str(error)
    remedy = _WRITE_REMEDIES.get(error.errno or 0, "write elsewhere with --out DIR")
    kind = StorageError if error.errno in DISK_ERRORS else ArtifactError
    return kind(f"{path} cannot be written: {reason}", remedy=remedy)


def _sync_folder(folder: Path) -> None:
    # the rename must survive a power cut; some file systems cannot sync a folder
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file that replaces `path` when the block ends without an error.

    Raises:
        ArtifactError: the folder cannot be written, or, a `StorageError`, the disk is full; the old
            file stays.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
    _sync_folder(path.parent)


def atomic_write_bytes(path: Path, content: bytes | memoryview) -> None:
    """Write a file whole or not at all; its folder is made if it is missing.

    Raises:
        ArtifactError: as for `atomic_file`.
    """
    with atomic_file(path) as file:
        file.write(content)


def atomic_write_json(path: Path, value: Any) -> None:  # noqa: ANN401 - any JSON value
    """Write a JSON value, indented, keys in the order given, whole or not at all.

    Raises:
        ArtifactError: as for `atomic_file`.
        ValueError: the value holds a NaN or an infinity, which JSON does not have.
    """
    text = json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False)
    atomic_write_bytes(path, text.encode() + b"\n")


def read_json(path: Path) -> Any:  # noqa: ANN401 - any JSON value
    """Read a JSON file.

    Raises:
        ArtifactError: it is missing, unreadable or damaged.
    """
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise ArtifactError(
            f"{path} does not exist", remedy="the command that makes it makes it again"
        ) from None
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ArtifactError(
            f"{path} is damaged: {error}", remedy="delete it and run the stage again"
        ) from error


def remove(path: Path) -> None:
    """Delete a file, or a folder with its contents; a missing path is no error.

    Of a symbolic link, only the link is deleted. Several processes may delete the same at once.

    Raises:
        ArtifactError: a file or folder cannot be deleted.
    """
    try:
        while path.is_dir() and not path.is_symlink():
            with contextlib.suppress(FileNotFoundError):  # another process has deleted a part
                shutil.rmtree(path)
        path.unlink(missing_ok=True)
    except OSError as error:
        raise ArtifactError(
            f"{path} cannot be deleted: {error.strerror or error}",
            remedy="make its folder writable",
        ) from error
