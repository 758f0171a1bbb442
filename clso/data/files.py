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
from collections.abc import Iterable, Iterator
from itertools import chain, groupby
from pathlib import Path
from typing import IO, cast

import pyarrow as pa
import pyarrow.parquet as pq

from clso.data.text import END_OF_DOCUMENT, Piece, articles, is_heading
from clso.errors import DataError

__all__ = ["read_file", "text_of"]

_CHUNK_BYTES = 1 << 20
_PARQUET_ROWS = 256
_ROW_SUFFIXES = {".jsonl", ".ndjson", ".json"}
_COMPRESSED_SUFFIXES = {".gz", ".bz2", ".xz", ".zst"}
_DAMAGE = (
    OSError,
    EOFError,
    RuntimeError,  # of zipfile, for a member that is encrypted or has an unknown compression
    zlib.error,
    lzma.LZMAError,
    zipfile.BadZipFile,
    pa.ArrowException,
)


def read_file(
    path: Path,
    text_field: str,
    *,
    document_fields: tuple[str, ...] = (),
    find_articles: bool = True,
) -> Iterator[Piece]:
    """Stream a file's documents.

    `.jsonl`, `.ndjson`, `.json` (an object per line) and `.parquet` hold a document per row, or
    per run of rows that agree in `document_fields`, joined by line ends. Other files are UTF-8
    text: one document, or one per article if the text starts with a WikiText heading. `.gz`,
    `.bz2`, `.xz` and `.zst` are unpacked while reading; each member of a `.zip` is a file.

    Raises:
        DataError: the file cannot be read or unpacked, is no UTF-8 text, has a broken line, or
            lacks the field; the message names the place.
    """
    try:
        for stream, name, where in _streams(path):
            yield from _pieces(stream, name, where, text_field, document_fields, find_articles)
    except _DAMAGE as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise DataError(
            f"{path} cannot be read: {reason}",
            remedy="check that the file is whole and readable, or leave it out of the glob",
        ) from error


def text_of(row: object, field: str, where: str) -> str:
    """Return a row's text; null is an empty text.

    Raises:
        DataError: the row has no such field, or the field does not hold text.
    """
    text = _field(row, field, where)
    if text is None:
        return ""
    if not isinstance(text, str):
        raise DataError(
            f"{where}: field {field!r} holds {type(text).__name__}, expected text",
            remedy="name the field that holds text with text_field",
        )
    return text


def _field(row: object, field: str, where: str) -> object:
    if not isinstance(row, dict):
        raise DataError(
            f"{where} is no JSON object", remedy=f"expected one per line, like {{{field!r}: ...}}"
        )
    if field not in row:
        raise _no_field(where, field, row)
    return row[field]


def _no_field(where: str, field: str, names: Iterable[str]) -> DataError:
    return DataError(
        f"{where} has no field {field!r}",
        remedy="name the one that holds text with text_field; there are: " + ", ".join(names),
    )


def _streams(path: Path) -> Iterator[tuple[IO[bytes], str, str]]:
    """Open a file, or every file of an archive: content, name, and the name in messages."""
    if path.suffix.lower() == ".zip":
        with zipfile.ZipFile(path) as archive:
            for name in sorted(archive.namelist()):
                if not name.endswith("/"):
                    with archive.open(name) as member, _unpacked(member, name) as stream:
                        yield stream, name, f"{path}!{name}"
        return
    with open(path, "rb") as file, _unpacked(file, path.name) as stream:
        yield stream, path.name, str(path)


def _unpacked(file: IO[bytes], name: str) -> contextlib.AbstractContextManager[IO[bytes]]:
    suffix = Path(name).suffix.lower()
    if suffix == ".gz":
        return contextlib.closing(cast(IO[bytes], gzip.open(file)))
    if suffix == ".bz2":
        return contextlib.closing(bz2.open(file))
    if suffix == ".xz":
        return contextlib.closing(lzma.open(file))
    if suffix == ".zst":
        return io.BufferedReader(pa.CompressedInputStream(pa.PythonFile(file, "rb"), "zstd"))
    return contextlib.nullcontext(file)


def _pieces(
    stream: IO[bytes],
    name: str,
    where: str,
    text_field: str,
    document_fields: tuple[str, ...],
    find_articles: bool,
) -> Iterator[Piece]:
    inner = Path(name.lower())
    suffix = Path(inner.stem).suffix if inner.suffix in _COMPRESSED_SUFFIXES else inner.suffix
    if suffix in _ROW_SUFFIXES:
        return _row_pieces(_json_rows(stream, where), text_field, document_fields)
    if suffix == ".parquet":
        if inner.suffix != suffix:
            raise DataError(f"{where}: a Parquet file packed once more", remedy="unpack it first")
        columns = [text_field, *document_fields]
        return _row_pieces(_parquet_rows(stream, where, columns), text_field, document_fields)
    return _text_pieces(stream, where, find_articles)


def _row_pieces(
    rows: Iterator[tuple[str, object]], text_field: str, document_fields: tuple[str, ...]
) -> Iterator[Piece]:
    if not document_fields:
        for where, row in rows:
            yield Piece(text_of(row, text_field, where), True)
        return

    def document(located: tuple[str, object]) -> list[object]:
        where, row = located
        return [_field(row, field, where) for field in document_fields]

    for _, group in groupby(rows, key=document):
        yield Piece("\n".join(text_of(row, text_field, where) for where, row in group), True)


def _json_rows(stream: IO[bytes], where: str) -> Iterator[tuple[str, object]]:
    for number, line in enumerate(stream, 1):
        place = f"{where}:{number}"
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise _not_text(place, f"byte {error.start} of the line is no UTF-8") from error
        if not text.strip():
            continue
        try:
            yield place, json.loads(text)
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


def _parquet_rows(
    stream: IO[bytes], where: str, columns: list[str]
) -> Iterator[tuple[str, object]]:
    with pq.ParquetFile(stream) as file:
        names = file.schema_arrow.names
        for column in columns:
            if column not in names:
                raise _no_field(where, column, names)
        row_number = 0
        for batch in file.iter_batches(_PARQUET_ROWS, columns=columns, use_threads=False):
            for row in batch.to_pylist():
                row_number += 1
                yield f"{where}, row {row_number}", row


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
