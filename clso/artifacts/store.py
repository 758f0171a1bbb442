"""Reading and writing that is never half done.

A file is written beside its target, synced, then renamed over it, so a reader sees the old
contents or the new and an interrupted writer leaves at most a temporary file. Tables carry
their schema's name and version; what is torn, foreign or of another version is refused by name.

Growing tables are *parts*: `part-00007.parquet` in one folder, one per generation. Writing a
part again replaces it, so a resumed search repeats its last generation without harm; `compact`
turns the folder into one file when the stage ends. A stage's *marker* is written last of all
and says that everything before it is complete.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from clso.artifacts.schemas import (
    NAME_KEY,
    SCHEMA_VERSION,
    VERSION_KEY,
    empty_table,
    schema,
    table_from_rows,
)
from clso.errors import ArtifactError

__all__ = [
    "append_part",
    "atomic_file",
    "atomic_write_bytes",
    "atomic_write_json",
    "compact",
    "mark_done",
    "part_path",
    "read_done",
    "read_json",
    "read_parts",
    "read_table",
    "remove",
    "write_error",
    "write_table",
]

_WRITE_REMEDIES = {
    errno.ENOSPC: "free some space, or write elsewhere with --out DIR; the run resumes",
    errno.EDQUOT: "the quota is used up: free some space, or write elsewhere with --out DIR",
    errno.EACCES: "make the folder writable, or write elsewhere with --out DIR",
    errno.EPERM: "make the folder writable, or write elsewhere with --out DIR",
    errno.EROFS: "the file system is read-only: write elsewhere with --out DIR",
    errno.ENOTDIR: "a file stands where a folder is needed: move it, or use --out DIR",
    errno.EEXIST: "a file stands where a folder is needed: move it, or use --out DIR",
    errno.EISDIR: "a folder stands where a file is needed: move it, or use --out DIR",
}


def write_error(path: Path, error: OSError) -> ArtifactError:
    """Say for a user why a path cannot be written."""
    reason = error.strerror or str(error)
    remedy = _WRITE_REMEDIES.get(error.errno or 0, "write elsewhere with --out DIR")
    return ArtifactError(f"{path} cannot be written: {reason}", remedy=remedy)


def _sync_folder(folder: Path) -> None:
    # the rename itself must survive a power cut; not every file system lets a folder be synced
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file beside `path` that takes its place when all is written.

    Raises:
        ArtifactError: the folder cannot be written or the disk is full; the old file stays.
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
    """Write a file whole or not at all, making its folder if need be.

    Raises:
        ArtifactError: as `atomic_file`.
    """
    with atomic_file(path) as file:
        file.write(content)


def atomic_write_json(path: Path, value: Any) -> None:  # noqa: ANN401 - any JSON value
    """Write a JSON value, indented, keys in the order given, whole or not at all.

    Raises:
        ArtifactError: as for `atomic_write_bytes`.
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
    except ValueError as error:
        raise ArtifactError(
            f"{path} is damaged: {error}", remedy="delete it and run the stage again"
        ) from error


def write_table(path: Path, table: pa.Table, schema_name: str) -> None:
    """Write a table as Parquet, the schema's name and version in the footer.

    Raises:
        ArtifactError: as for `atomic_write_bytes`.
        ValueError: the table's columns are not the schema's.
    """
    expected = schema(schema_name)
    if table.column_names != expected.names:
        raise ValueError(
            f"the table has the columns {table.column_names}, {schema_name!r} has {expected.names}"
        )
    buffer = io.BytesIO()
    try:
        pq.write_table(table.cast(expected), buffer, compression="zstd", write_page_checksum=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise ValueError(f"the table does not fit the schema {schema_name!r}: {error}") from error
    atomic_write_bytes(path, buffer.getbuffer())


def read_table(path: Path, schema_name: str) -> pa.Table:
    """Read a table that `write_table` wrote.

    Raises:
        ArtifactError: the file is missing, torn, holds another table, or has another version.
    """
    expected = schema(schema_name)
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            metadata = file.schema_arrow.metadata or {}
            name, version = metadata.get(NAME_KEY), metadata.get(VERSION_KEY)
            if name is None or version is None:
                raise ArtifactError(
                    f"{path} is a Parquet file, but not one of CLSO's",
                    remedy=f"expected a table {schema_name!r}; move the file away",
                )
            if name != schema_name.encode():
                raise ArtifactError(
                    f"{path} holds the table {name.decode(errors='replace')!r}, "
                    f"expected {schema_name!r}",
                    remedy="move the file away and run the stage again",
                )
            if version != str(SCHEMA_VERSION).encode():
                raise ArtifactError(
                    f"{path} has schema version {version.decode(errors='replace')}, "
                    f"this CLSO reads version {SCHEMA_VERSION}",
                    remedy="read it with the CLSO that wrote it, or run again with --fresh",
                )
            table = file.read()
    except FileNotFoundError:
        raise ArtifactError(
            f"{path} does not exist", remedy="the command that makes it makes it again"
        ) from None
    except (pa.ArrowException, OSError) as error:
        raise ArtifactError(
            f"{path} is torn or no Parquet file: {error}",
            remedy="delete it and run the stage again",
        ) from error
    if not table.schema.equals(expected):
        raise ArtifactError(
            f"{path} says that it is {schema_name!r}, but its columns are others",
            remedy="delete it and run the stage again",
        )
    return table


def part_path(directory: Path, part: int) -> Path:
    """Return where part number `part` of a growing table lies."""
    return directory / f"part-{part:05d}.parquet"


def append_part(
    directory: Path, part: int, rows: Iterable[Mapping[str, Any]], schema_name: str
) -> Path:
    """Write rows as part number `part` of a growing table; the same number replaces it."""
    path = part_path(directory, part)
    write_table(path, table_from_rows(rows, schema_name), schema_name)
    return path


def read_parts(directory: Path, schema_name: str) -> pa.Table:
    """Read a growing table: all parts under a folder, in the order of their paths.

    Raises:
        ArtifactError: as for `read_table`; a folder that is missing is a table without rows.
    """
    paths = sorted(directory.rglob("part-*.parquet"))
    if not paths:
        return empty_table(schema_name)
    return pa.concat_tables([read_table(path, schema_name) for path in paths])


def compact(
    directory: Path, target: Path, schema_name: str, beside: pa.Table | None = None
) -> pa.Table:
    """Turn a folder of parts into one file, then remove the folder; return the table.

    It may be called again after an interruption at any point: without parts, the target stands.

    Args:
        directory: where the parts lie.
        target: the file; what is there is replaced.
        schema_name: of parts and target.
        beside: rows that stand before those of the parts.

    Raises:
        ArtifactError: as for `read_table` and `write_table`.
    """
    doomed = directory.with_name(f".{directory.name}.old")
    shutil.rmtree(doomed, ignore_errors=True)
    if target.exists() and not any(directory.rglob("part-*.parquet")):
        return read_table(target, schema_name)
    table = read_parts(directory, schema_name)
    if beside is not None:
        table = pa.concat_tables([beside, table])
    table = table.combine_chunks()
    write_table(target, table, schema_name)
    if directory.exists():
        # renamed first: an interrupted removal must not leave some of the parts to be read
        try:
            os.replace(directory, doomed)
        except OSError as error:
            raise write_error(directory, error) from error
        shutil.rmtree(doomed, ignore_errors=True)
    return table


def remove(path: Path) -> None:
    """Delete a file or a folder with all that is in it; nothing there is fine.

    Raises:
        ArtifactError: something cannot be deleted.
    """
    try:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise ArtifactError(
            f"{path} cannot be deleted: {error.strerror}", remedy="make its folder writable"
        ) from error


def mark_done(directory: Path, stage: str, content: Mapping[str, Any]) -> None:
    """Write a stage's completion marker; call it after all of its data is on disk."""
    atomic_write_json(directory / f"{stage}.done.json", dict(content))


def read_done(directory: Path, stage: str) -> dict[str, Any] | None:
    """Return what a stage's marker says; `None` if the stage never finished.

    Raises:
        ArtifactError: the marker is damaged.
    """
    path = directory / f"{stage}.done.json"
    if not path.exists():
        return None
    content = read_json(path)
    if not isinstance(content, dict):
        raise ArtifactError(f"{path} is damaged", remedy="delete it and run the stage again")
    return content
