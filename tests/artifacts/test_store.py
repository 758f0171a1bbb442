import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clso.artifacts import (
    Parts,
    atomic_write_bytes,
    atomic_write_json,
    read_json,
    read_table,
    table_from_rows,
    write_table,
)
from clso.artifacts.schemas import NAME_KEY, VERSION_KEY
from clso.errors import ArtifactError


def split_row(document: int) -> dict[str, object]:
    return {
        "document": document,
        "split": "train",
        "n_bytes": 10,
        "n_tokens": 4,
        "token_offset": 4 * document,
    }


def splits(*documents: int) -> pa.Table:
    return table_from_rows([split_row(document) for document in documents], "splits")


def test_a_table_comes_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "splits.parquet"
    write_table(path, splits(0, 1, 2), "splits")
    assert read_table(path, "splits").equals(splits(0, 1, 2), check_metadata=True)


_THREADS_OF_A_READER = """
import sys
from pathlib import Path
import numpy, pyarrow.parquet
from clso.artifacts import read_table
from clso.artifacts.tables import table_name
before = len(list(Path("/proc/self/task").iterdir()))
read_table(Path(sys.argv[1]), "splits")
table_name(Path(sys.argv[1]))
print(len(list(Path("/proc/self/task").iterdir())) - before)
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads are counted on Linux")
def test_reading_starts_no_thread_that_could_outlive_the_interpreter(tmp_path: Path) -> None:
    path = tmp_path / "splits.parquet"
    write_table(path, splits(*range(100)), "splits")
    command = [sys.executable, "-c", _THREADS_OF_A_READER, str(path)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "0\n"


def test_the_footer_says_what_the_file_is_to_any_reader(tmp_path: Path) -> None:
    path = tmp_path / "splits.parquet"
    write_table(path, splits(0), "splits")
    metadata = pq.read_schema(path).metadata
    assert (metadata[NAME_KEY], metadata[VERSION_KEY]) == (b"splits", b"2")


def test_a_table_without_metadata_gets_it_when_written(tmp_path: Path) -> None:
    path = tmp_path / "splits.parquet"
    write_table(path, splits(0).replace_schema_metadata(None), "splits")
    assert read_table(path, "splits").num_rows == 1


def test_writing_other_columns_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'energy' has"):
        write_table(tmp_path / "x.parquet", splits(0), "energy")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"nothing\.parquet does not exist"):
        read_table(tmp_path / "nothing.parquet", "splits")


@pytest.mark.parametrize("kept", [0, 3, 40, -5])
def test_a_torn_file_is_refused(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "splits.parquet"
    write_table(path, splits(0, 1), "splits")
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ArtifactError, match=r"splits\.parquet is (torn|damaged)"):
        read_table(path, "splits")


def test_a_damaged_page_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "splits.parquet"
    write_table(path, splits(*range(100)), "splits")
    content = bytearray(path.read_bytes())
    content[4:60] = bytes(56)
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"splits\.parquet is damaged"):
        read_table(path, "splits")


def test_another_programs_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "splits.parquet"
    pq.write_table(pa.table({"a": [1]}), path)
    with pytest.raises(ArtifactError, match="not one of CLSO's"):
        read_table(path, "splits")


def test_another_table_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "energy.parquet"
    write_table(path, splits(0), "splits")
    with pytest.raises(ArtifactError, match="holds the table 'splits', expected 'energy'"):
        read_table(path, "energy")


def test_another_version_is_refused_with_a_remedy(tmp_path: Path) -> None:
    path = tmp_path / "splits.parquet"
    newer = {NAME_KEY: b"splits", VERSION_KEY: b"99"}
    pq.write_table(splits(0).replace_schema_metadata(newer), path)
    with pytest.raises(ArtifactError, match="version 99, this CLSO reads version 2") as caught:
        read_table(path, "splits")
    assert "--fresh" in caught.value.remedy


def test_a_file_that_says_what_it_is_but_has_no_seal_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "splits.parquet"
    named = {NAME_KEY: b"splits", VERSION_KEY: b"2"}
    pq.write_table(splits(0).replace_schema_metadata(named), path)
    with pytest.raises(ArtifactError, match=r"splits\.parquet has no seal"):
        read_table(path, "splits")


def test_a_failed_write_leaves_the_old_file_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.json"
    atomic_write_json(path, {"old": True})

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ArtifactError, match=r"a\.json cannot be written: No space left") as caught:
        atomic_write_json(path, {"old": False})
    assert "--out" in caught.value.remedy
    assert read_json(path) == {"old": True}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_an_interrupted_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.bin"
    atomic_write_bytes(path, b"old")

    def interrupted(source: object, target: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        atomic_write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


def test_a_file_where_a_folder_is_needed_is_named(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("not a folder")
    with pytest.raises(ArtifactError, match=r"runs/a\.json cannot be written") as caught:
        atomic_write_json(tmp_path / "runs" / "a.json", {})
    assert "--out DIR" in caught.value.remedy


def test_a_folder_where_the_file_should_stand_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.json" / "x").mkdir(parents=True)
    with pytest.raises(ArtifactError, match=r"a\.json cannot be written"):
        atomic_write_json(tmp_path / "a.json", {})


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_unwritable_folder_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(ArtifactError, match="Permission denied"):
        atomic_write_json(tmp_path / "a.json", {})


def test_json_refuses_what_json_has_not(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        atomic_write_json(tmp_path / "a.json", {"loss": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_damaged_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"a": ')
    with pytest.raises(ArtifactError, match=r"a\.json is damaged"):
        read_json(tmp_path / "a.json")
    with pytest.raises(ArtifactError, match=r"b\.json does not exist"):
        read_json(tmp_path / "b.json")


def test_parts_are_read_in_order_and_replaced_by_number(tmp_path: Path) -> None:
    parts = Parts(tmp_path / "parts", "splits")
    for part, document in ((2, 20), (0, 0), (1, 10), (1, 11)):
        parts.write(part, [split_row(document)])
    assert parts.read()["document"].to_pylist() == [0, 11, 20]


def test_no_parts_are_a_table_without_rows(tmp_path: Path) -> None:
    assert Parts(tmp_path / "none", "splits").read().equals(splits())


def test_a_torn_part_is_refused(tmp_path: Path) -> None:
    parts = Parts(tmp_path, "splits")
    parts.write(0, [split_row(0)])
    parts.path(0).write_bytes(b"PAR1")
    with pytest.raises(ArtifactError, match=r"part-00000\.parquet is torn"):
        parts.read()


def test_compaction_keeps_every_row_and_can_be_repeated(tmp_path: Path) -> None:
    parts, target = Parts(tmp_path / "parts", "splits"), tmp_path / "splits.parquet"
    for part in range(3):
        Parts(parts.folder / "gpt", "splits").write(part, [split_row(part)])
    for _ in range(2):
        assert parts.compact(target)["document"].to_pylist() == [0, 1, 2]
        assert sorted(path.name for path in tmp_path.iterdir()) == ["splits.parquet"]


def test_compaction_interrupted_while_it_removes_parts_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts, target = Parts(tmp_path / "parts", "splits"), tmp_path / "splits.parquet"
    for part in range(3):
        parts.write(part, [split_row(part)])
    remove = shutil.rmtree

    def half(path: Path, ignore_errors: bool = False) -> None:
        if path.exists():
            next(path.glob("part-*")).unlink()
            raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", half)
    with pytest.raises(KeyboardInterrupt):
        parts.compact(target)
    monkeypatch.setattr(shutil, "rmtree", remove)
    assert parts.compact(target)["document"].to_pylist() == [0, 1, 2]
    assert [path.name for path in tmp_path.iterdir()] == ["splits.parquet"]
