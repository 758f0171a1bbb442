from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from clso.data.token_file import TokenFile, TokenWriter
from clso.errors import ArtifactError

BATCH = 1 << 20


def write(path: Path, tokens: np.ndarray, vocab_size: int = 300, step: int = 700_000) -> TokenFile:
    with TokenWriter(path, vocab_size) as writer:
        for start in range(0, len(tokens), step):
            writer.append(tokens[start : start + step])
    assert writer.n_tokens == len(tokens)
    return TokenFile(path)


@pytest.fixture(scope="module")
def tokens() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 300, size=2 * BATCH + 1000)


def test_what_is_appended_is_read_back_over_batches(tmp_path: Path, tokens: np.ndarray) -> None:
    file = write(tmp_path / "a.arrow", tokens)
    assert len(file) == len(tokens)
    assert np.array_equal(file.slice(0, len(tokens)), tokens)
    assert np.array_equal(file.slice(BATCH - 3, BATCH + 3), tokens[BATCH - 3 : BATCH + 3])
    starts = np.array([2 * BATCH - 5, 0, BATCH - 10, BATCH - 1, BATCH, 2 * BATCH + 990])
    rows = file.rows(starts, 10)
    assert rows.dtype == np.int64
    assert np.array_equal(rows, tokens[starts[:, None] + np.arange(10)])


def test_batches_on_disk_are_of_one_size(tmp_path: Path, tokens: np.ndarray) -> None:
    write(tmp_path / "a.arrow", tokens)
    reader = pa.ipc.open_file(pa.memory_map(str(tmp_path / "a.arrow")))
    sizes = [reader.get_batch(i).num_rows for i in range(reader.num_record_batches)]
    assert sizes == [BATCH, BATCH, 1000]


@pytest.mark.parametrize(
    ("vocab_size", "dtype"), [(65_536, np.uint16), (65_537, np.uint32), (257, np.uint16)]
)
def test_the_type_holds_the_vocabulary(tmp_path: Path, vocab_size: int, dtype: type) -> None:
    file = write(tmp_path / "a.arrow", np.array([vocab_size - 1]), vocab_size)
    assert file.dtype == dtype
    assert file.slice(0, 1)[0] == vocab_size - 1


def test_a_stream_may_be_empty(tmp_path: Path) -> None:
    file = write(tmp_path / "a.arrow", np.empty(0, np.int64))
    assert len(file) == 0
    assert len(file.slice(0, 0)) == 0


def test_tokens_outside_the_stream_are_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "a.arrow", np.arange(10))
    with pytest.raises(IndexError, match="tokens 5 to 11 of a stream of 10"):
        file.slice(5, 11)


def test_an_interrupted_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.arrow"

    def interrupted() -> None:
        with TokenWriter(path, 300) as writer:
            writer.append(np.zeros(BATCH + 1))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with pytest.raises(ArtifactError, match="is torn or no token file"):
        TokenFile(path)


def test_a_torn_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.arrow"
    write(path, np.arange(200))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ArtifactError, match=r"a\.arrow is torn or no token file"):
        TokenFile(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"a\.arrow does not exist"):
        TokenFile(tmp_path / "a.arrow")


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (None, "holds no tokens"),
        ({"clso.schema": "tokens", "clso.schema_version": "9"}, "has schema version 9"),
    ],
)
def test_foreign_files_are_refused(
    tmp_path: Path, metadata: dict[str, str] | None, message: str
) -> None:
    path = tmp_path / "a.arrow"
    schema = pa.schema([("token", pa.uint16())], metadata=metadata)
    with pa.ipc.new_file(path, schema) as writer:
        writer.write_batch(pa.record_batch([pa.array([1], pa.uint16())], schema=schema))
    with pytest.raises(ArtifactError, match=message):
        TokenFile(path)
