"""Any bytes, any rows: documents that UTF-8 can hold, or one sentence that names the file."""

import json
from collections.abc import Callable, Iterator
from datetime import date, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clso.data.files import FileReader, read_rows
from clso.errors import DataError

SUFFIXES = ["jsonl", "json", "parquet", "txt", "zip", "jsonl.gz", "txt.xz", "jsonl.zst", "txt.bz2"]


T = TypeVar("T")


def outcome(path: Path, values: Iterator[T]) -> list[T] | str:
    """Return all values from a file, or the sentence that refuses it."""
    try:
        return list(values)
    except DataError as error:
        sentence = str(error)
    assert path.name in sentence
    assert len(sentence) < 2000
    return sentence


def read(path: Path, fields: tuple[str, ...] = (), articles: bool = True) -> str:
    """Return the sentence that refuses a file, if one does."""
    pieces = outcome(path, FileReader("text", fields, articles).read(path))
    if isinstance(pieces, str):
        return pieces
    for piece in pieces:
        piece.text.encode()
    return ""


def told(path: Path) -> str:
    with pytest.raises(DataError) as error:
        list(FileReader("text").read(path))
    return str(error.value)


def invalid_utf8(values: list[bytes], kind: pa.DataType = pa.string()) -> pa.Array:  # noqa: B008
    """Return an array that says of any bytes that they are text."""
    binary = pa.binary() if kind == pa.string() else pa.large_binary()
    return pa.array(values, binary).view(kind)


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()], ids=str)
def test_a_parquet_row_that_is_no_utf8_is_named(tmp_path: Path, kind: pa.DataType) -> None:
    path = tmp_path / "a.parquet"
    texts = [b"fine"] * 300 + [b"bad \xff"] + [b"fine"] * 5
    pq.write_table(pa.table({"text": invalid_utf8(texts, kind)}), path)
    assert "row 301 is no UTF-8 text: field 'text' has bytes that are no UTF-8" in told(path)


NO_VALUES = {
    "a date after the last year": pa.array([10**7], pa.date32()),
    "a time after the last year": pa.array([2**50], pa.timestamp("ms")),
    "a length of time": pa.array([2**62], pa.duration("s")),
    "an unknown time zone": pa.array([1], pa.timestamp("us", tz="Nowhere/Land")),
}


@pytest.mark.parametrize("kind", NO_VALUES)
def test_rows_with_a_value_that_python_lacks_are_told(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["x"], "other": NO_VALUES[kind]}), path)
    rows = outcome(path, read_rows(path))
    assert len(rows) == 1 or "rows 1 to 1 hold a value that cannot be read" in rows
    assert read(path) == ""


@pytest.mark.parametrize("text", ["\\ud800", "\\uDFFFx"])
def test_half_a_character_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(f'{{"text": "\\ud83d\\ude00"}}\n{{"text": "{text}"}}')
    assert "a.jsonl:2: field 'text' has half of a character" in told(path)


@pytest.mark.parametrize("other", ['"user": "x \\ud83d"', '"\\udc00": 1', '"a": ["\\ud83d"]'])
def test_half_a_character_that_is_not_read_does_no_harm(tmp_path: Path, other: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(f'{{"text": "hello", {other}}}')
    assert [piece.text for piece in FileReader("text").read(path)] == ["hello"]


LINES = {
    "deep": '{"text": ' + "[" * 100_000 + "]" * 100_000 + "}",
    "huge": '{"text": ' + "9" * 5000 + "}",
    "infinite": '{"text": 1e999}',
    "no number": '{"text": NaN}',
    "a list": "[1]",
    "a text": '"x"',
    "nothing": "null",
    "twice": '{"text": 1, "text": 2}',
    "cut": '{"text": "x',
}


@pytest.mark.parametrize("kind", LINES)
def test_a_line_that_is_no_document_is_named(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(LINES[kind])
    assert "a.jsonl:1" in told(path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=5,
)
ROWS = st.lists(st.fixed_dictionaries({}, optional={"text": JSON, "id": JSON}) | JSON, max_size=4)
COLUMNS = st.sampled_from(
    [
        invalid_utf8([b"\xff", b"a"]),
        pa.array([b"\xff", None]),
        pa.array(["a", None]),
        pa.array([1, 2]),
        pa.array([date(1, 1, 1), None]),
        pa.array([datetime(9999, 1, 1), None]),
        pa.array([2**62, None], pa.timestamp("ms")),
        pa.array([2**62 + 1, None], pa.timestamp("ns")),
        pa.array([-(2**31), 1], pa.date32()),
        pa.array([2**62, None], pa.duration("s")),
        pa.array([2**62 + 1, None], pa.duration("ns")),
        pa.array([1, None], pa.timestamp("us", tz="Nowhere/Land")),
        pa.array([[1], None]),
        pa.array([{"a": 1}, None]),
        pa.array([[("a", 1), ("a", 2)], None], pa.map_(pa.string(), pa.int64())),
        pa.array(["a", "b"]).dictionary_encode(),
        pa.nulls(2),
    ]
)
NAMES = st.lists(st.sampled_from(["text", "id", "", "a.b", "é"]), min_size=1, max_size=3)


def dumped(rows: list[object]) -> bytes:
    return "\n".join(json.dumps(row) for row in rows).encode()


CONTENTS = st.binary(max_size=40) | ROWS.map(dumped)
READERS: list[Callable[[Path], object]] = [
    read,
    lambda path: read(path, ("id",)),
    lambda path: read(path, (), False),
]


def rows_are_read_or_told(path: Path) -> None:
    for row in outcome(path, read_rows(path)):
        repr(row).encode(errors="surrogateescape")


def check_bytes(content: bytes, suffix: str) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"a.{suffix}"
        path.write_bytes(content)
        for reader in READERS:
            reader(path)
        rows_are_read_or_told(path)


def check_columns(names: list[str], columns: list[pa.Array]) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "a.parquet"
        pq.write_table(pa.table(columns[: len(names)], names[: len(columns)]), path)
        for reader in READERS:
            reader(path)
        rows_are_read_or_told(path)


def check_damage(cut: int, place: int, byte: int) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "a.parquet"
        pq.write_table(pa.table({"text": ["some text", "more"], "id": [1, 2]}), path)
        content = bytearray(path.read_bytes())
        content[place % len(content)] = byte
        path.write_bytes(content[: len(content) - cut % 3 * (cut % len(content))])
        for reader in READERS:
            reader(path)
        rows_are_read_or_told(path)


BYTES = given(CONTENTS, st.sampled_from(SUFFIXES))
TABLES = given(NAMES, st.lists(COLUMNS, min_size=1, max_size=3))
DAMAGES = given(st.integers(0, 2000), st.integers(0, 2000), st.integers(0, 255))
FEW = settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
MANY = settings(max_examples=2000, suppress_health_check=[HealthCheck.too_slow])

test_any_bytes_are_read_or_told = FEW(BYTES(check_bytes))
test_any_columns_are_read_or_told = FEW(TABLES(check_columns))
test_any_damage_is_read_or_told = FEW(DAMAGES(check_damage))
test_thousands_of_bytes = pytest.mark.slow(MANY(BYTES(check_bytes)))
test_thousands_of_columns = pytest.mark.slow(MANY(TABLES(check_columns)))
test_thousands_of_damages = pytest.mark.slow(MANY(DAMAGES(check_damage)))
