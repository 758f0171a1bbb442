"""Reads documents from local files: plain text, JSON lines and Parquet, compressed or not.

Files are streamed: memory holds a chunk of plain text, a JSON row, or some rows of Parquet.
"""

from __future__ import annotations

import bz2
import codecs
import contextlib
import gzip
import io
import json
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, groupby, product
from pathlib import Path
from typing import IO, Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from clso.data.text import END_OF_DOCUMENT, Piece, articles, is_heading
from clso.errors import DataError, first_line

__all__ = ["ROW_SUFFIXES", "FileReader", "Row", "damage_told", "read_rows"]

_CHUNK_BYTES = 1 << 20
_PARQUET_ROWS = 256
_JSON_SUFFIXES = {".jsonl", ".ndjson", ".json"}
ROW_SUFFIXES = frozenset({*_JSON_SUFFIXES, ".parquet"})
"""The endings of files that hold rows, whatever they are packed in."""
_OPENERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
_COMPRESSED_SUFFIXES = {*_OPENERS, ".zst"}
_DAMAGE = (
    OSError,
    EOFError,
    RuntimeError,  # of zipfile, for a member that is encrypted or has an unknown compression
    zlib.error,
    lzma.LZMAError,
    zipfile.BadZipFile,
    pa.ArrowException,
    UnicodeDecodeError,  # of pyarrow, for a damaged footer
)


@dataclass(frozen=True)
class FileReader:
    """Streams the documents of files.

    `.jsonl`, `.ndjson`, `.json` (an object per line) and `.parquet` hold a document per row, in
    its field `text_field`. With `document_fields`, a document is a run of rows that agree in
    them, joined by line ends. Other files are UTF-8 text: one document, or with `find_articles`
    one per article if the text starts with a WikiText heading. `.gz`, `.bz2`, `.xz` and `.zst`
    are unpacked while reading; each member of a `.zip` is a file. As with the `*` of a glob, hidden
    members, and those in hidden folders, are left out; so is what macOS adds in `__MACOSX`.
    """

    text_field: str
    document_fields: tuple[str, ...] = ()
    find_articles: bool = True

    def read(self, path: Path) -> Iterator[Piece]:
        """Stream the documents of a file.

        Raises:
            DataError: the file cannot be read or unpacked, is no UTF-8 text, has a broken line,
                or lacks the field; the message names the place.
        """
        with damage_told(path, "leave it out of the glob"):
            for stream, name, where in _streams(path):
                yield from self._pieces(stream, name, where)

    def _pieces(self, stream: IO[bytes], name: str, where: str) -> Iterator[Piece]:
        columns = [self.text_field, *self.document_fields]
        rows = _rows(stream, name, where, columns)
        if rows is not None:
            return self._row_pieces(rows)
        return _text_pieces(stream, where, self.find_articles)

    def _row_pieces(self, rows: Iterable[Row]) -> Iterator[Piece]:
        if not self.document_fields:
            for row in rows:
                yield Piece(row.text(self.text_field), True)
            return
        for _, document in groupby(rows, lambda row: list(map(row.field, self.document_fields))):
            yield Piece("\n".join(row.text(self.text_field) for row in document), True)


def read_rows(path: Path) -> Iterator[Row]:
    """Stream the rows of a file that ends with one of `ROW_SUFFIXES`, compressed or not.

    Raises:
        DataError: the file cannot be read or unpacked, has a broken line, or holds no rows.
    """
    with damage_told(path, "name another file"):
        for stream, name, where in _streams(path):
            rows = _rows(stream, name, where)
            if rows is None:
                raise DataError(
                    f"{where} holds no rows", remedy=f"expected {', '.join(sorted(ROW_SUFFIXES))}"
                )
            yield from rows


@contextlib.contextmanager
def damage_told(path: Path, instead: str) -> Iterator[None]:
    """Turn what a reader of files raises into a `DataError`; `instead` says what else to do."""
    if "\0" in str(path):  # which Python tells as a mistake of the program
        raise DataError(
            f"{str(path)!r} is no name of a file: it has NUL", remedy="name another file"
        )
    try:
        yield
    except MemoryError:  # also of Arrow
        raise
    except _DAMAGE as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise DataError(
            f"{path} cannot be read: {reason}",
            remedy=f"check that the file is whole and readable, or {instead}",
        ) from error


class Row(NamedTuple):
    """A row of a file or dataset, and its place for messages."""

    values: object
    where: str

    def field(self, name: str) -> object:
        """Return a field's value.

        Raises:
            DataError: the row has no such field, or it holds half of a character.
        """
        if not isinstance(self.values, dict):
            raise DataError(
                f"{self.where} is no JSON object",
                remedy=f"expected one per line, like {{{name!r}: ...}}",
            )
        if name not in self.values:
            raise _no_field(self.where, name, self.values)
        value = self.values[name]
        if isinstance(value, str) and not _is_whole(value):
            raise DataError(
                f"{self.where}: field {name!r} has half of a character, such as \\ud83d",
                remedy="mend or remove the line",
            )
        return value

    def text(self, name: str) -> str:
        """Return a field's text; null is an empty text.

        Raises:
            DataError: the row has no such field, or the field does not hold text.
        """
        text = self.field(name)
        if text is None:
            return ""
        if not isinstance(text, str):
            raise DataError(
                f"{self.where}: field {name!r} holds {type(text).__name__}, expected text",
                remedy="name the field that holds text with text_field",
            )
        return text


def _is_whole(text: str) -> bool:
    """Return whether text can be written: JSON may escape one half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _no_field(where: str, field: str, names: Iterable[str]) -> DataError:
    return DataError(
        f"{where} has no field {field!r}",
        remedy="name the one that holds text with text_field; there are: " + ", ".join(names),
    )


def _streams(path: Path) -> Iterator[tuple[IO[bytes], str, str]]:
    """Open a file, or every file of an archive: content, name, and the name in messages."""
    if path.suffix.lower() == ".zip":
        with zipfile.ZipFile(path) as archive:
            for name in _members(archive, path):
                with archive.open(name) as member, _unpacked(member, name) as stream:
                    yield stream, name, f"{path}!{name}"
        return
    with open(path, "rb") as file, _unpacked(file, path.name) as stream:
        yield stream, path.name, str(path)


def _members(archive: zipfile.ZipFile, path: Path) -> list[str]:
    """Return the names of an archive's files, without hidden ones."""
    files = sorted(name for name in archive.namelist() if not name.endswith("/"))
    shown = [name for name in files if not _is_hidden(name)]
    if files and not shown:
        raise DataError(
            f"{path} holds only hidden files, such as {files[0]}",
            remedy="pack the text under names that do not start with a full stop",
        )
    return shown


def _is_hidden(name: str) -> bool:
    parts = name.replace("\\", "/").split("/")
    return any(
        part == "__MACOSX" or (part.startswith(".") and part not in (".", "..")) for part in parts
    )


def _unpacked(file: IO[bytes], name: str) -> contextlib.AbstractContextManager[IO[bytes]]:
    suffix = Path(name).suffix.lower()
    if suffix in _OPENERS:
        return contextlib.closing(_OPENERS[suffix](file))
    if suffix == ".zst":
        return io.BufferedReader(pa.CompressedInputStream(pa.PythonFile(file, "rb"), "zstd"))
    return contextlib.nullcontext(file)


def _rows(
    stream: IO[bytes], name: str, where: str, columns: Sequence[str] = ()
) -> Iterator[Row] | None:
    """Return the rows of an open file with some columns, or all; `None`: it holds plain text."""
    inner = Path(name.lower())
    suffix = Path(inner.stem).suffix if inner.suffix in _COMPRESSED_SUFFIXES else inner.suffix
    if suffix in _JSON_SUFFIXES:
        return _json_rows(stream, where)
    if suffix == ".parquet":
        if inner.suffix != suffix:
            raise DataError(f"{where}: a Parquet file packed once more", remedy="unpack it first")
        return _parquet_rows(stream, where, columns)
    return None


def _json_rows(stream: IO[bytes], where: str) -> Iterator[Row]:
    for number, line in enumerate(stream, 1):
        place = f"{where}:{number}"
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise _not_text(place, f"byte {error.start} of the line is no UTF-8") from error
        if not text.strip():
            continue
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            raise DataError(
                f"{place} is no JSON: {error.msg} at column {error.colno}",
                remedy="expected one JSON object per line; mend or remove the line",
            ) from error
        except (RecursionError, ValueError) as error:
            raise DataError(
                f"{place} holds a value that cannot be read: {error}",
                remedy="mend or remove the line",
            ) from error
        yield Row(values, place)


def _parquet_rows(stream: IO[bytes], where: str, columns: Sequence[str]) -> Iterator[Row]:
    with pq.ParquetFile(stream) as file:
        names = file.schema_arrow.names
        for column in columns:
            if column not in names:
                raise _no_field(where, column, names)
        batches = file.iter_batches(_PARQUET_ROWS, columns=list(columns) or None, use_threads=False)
        n_before = 0
        for batch in batches:
            for number, row in enumerate(_values(batch, where, n_before), n_before + 1):
                yield Row(row, f"{where}, row {number}")
            n_before += batch.num_rows


def _values(batch: pa.RecordBatch, where: str, n_before: int) -> list[dict[str, object]]:
    """Return the rows of a batch as plain values; `n_before` rows of the file are before it."""
    try:
        return list(batch.to_pylist())
    except UnicodeDecodeError:
        for number, (column, name) in product(range(batch.num_rows), enumerate(batch.schema.names)):
            try:
                batch.column(column)[number].as_py()
            except UnicodeDecodeError as error:
                place = f"{where}, row {n_before + number + 1}"
                raise _not_text(place, f"field {name!r} has bytes that are no UTF-8") from error
        raise
    # a date that Python has not, an unknown time zone, two equal names
    except (ValueError, LookupError, OverflowError) as error:
        place = f"{where}, rows {n_before + 1} to {n_before + batch.num_rows}"
        raise DataError(
            f"{place} hold a value that cannot be read: {first_line(error)}",
            remedy="write the file again without it",
        ) from error


def _text_pieces(stream: IO[bytes], where: str, find_articles: bool) -> Iterator[Piece]:
    chunks = _decoded(stream, where)
    head = next(chunks, "")
    first_line = next((line for line in head.split("\n") if line.strip()), "")
    if find_articles and is_heading(first_line):
        yield from articles(_lines(chain((head,), chunks)))
        return
    for chunk in chain((head,), chunks):
        yield Piece(chunk, False)
    yield END_OF_DOCUMENT


def _lines(chunks: Iterable[str]) -> Iterator[str]:
    unfinished = ""
    for chunk in chunks:
        *lines, unfinished = (unfinished + chunk).split("\n")
        for line in lines:
            yield line + "\n"
        if len(unfinished) > _CHUNK_BYTES:  # a very long line is yielded in pieces
            yield unfinished
            unfinished = ""
    if unfinished:
        yield unfinished


def _decoded(stream: IO[bytes], where: str) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8")()
    n_read = 0
    while True:
        chunk = stream.read(_CHUNK_BYTES)
        if n_read == 0:
            chunk = chunk.removeprefix(codecs.BOM_UTF8)
        if (nul := chunk.find(0)) >= 0:
            raise _not_text(where, f"byte {n_read + nul} is NUL")
        try:
            text = decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            carried = len(error.object) - len(chunk)
            raise _not_text(where, f"byte {n_read - carried + error.start} is no UTF-8") from error
        if not chunk:
            return
        n_read += len(chunk)
        yield text


def _not_text(where: str, reason: str) -> DataError:
    return DataError(
        f"{where} is no UTF-8 text: {reason}",
        remedy="leave binary files out of the glob; convert other encodings with "
        "'iconv -f ENCODING -t UTF-8'",
    )
