"""Tables as Parquet files, each with its schema's name and version, its owner and a seal.

A file that is damaged, foreign, of another version or another run's is refused by name.
"""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from clso.artifacts.schemas import NAME_KEY, VERSION_KEY, schema, schema_version
from clso.artifacts.seal import AGAIN, PLACEHOLDER, Sealed, check_belongs_to
from clso.artifacts.store import atomic_write_sealed, write_error
from clso.errors import ArtifactError, DamageError

__all__ = ["Parts", "read_table", "table_from_rows", "table_name", "write_table"]

_SEAL_KEY = b"clso.seal"
_BELONGS_TO_KEY = b"clso.belongs_to"


def table_from_rows(rows: Iterable[Mapping[str, Any]], name: str) -> pa.Table:
    """Turn rows into a table; every row has exactly the schema's columns.

    Raises:
        ValueError: a row has a column too many or too few, a `None` in a column that is never
            null, or a value of another type. These are mistakes of the program, not of a user.
    """
    expected = schema(name)
    names = set(expected.names)
    checked = []
    for number, row in enumerate(rows):
        if row.keys() != names:
            missing = sorted(names - row.keys())
            unknown = sorted(row.keys() - names)
            raise ValueError(
                f"row {number} of {name!r} does not fit its schema: "
                f"missing {missing}, unknown {unknown}"
            )
        checked.append(row)
    try:
        table = pa.Table.from_pylist(checked, schema=expected)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
        raise ValueError(f"a row of {name!r} has a value of another type: {error}") from error
    for field in expected:
        if not field.nullable and table[field.name].null_count:
            raise ValueError(f"column {field.name!r} of {name!r} has a None, expected a value")
    return table


def write_table(path: Path, table: pa.Table, schema_name: str, *, belongs_to: str = "") -> None:
    """Write a table as Parquet; name, version, what it belongs to and the seal are in the footer.

    Raises:
        ArtifactError: as for `atomic_file`.
        ValueError: the table's columns are not the schema's.
    """
    expected = schema(schema_name)
    if table.column_names != expected.names:
        raise ValueError(
            f"the table has the columns {table.column_names}, {schema_name!r} has {expected.names}"
        )
    entries = {_BELONGS_TO_KEY: belongs_to.encode(), _SEAL_KEY: PLACEHOLDER.encode()}
    buffer = io.BytesIO()
    try:
        cast = table.cast(expected)
        with pq.ParquetWriter(
            buffer, expected, compression="zstd", write_page_checksum=True
        ) as writer:
            writer.write_table(cast)
            # an entry of the footer alone: in the schema it would be stored a second time
            writer.add_key_value_metadata(entries)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise ValueError(f"the table does not fit the schema {schema_name!r}: {error}") from error
    atomic_write_sealed(path, buffer.getbuffer())


def read_table(path: Path, schema_name: str, *, belongs_to: str | None = None) -> pa.Table:
    """Read a table that `write_table` wrote.

    `belongs_to` is what it must belong to; `None`: anything.

    Raises:
        ArtifactError: the file is missing or damaged, holds another table or version, or is
            another one's.
    """
    expected = schema(schema_name)
    try:
        content = path.read_bytes()
        sealed = Sealed(path, content)
        if sealed.has_seal:
            sealed.check()
        with pq.ParquetFile(pa.BufferReader(content)) as file:
            metadata = file.metadata.metadata or {}
            _check_version(path, metadata, schema_name)
            sealed.check()
            if belongs_to is not None:
                found = metadata.get(_BELONGS_TO_KEY, b"").decode()
                check_belongs_to(path, found, belongs_to)
            # without Arrow's threads: one that still holds the bytes, which are Python's, when the
            # interpreter ends aborts the process
            table = file.read(use_threads=False)
    except FileNotFoundError:
        raise ArtifactError(
            f"{path} does not exist", remedy="the command that makes it makes it again"
        ) from None
    except MemoryError:  # also of Arrow, whose error is an ArrowException too
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DamageError(f"{path} is torn or no Parquet file: {error}", remedy=AGAIN) from error
    if not table.schema.equals(expected):
        raise DamageError(
            f"{path} says that it is {schema_name!r}, but its columns are others", remedy=AGAIN
        )
    return table.replace_schema_metadata(expected.metadata)


def _check_version(path: Path, metadata: Mapping[bytes, bytes], schema_name: str) -> None:
    name, version = metadata.get(NAME_KEY), metadata.get(VERSION_KEY)
    if name is None or version is None:
        raise ArtifactError(
            f"{path} is a Parquet file, but not one of CLSO's",
            remedy=f"expected a table {schema_name!r}; move the file away",
        )
    if name != schema_name.encode():
        raise DamageError(
            f"{path} holds the table {name.decode(errors='replace')!r}, expected {schema_name!r}",
            remedy="move the file away and run the stage again",
        )
    if version != schema_version(schema_name).encode():
        raise ArtifactError(
            f"{path} has schema version {version.decode(errors='replace')}, "
            f"this CLSO reads version {schema_version(schema_name)}",
            remedy="read it with the CLSO that wrote it, or run again with --fresh",
        )


def table_name(path: Path) -> str:
    """Return the name of the table that a file holds, from its footer.

    Raises:
        ArtifactError: the file is missing or damaged, or none of CLSO's.
    """
    try:
        content = path.read_bytes()
        sealed = Sealed(path, content)
        if sealed.has_seal:
            sealed.check()
        metadata = pq.read_metadata(pa.BufferReader(content)).metadata or {}
        name: bytes = metadata[NAME_KEY]
        return name.decode()
    except MemoryError:
        raise
    except (pa.ArrowException, KeyError, OSError, ValueError) as error:
        raise DamageError(
            f"{path} is missing, torn, or none of CLSO's tables", remedy=AGAIN
        ) from error


@dataclass(frozen=True)
class Parts:
    """A growing table: files `part-00007.parquet` in a folder or below it, one per generation.

    Writing a part again replaces it, so a resumed search repeats its last generation without
    harm. `compact` turns the folder into one file when the stage ends. All files belong to
    `belongs_to`.
    """

    folder: Path
    schema_name: str
    belongs_to: str = ""

    def path(self, part: int) -> Path:
        """Return the file of a part."""
        return self.folder / f"part-{part:05d}.parquet"

    def write(self, part: int, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write a part; an earlier one of the same number is replaced.

        Raises:
            ArtifactError: as for `write_table`.
        """
        self.write_table(part, table_from_rows(rows, self.schema_name))

    def write_table(self, part: int, table: pa.Table) -> None:
        """Write a part that is a table already.

        Raises:
            ArtifactError: as for `write_table`.
        """
        self._write(self.path(part), table)

    def read_part(self, part: int) -> pa.Table:
        """Read one part.

        Raises:
            ArtifactError: as for `read_table`.
        """
        return self._read(self.path(part))

    def paths(self) -> list[Path]:
        """Return the files of all parts, also of the folders below."""
        return sorted(self.folder.rglob("part-*.parquet"))

    def read(self) -> pa.Table:
        """Read all parts in the order of their paths; without parts, a table without rows.

        Raises:
            ArtifactError: as for `read_table`.
        """
        tables = [self._read(path) for path in self.paths()]
        return pa.concat_tables(tables) if tables else schema(self.schema_name).empty_table()

    def compact(self, target: Path, beside: pa.Table | None = None) -> pa.Table:
        """Turn the parts into the file `target`, which is replaced, then remove their folder.

        The returned table has the rows of `beside` before those of the parts. After an
        interruption at any point it may be called again: without parts, the target stays as it is.

        Raises:
            ArtifactError: as for `read_table` and `write_table`.
        """
        removed = self.folder.with_name(f".{self.folder.name}.old")
        shutil.rmtree(removed, ignore_errors=True)
        if target.exists() and not self.paths():
            return self._read(target)
        table = self.read()
        if beside is not None:
            table = pa.concat_tables([beside, table])
        table = table.combine_chunks()
        self._write(target, table)
        if self.folder.exists():
            # renamed first, so that an interrupted removal leaves no parts that could be read
            try:
                os.replace(self.folder, removed)
            except OSError as error:
                raise write_error(self.folder, error) from error
            shutil.rmtree(removed, ignore_errors=True)
        return table

    def _read(self, path: Path) -> pa.Table:
        return read_table(path, self.schema_name, belongs_to=self.belongs_to)

    def _write(self, path: Path, table: pa.Table) -> None:
        write_table(path, table, self.schema_name, belongs_to=self.belongs_to)
