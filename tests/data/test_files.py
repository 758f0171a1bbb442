import bz2
import gzip
import json
import lzma
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clso.data.files import FileReader, read_rows
from clso.errors import DataError


def documents(path: Path, field: str = "text", **options: object) -> list[str]:
    found, current = [], ""
    for piece in FileReader(field, **options).read(path):  # type: ignore[arg-type]
        current += piece.text
        if piece.ends_document:
            found.append(current)
            current = ""
    assert current == ""
    return found


def zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return bytes(sink.getvalue().to_pybytes())


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstd,
}
ROWS = [{"text": "one\nmore", "id": 1}, {"text": "zwei ß", "id": 2}, {"text": None, "id": 3}]


@pytest.mark.parametrize("suffix", PACKERS)
def test_text_is_one_document_packed_or_not(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.txt{suffix}"
    path.write_bytes(PACKERS[suffix]("Zeile ß\r\nund mehr".encode()))
    assert documents(path) == ["Zeile ß\r\nund mehr"]


@pytest.mark.parametrize("suffix", PACKERS)
def test_each_line_of_jsonl_is_a_document(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.jsonl{suffix}"
    lines = "\n\n".join(json.dumps(row) for row in ROWS)
    path.write_bytes(PACKERS[suffix](lines.encode()))
    assert documents(path) == ["one\nmore", "zwei ß", ""]


def test_each_row_of_parquet_is_a_document(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_pylist(ROWS * 300), path)
    assert documents(path) == ["one\nmore", "zwei ß", ""] * 300


def test_each_member_of_a_zip_is_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.mkdir("sub")
        archive.writestr("sub/b.txt", "second")
        archive.writestr("a.jsonl", '{"text": "first"}\n')
        archive.writestr("sub/c.txt.gz", gzip.compress(b"third"))
    assert documents(path) == ["first", "second", "third"]


def test_a_wikitext_file_is_cut_to_articles(tmp_path: Path) -> None:
    path = tmp_path / "wiki.txt"
    path.write_text(" \n = A = \n \n One . \n \n = B = \n \n Two . \n")
    assert documents(path) == [" \n = A = \n \n One . \n \n", " = B = \n \n Two . \n"]
    assert len(documents(path, find_articles=False)) == 1


def test_articles_do_not_depend_on_how_the_file_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "wiki.txt"
    path.write_text(" = A = \n \n Ein ß langer Satz . \n \n = B = \n \n Two . \n \n" * 3)
    whole = documents(path)
    monkeypatch.setattr("clso.data.files._CHUNK_BYTES", 11)
    assert documents(path) == whole
    assert len(whole) == 6


def test_text_that_does_not_start_with_a_heading_is_one_document(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("Prose first .\n\n = A = \n\n One .\n")
    assert len(documents(path)) == 1


def test_rows_that_agree_form_one_document(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows = [("Gen", 1, "a"), ("Gen", 1, "b"), ("Gen", 2, "c"), ("Exo", 2, "d")]
    path.write_text(
        "".join(json.dumps({"book": b, "chapter": c, "text": t}) + "\n" for b, c, t in rows)
    )
    assert documents(path, document_fields=("book", "chapter")) == ["a\nb", "c", "d"]


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    text, rows = tmp_path / "a.txt", tmp_path / "a.jsonl"
    text.write_bytes(b"\xef\xbb\xbfhello")
    rows.write_bytes(b'\xef\xbb\xbf{"text": "hello"}')
    assert documents(text) == documents(rows) == ["hello"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"ab\0cd", r"a\.txt is no UTF-8 text: byte 2 is NUL"),
        ("a.txt", b"abc\xff\xfe", r"a\.txt is no UTF-8 text: byte 3 is no UTF-8"),
        ("a.txt", b"abc\xc3", r"byte 3 is no UTF-8"),
        ("a.jsonl", b'{"text": "a"}\n{"text": ', r"a\.jsonl:2 is no JSON: .* at column"),
        ("a.jsonl", b'{"text": "a"}\n["b"]', r"a\.jsonl:2 is no JSON object\n  expected one per"),
        ("a.jsonl", b'{"body": "a", "n": 1}', r"no field 'text'\n.*text_field.*body, n"),
        ("a.jsonl", b'{"text": 5}', r"a\.jsonl:1: field 'text' holds int, expected text"),
        ("a.jsonl", b'{"text": "\xff"}', r"a\.jsonl:1 is no UTF-8 text"),
        ("a.jsonl", b"[" * 100_000, r"a\.jsonl:1 (is no JSON|holds a value that cannot be read)"),
        ("a.txt.gz", b"no gzip", r"a\.txt\.gz cannot be read: Not a gzipped file"),
        ("a.txt.gz", gzip.compress(b"text" * 999)[:-9], r"a\.txt\.gz cannot be read: Compressed"),
        ("a.txt.xz", b"no xz", r"a\.txt\.xz cannot be read"),
        ("a.txt.zst", b"no zstd", r"a\.txt\.zst cannot be read"),
        ("a.zip", b"no zip", r"a\.zip cannot be read: File is not a zip file"),
        ("a.parquet", b"no parquet", r"a\.parquet cannot be read"),
        ("a.parquet.gz", gzip.compress(b"PAR1"), r"Parquet file packed once more\n  unpack it"),
    ],
    # packed bytes carry the time and would give each worker another name for the test
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_input_is_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        documents(path)


def test_a_bad_byte_is_found_behind_the_first_chunk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clso.data.files._CHUNK_BYTES", 4)
    path = tmp_path / "a.txt"
    path.write_bytes("abcß efg".encode() + b"\xff")
    with pytest.raises(DataError, match="byte 9 is no UTF-8"):
        documents(path)


def test_a_bad_member_of_a_zip_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("b.jsonl", "{")
    with pytest.raises(DataError, match=r"a\.zip!b\.jsonl:1 is no JSON"):
        documents(path)


def test_a_parquet_file_without_the_field_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"body": ["x"], "id": [1]}), path)
    with pytest.raises(DataError, match=r"no field 'text'\n.*there are: body, id"):
        documents(path)


def test_a_missing_document_field_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a"}')
    with pytest.raises(DataError, match=r"a\.jsonl:1 has no field 'book'"):
        documents(path, document_fields=("book",))


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.txt cannot be read: No such file"):
        documents(tmp_path / "gone.txt")


@pytest.mark.parametrize(
    "name",
    [
        "__MACOSX/texts/._a.txt",
        "__MACOSX/a.txt",
        "texts/__MACOSX/a.txt",
        ".DS_Store",
        "texts/.DS_Store",
        "texts/._a.txt",
        ".hidden/a.txt",
        "texts/.git/objects/a",
        "texts\\.hidden\\a.txt",
        ".a.jsonl",
        "./.b.parquet",
    ],
)
def test_hidden_members_of_an_archive_are_left_out_as_globs_leave_them_out(
    tmp_path: Path, name: str
) -> None:
    path = tmp_path / "texts.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("./texts/a.txt", "shown")
        archive.writestr(name, b"\x00\x05\x16\x07")
    assert documents(path) == ["shown"]


def test_an_archive_of_hidden_files_alone_is_named(tmp_path: Path) -> None:
    path = tmp_path / "texts.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(".a.txt", "hidden")
    with pytest.raises(DataError, match=r"texts\.zip holds only hidden files, such as \.a\.txt"):
        list(FileReader("text").read(path))


def test_the_rows_of_an_archive_leave_out_hidden_members_too(tmp_path: Path) -> None:
    path = tmp_path / "rows.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.jsonl", '{"text": "shown"}')
        archive.writestr("__MACOSX/._a.jsonl", b"\x00\x05")
    assert [row.values for row in read_rows(path)] == [{"text": "shown"}]
