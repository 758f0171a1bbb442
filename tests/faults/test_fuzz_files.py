"""Whatever a text file holds, or is called: it is read, or refused in a sentence."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import json
import lzma
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fuzzing import fuzzed, settles
from hypothesis import example, given
from hypothesis import strategies as st

from clso.data.files import FileReader, read_rows

_SUFFIXES = [".jsonl", ".parquet", ".txt", ".jsonl.gz", ".txt.bz2", ".json.xz", ".txt.zst", ".zip"]
_PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": lambda content: bytes(pa.compress(content, "zstd", asbytes=True)),
}
_READERS = [
    FileReader("text"),
    FileReader("text", find_articles=False),
    FileReader("text", document_fields=("book", "chapter")),
]


def _read(path: Path) -> None:
    for reader in _READERS:
        settles(lambda reader=reader: [piece.text.encode() for piece in reader.read(path)])  # type: ignore[misc]
    settles(lambda: list(read_rows(path)))


@fuzzed
@given(content=st.binary(max_size=400), suffix=st.sampled_from(_SUFFIXES))
@example(content=b"PAR1" + bytes(20) + b"PAR1", suffix=".parquet")
@example(content=b"\x1f\x8b\x08", suffix=".jsonl.gz")
def test_bytes_in_any_file(
    content: bytes, suffix: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("fuzz") / f"file{suffix}"
    path.write_bytes(content)
    _read(path)


_JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=30),
        st.sampled_from(["\ud800", "\0", "\ufeff", "\u2028", " = A = \n", "\U0001f600", 10**400]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)
_ROWS = st.one_of(
    st.fixed_dictionaries(
        {"text": st.one_of(st.text(max_size=30), _JSON)}, optional={"book": _JSON, "chapter": _JSON}
    ),
    _JSON,
)
_LINES = st.one_of(
    _ROWS.map(lambda row: json.dumps(row).encode()),
    _ROWS.map(lambda row: json.dumps(row, ensure_ascii=False).encode(errors="surrogatepass")),
    st.binary(max_size=30),
    st.sampled_from(
        [b"", b"\xef\xbb\xbf", b"\0", b"[" * 100_000, b'{"text": ' + b"[" * 5000, b"1" * 5000]
    ),
)


@fuzzed
@given(
    lines=st.lists(_LINES, max_size=6),
    ending=st.sampled_from([b"\n", b"\r\n", b"\r", b""]),
    packed=st.sampled_from(["", "", *_PACKERS]),
)
@example(lines=[b"[" * 100_000], ending=b"\n", packed="")
def test_lines_of_json(
    lines: list[bytes], ending: bytes, packed: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = ending.join(lines)
    path = tmp_path_factory.mktemp("fuzz") / ("rows.jsonl" + (f".{packed}" if packed else ""))
    path.write_bytes(_PACKERS[packed](content) if packed else content)
    _read(path)


_COLUMNS = st.one_of(
    st.lists(st.one_of(st.none(), st.text(max_size=20)), max_size=4).map(
        lambda values: pa.array(values, pa.string())
    ),
    st.lists(st.one_of(st.none(), st.binary(max_size=20)), max_size=4).map(
        lambda values: pa.array(values, pa.binary())
    ),
    # bytes that are called text
    st.lists(st.binary(max_size=8), max_size=4).map(
        lambda values: pa.array(values, pa.binary()).view(pa.string())
    ),
    st.lists(st.integers(-(2**63), 2**63 - 1), max_size=4).flatmap(
        lambda values: st.sampled_from(
            [
                pa.int64(),
                pa.timestamp("ns"),
                pa.timestamp("us", "Nowhere/There"),
                pa.timestamp("s"),
                pa.duration("us"),
                pa.time64("us"),
                pa.date64(),
            ]
        ).map(lambda kind: pa.array(values, pa.int64()).view(kind))
    ),
    st.lists(st.floats(), max_size=4).map(lambda values: pa.array(values, pa.float64())),
    st.lists(st.lists(st.text(max_size=5), max_size=3), max_size=4).map(
        lambda values: pa.array(values, pa.list_(pa.string()))
    ),
    st.lists(st.text(max_size=5), max_size=4).map(
        lambda values: pa.array(values, pa.string()).dictionary_encode()
    ),
    st.lists(st.fixed_dictionaries({"a": st.integers(0, 9)}), max_size=4).map(
        lambda values: pa.array(values, pa.struct([("a", pa.int64())]))
    ),
    st.integers(0, 4).map(pa.nulls),
)
_NAMES = st.one_of(st.sampled_from(["text", "text", "book", "chapter"]), st.text(max_size=5))


@st.composite
def _parquet(draw: Any) -> bytes:  # noqa: ANN401
    names = draw(st.lists(_NAMES, max_size=4))
    columns = [draw(_COLUMNS) for _ in names]
    rows = min(map(len, columns), default=0)
    stream = io.BytesIO()
    try:
        pq.write_table(pa.table([column[:rows] for column in columns], names=names), stream)
    except (pa.ArrowException, UnicodeError, ValueError, OverflowError):  # cannot be stored
        return b""
    content = stream.getvalue()
    if draw(st.booleans()):
        return content
    place = draw(st.integers(0, len(content)))
    if draw(st.booleans()):
        return content[:place]
    return content[:place] + draw(st.binary(max_size=8)) + content[place + 8 :]


@fuzzed
@given(content=_parquet())
def test_columns_of_parquet(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "rows.parquet"
    path.write_bytes(content)
    _read(path)


_FILE_NAMES = st.one_of(
    st.text(max_size=40),
    st.binary(min_size=1, max_size=40).map(lambda name: name.decode(errors="surrogateescape")),
    st.sampled_from(["a\nb", "..", ".hidden", "-x", "[a]*?", "~", "x" * 255, "\u202e", "a b", "é"]),
)


@fuzzed
@example(name="\0", suffix=".jsonl", zipped=False)
@given(name=_FILE_NAMES, suffix=st.sampled_from(_SUFFIXES), zipped=st.booleans())
def test_names_of_files(
    name: str, suffix: str, zipped: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    path = folder / f"{name}{suffix}".replace("/", "_")  # in no other folder
    content = b'{"text": "In the beginning."}\n'
    if zipped:
        path = folder / "archive.zip"
        try:
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr(name + suffix, content)
        except (ValueError, IndexError, OSError):  # no name of a member
            return
    else:
        with contextlib.suppress(OSError, ValueError):  # no name of a file
            path.write_bytes(content)
    _read(path)
