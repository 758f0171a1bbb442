"""Tables as Parquet files, each with its schema's name and version.

A file that is torn, foreign or of another version is refused by name.
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
from clso.artifacts.store import atomic_write_bytes, write_error
from clso.errors import ArtifactError

__all__ = ["Parts", "read_table", "table_from_rows", "table_name", "write_table"]


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


def write_table(path: Path, table: pa.Table, schema_name: str) -> None:
    """Write a table as Parquet, with the schema's name and version in the footer.

    Raises:
        ArtifactError: as for `atomic_file`.
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
        ArtifactError: the file is missing or torn, or holds another table or version.
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
            if version != schema_version(schema_name).encode():
                raise ArtifactError(
                    f"{path} has schema version {version.decode(errors='replace')}, "
                    f"this CLSO reads version {schema_version(schema_name)}",
                    remedy="read it with the CLSO that wrote it, or run again with --fresh",
                )
            table = file.read()
    except FileNotFoundError:
        raise ArtifactError(
            f"{path} does not exist", remedy="the command that makes it makes it again"
        ) from None
    except (pa.ArrowException, OSError, ValueError) as error:
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


def table_name(path: Path) -> str:
    """Return the name of the table that a file holds, from its footer.

    Raises:
        ArtifactError: the file is missing or torn, or none of CLSO's.
    """
    try:
        metadata = pq.read_schema(path).metadata or {}
        name: bytes = metadata[NAME_KEY]
        return name.decode()
    except (pa.ArrowException, KeyError, OSError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{path} is missing, torn, or none of CLSO's tables") from error


@dataclass(frozen=True)
class Parts:
    """A growing table: files `part-00007.parquet` in a folder or below it, one per generation.

    Writing a part again replaces it, so a resumed search repeats its last generation without
    harm. `compact` turns the folder into one file when the stage ends.
    """

    folder: Path
    schema_name: str

    def path(self, part: int) -> Path:
        """Return the file of a part."""
        return self.folder / f"part-{part:05d}.parquet"

    def write(self, part: int, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write a part; an earlier one of the same number is replaced.

        Raises:
            ArtifactError: as for `write_table`.
        """
        table = table_from_rows(rows, self.schema_name)
        write_table(self.path(part), table, self.schema_name)

    def paths(self) -> list[Path]:
        """Return the files of all parts, also of the folders below."""
        return sorted(self.folder.rglob("part-*.parquet"))

    def read(self) -> pa.Table:
        """Read all parts in the order of their paths; without parts, a table without rows.

        Raises:
            ArtifactError: as for `read_table`.
        """
        tables = [read_table(path, self.schema_name) for path in self.paths()]
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
            return read_table(target, self.schema_name)
        table = self.read()
        if beside is not None:
            table = pa.concat_tables([beside, table])
        table = table.combine_chunks()
        write_table(target, table, self.schema_name)
        if self.folder.exists():
            # renamed first, so that an interrupted removal leaves no parts that could be read
            try:
                os.replace(self.folder, removed)
            except OSError as error:
                raise write_error(self.folder, error) from error
            shutil.rmtree(removed, ignore_errors=True)
        return table
