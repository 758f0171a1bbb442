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
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from clso.artifacts.seal import AGAIN, PLACEHOLDER, Sealed, check_belongs_to, seal_of
from clso.errors import DISK_ERRORS, ArtifactError, DamageError, StorageError

__all__ = [
    "atomic_file",
    "atomic_write_bytes",
    "atomic_write_json",
    "atomic_write_sealed",
    "owner_of",
    "read_json",
    "read_sealed",
    "remove",
    "write_error",
    "write_sealed",
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


def atomic_write_sealed(path: Path, content: bytes | memoryview) -> None:
    """Write a file whole or not at all, with its seal in place of the placeholder.

    Raises:
        ArtifactError: as for `atomic_file`.
        ValueError: the content has no placeholder.
    """
    view = memoryview(content)
    start, digits = seal_of(view)
    with atomic_file(path) as file:  # in pieces, because a content may be large
        file.write(view[:start])
        file.write(digits)
        file.write(view[start + len(digits) :])


def write_sealed(
    path: Path, value: Mapping[str, Any], *, belongs_to: str = "", indent: int | None = 2
) -> None:
    """Write a JSON object whole or not at all, with what it belongs to and its seal.

    Raises:
        ArtifactError: as for `atomic_file`.
        ValueError: the value holds a NaN or an infinity, which JSON does not have.
    """
    whole = {**value, **({_BELONGS_TO: belongs_to} if belongs_to else {}), _SEAL: PLACEHOLDER}
    text = json.dumps(whole, indent=indent, allow_nan=False, ensure_ascii=False)
    atomic_write_sealed(path, text.encode() + b"\n")


def read_json(path: Path) -> Any:  # noqa: ANN401 - any JSON value
    """Read a JSON file.

    Raises:
        ArtifactError: it is missing, unreadable or damaged.
    """
    return _parsed(path, _content(path), AGAIN)


def read_sealed(
    path: Path,
    *,
    belongs_to: str | None = None,
    remedy: str = AGAIN,
    known: Callable[[Any], None] = lambda value: None,
) -> dict[str, Any]:
    """Read a JSON object that `write_sealed` wrote.

    Args:
        belongs_to: what it must belong to; `None`: anything.
        remedy: what to do if it is damaged.
        known: raises if the value is of another kind or version, which may have no seal.

    Raises:
        ArtifactError: it is missing, unreadable, damaged or another one's.
    """
    value = _unsealed(path, remedy, known)
    found = value.pop(_BELONGS_TO, "")
    if belongs_to is not None:
        check_belongs_to(path, found, belongs_to, remedy)
    return value


def owner_of(path: Path) -> str:
    """Return what a file that `write_sealed` wrote belongs to; empty: nothing.

    Raises:
        ArtifactError: it is missing, unreadable or damaged.
    """
    return str(_unsealed(path, AGAIN).get(_BELONGS_TO, ""))


def _unsealed(
    path: Path, remedy: str, known: Callable[[Any], None] = lambda value: None
) -> dict[str, Any]:
    content = _content(path)
    sealed = Sealed(path, content, remedy)
    if sealed.has_seal:
        sealed.check()
    value = _parsed(path, content, remedy)
    known(value)
    sealed.check()
    assert isinstance(value, dict), "a seal is a member of an object"
    del value[_SEAL]
    return value


_SEAL = "seal"
_BELONGS_TO = "belongs_to"


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise ArtifactError(
            f"{path} does not exist", remedy="the command that makes it makes it again"
        ) from None
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror}") from error


def _parsed(path: Path, content: bytes, remedy: str) -> Any:  # noqa: ANN401 - any JSON value
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DamageError(f"{path} is damaged: {error}", remedy=remedy) from error


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
