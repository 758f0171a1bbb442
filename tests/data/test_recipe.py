import errno
import gzip
import json
import lzma
import os
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clso.artifacts import read_sealed, read_table, write_sealed
from clso.data import (
    SPLITS,
    Dataset,
    DatasetRecipe,
    DataSettings,
    TokenizerSettings,
    TokenSplit,
    encoder,
    recipe,
)
from clso.data.corpus import file_sha256
from clso.data.files import FileReader
from clso.data.text import LONGEST_WORD, Piece
from clso.data.token_file import TokenWriter
from clso.data.tokenizer import Tokenizer
from clso.errors import ArtifactError, DataError

BPE = TokenizerSettings(vocab_size=300)
Make = Callable[..., DataSettings]


@pytest.fixture
def rows(tmp_path: Path, make_text: Callable[[int, int], str]) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps({"text": make_text(60, seed)}) for seed in range(50)))
    return path


def texts(dataset: Dataset, split: str) -> list[str]:
    stream = dataset.splits[split]
    tokens = stream.tokens(0, len(stream.stream))
    ends = np.flatnonzero(tokens == dataset.tokenizer.end_token_id)
    return [dataset.tokenizer.decode(run[run != 0].tolist()) for run in np.split(tokens, ends)][:-1]


def test_every_document_arrives_whole_in_one_split(
    rows: Path, tmp_path: Path, files_config: Make
) -> None:
    dataset = DatasetRecipe(files_config(rows), BPE, 0).prepare(tmp_path / "datasets")
    assert dataset.tokenizer.end_token_id == 0
    found = [text for split in SPLITS for text in texts(dataset, split)]
    wanted = [json.loads(line)["text"] for line in rows.read_text().splitlines()]
    assert sorted(found) == sorted(wanted)


def test_the_folder_is_named_by_the_fingerprint_and_holds_no_more_than_it_should(
    rows: Path, tmp_path: Path, files_config: Make
) -> None:
    config = files_config(rows)
    dataset = DatasetRecipe(config, BPE, 3).prepare(tmp_path / "datasets")
    assert dataset.path == tmp_path / "datasets" / DatasetRecipe(config, BPE, 3).fingerprint
    assert dataset.fingerprint == dataset.path.name
    assert {file.name for file in dataset.path.iterdir()} == {
        "manifest.json",
        "splits.parquet",
        "tokenizer.json",
        *(f"tokens-{name}.arrow" for name in SPLITS),
    }


def test_the_manifest_counts_what_is_there(rows: Path, tmp_path: Path, files_config: Make) -> None:
    dataset = DatasetRecipe(files_config(rows), BPE, 0).prepare(tmp_path)
    table = read_table(dataset.path / "splits.parquet", "splits").to_pylist()
    for name in SPLITS:
        own = [row for row in table if row["split"] == name]
        assert dataset.manifest["splits"][name] == {
            "documents": len(own),
            "bytes": sum(row["n_bytes"] for row in own),
            "tokens": sum(row["n_tokens"] for row in own),
            "sha256": file_sha256(dataset.path / TokenSplit.file_name(name)),
        }
        assert len(dataset.splits[name].stream) == sum(row["n_tokens"] for row in own)
    assert dataset.manifest["tokenizer"]["vocab_size"] == dataset.vocab_size
    assert dataset.manifest["versions"]["tokenizers"]


def test_the_same_again_gives_the_same_files(
    rows: Path, tmp_path: Path, files_config: Make
) -> None:
    one, two = (DatasetRecipe(files_config(rows), BPE, 0).prepare(tmp_path / name) for name in "ab")
    for file in one.path.iterdir():
        assert file.read_bytes() == (two.path / file.name).read_bytes()


def test_a_finished_data_set_is_reused(
    rows: Path, tmp_path: Path, files_config: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = DatasetRecipe(files_config(rows), BPE, 0).prepare(tmp_path)
    monkeypatch.setattr(recipe._Build, "_run", lambda *_: pytest.fail("built again"))
    again = DatasetRecipe(files_config(rows, block_size=16), BPE, 0).prepare(tmp_path)
    assert again.path == first.path
    assert again.splits["train"].block_size == 16


def test_tune_is_cut_from_train_when_splits_come_with_the_data(
    rows: Path, tmp_path: Path, files_config: Make
) -> None:
    lines = rows.read_text().splitlines()
    for name, part in (("train", lines[:40]), ("dev", lines[40:44]), ("test", lines[44:])):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(part))
    config = files_config(
        tmp_path / "train.jsonl",
        validation=tmp_path / "dev.jsonl",
        test=tmp_path / "test.jsonl",
        fractions={"train": 0.6, "tune": 0.2, "validation": 0.1, "test": 0.1},
    )
    dataset = DatasetRecipe(config, BPE, 0).prepare(tmp_path / "datasets")
    counts = {name: dataset.manifest["splits"][name]["documents"] for name in SPLITS}
    assert counts == {"train": 30, "tune": 10, "validation": 4, "test": 6}
    assert texts(dataset, "test") == [json.loads(line)["text"] for line in lines[44:]]


def test_a_single_document_is_cut_contiguously(
    tmp_path: Path, files_config: Make, make_text: Callable[[int, int], str]
) -> None:
    (tmp_path / "a.txt").write_text(make_text(2000, 0))
    dataset = DatasetRecipe(files_config(tmp_path / "a.txt"), BPE, 0).prepare(tmp_path)
    assert "".join(texts(dataset, name)[0] for name in SPLITS) == make_text(2000, 0)
    for name in SPLITS:
        assert set(dataset.splits[name].documents(slice(None)).ravel()) == {0}


def test_a_long_document_tokenizes_as_in_one_go(
    tmp_path: Path,
    files_config: Make,
    make_text: Callable[[int, int], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "a.txt").write_text(make_text(2000, 0))
    whole = DatasetRecipe(files_config(tmp_path / "a.txt"), BPE, 0).prepare(tmp_path / "a")
    monkeypatch.setattr(encoder, "_RUN_BYTES", 100)
    monkeypatch.setattr(encoder, "_BATCH_BYTES", 300)
    runs = DatasetRecipe(files_config(tmp_path / "a.txt"), BPE, 0).prepare(tmp_path / "b")
    for name in SPLITS:
        file = f"tokens-{name}.arrow"
        assert (whole.path / file).read_bytes() == (runs.path / file).read_bytes()


def as_rows(path: Path, documents: list[str]) -> Path:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in documents))
    return path


@pytest.fixture
def documents(make_text: Callable[[int, int], str]) -> list[str]:
    return [make_text(60, seed) for seed in range(40)]


class TestDuplicates:
    @pytest.fixture(params=range(8))
    def given(self, request: Any, tmp_path: Path, documents: list[str]) -> dict[str, Any]:  # noqa: ANN401
        """Return train, validation and test of which the last has documents of another split."""
        train, validation, test = documents[:25], documents[25:32], documents[32:]
        text = as_rows(tmp_path / "train.jsonl", train)
        other = as_rows(tmp_path / "validation.jsonl", validation)
        path = tmp_path / "test.jsonl"
        match request.param:
            case 0:  # one document of many
                as_rows(path, [*test, train[3]])
            case 1:  # other case and white space
                as_rows(path, [*test, "\n" + train[0].upper().replace(" ", "\t ")])
            case 2:  # of validation, not of train
                as_rows(path, [*test, validation[0]])
            case 3:  # compressed
                path = tmp_path / "test.jsonl.gz"
                path.write_bytes(gzip.compress(text.read_bytes()))
            case 4:  # exported anew
                path = tmp_path / "test.parquet"
                pq.write_table(pa.table({"n": range(25), "text": train}), path)
            case 5:  # packed
                path = tmp_path / "test.zip"
                with zipfile.ZipFile(path, "w") as archive:
                    archive.write(text, "rows.jsonl")
            case 6:  # in another order, with other fields
                lines = [json.dumps({"n": n, "text": t}) for n, t in enumerate(train[::-1])]
                path.write_text("\n".join(lines))
            case 7:  # one text as files
                text, path = tmp_path / "train.txt", tmp_path / "test.txt.xz"
                text.write_text("\n".join(train))
                path.write_bytes(lzma.compress("\r\n".join(train).encode()))
        return {"train": text, "validation": other, "test": path}

    def test_splits_that_share_documents_are_refused_or_counted(
        self, tmp_path: Path, files_config: Make, given: dict[str, Any]
    ) -> None:
        root, train = tmp_path / "datasets", given.pop("train")
        config = files_config(train, **given)
        with pytest.raises(DataError, match=r"(?s) of test; document .*data\.duplicates=allow"):
            DatasetRecipe(config, BPE, 0).prepare(root)
        assert [path for path in root.iterdir() if path.is_dir()] == []
        allowed = files_config(train, **given, duplicates="allow")
        dataset = DatasetRecipe(allowed, BPE, 0).prepare(root)
        assert dataset.manifest["duplicates"]["across_splits"]["test"] > 0
        assert dataset.manifest["duplicates"]["named"]
        with pytest.raises(DataError, match="of test; document"):  # also of the finished folder
            DatasetRecipe(config, BPE, 0).prepare(root)

    @pytest.mark.parametrize("seed", range(3))
    def test_equal_documents_stay_in_one_split(
        self, tmp_path: Path, files_config: Make, documents: list[str], seed: int
    ) -> None:
        rows = as_rows(tmp_path / "rows.jsonl", documents * 3 + [documents[0].upper()])
        dataset = DatasetRecipe(files_config(rows), BPE, seed).prepare(tmp_path / "datasets")
        found = {name: {text.casefold() for text in texts(dataset, name)} for name in SPLITS}
        assert sum(map(len, found.values())) == len(documents)
        assert dataset.manifest["duplicates"]["documents"] == 2 * len(documents) + 1
        assert dataset.duplicates.n_across == 0

    def test_tune_shares_no_document_with_train_either(
        self, tmp_path: Path, files_config: Make, documents: list[str]
    ) -> None:
        train = as_rows(tmp_path / "train.jsonl", documents[:25] * 4)
        others = {
            name: as_rows(tmp_path / f"{name}.jsonl", part)
            for name, part in (("validation", documents[25:32]), ("test", documents[32:]))
        }
        dataset = DatasetRecipe(files_config(train, **others), BPE, 0).prepare(tmp_path / "d")
        assert not set(texts(dataset, "train")) & set(texts(dataset, "tune"))

    @pytest.mark.parametrize(("copies", "distinct"), [(2, 1), (30, 1), (20, 3), (1, 1)])
    def test_too_few_different_documents_are_refused_or_cut(
        self, tmp_path: Path, files_config: Make, documents: list[str], copies: int, distinct: int
    ) -> None:
        rows = as_rows(tmp_path / "rows.jsonl", documents[:distinct] * copies)
        if copies > 1:
            with pytest.raises(DataError, match=rf"of which {distinct} differ, cannot be divided"):
                DatasetRecipe(files_config(rows), BPE, 0).prepare(tmp_path / "datasets")
        allowed = files_config(rows, duplicates="allow", block_size=2)
        assert DatasetRecipe(allowed, BPE, 0).prepare(tmp_path / "datasets").splits

    def test_a_folder_of_an_old_version_is_examined_by_its_tokens(
        self, tmp_path: Path, files_config: Make, documents: list[str]
    ) -> None:
        parts = {"train": documents[:20], "validation": documents[20:30], "test": documents[28:]}
        files = {name: as_rows(tmp_path / f"{name}.jsonl", part) for name, part in parts.items()}
        train = files.pop("train")
        allowed = files_config(train, **files, duplicates="allow")
        dataset = DatasetRecipe(allowed, BPE, 0).prepare(tmp_path / "datasets")
        file = dataset.path / "manifest.json"
        manifest = read_sealed(file)
        counted = manifest.pop("duplicates")
        write_sealed(file, manifest)
        assert (
            Dataset.load(dataset.path, block_size=8).duplicates.across == counted["across_splits"]
        )
        with pytest.raises(DataError, match="2 of test"):
            DatasetRecipe(files_config(train, **files), BPE, 0).prepare(tmp_path / "datasets")

    def test_permission_is_no_other_data_set(self, rows: Path, files_config: Make) -> None:
        allowed = files_config(rows, duplicates="allow")
        names = [DatasetRecipe(data, BPE, 0).fingerprint for data in (allowed, files_config(rows))]
        assert names[0] == names[1]


WORDS = {
    "arabic": "كتاب بيت شمس قمر ماء نار طريق مدينة",
    "russian": "дом река поле город небо вода дорога лес",
    "hindi": "घर नदी खेत शहर आकाश पानी सड़क जंगल",
    "korean": "집 강 들판 도시 하늘 물 길 숲",
}


@pytest.mark.parametrize("script", [*WORDS, "chinese", "thai", "digits"])
@pytest.mark.parametrize("n_words", [1500, 30_000])
def test_one_document_of_any_script_is_divided_by_the_shares(
    tmp_path: Path, files_config: Make, script: str, n_words: int
) -> None:
    rng = np.random.default_rng(0)
    if script in WORDS:
        text = " ".join(rng.choice(WORDS[script].split(), n_words))
    else:
        chinese = "天地玄黄宇宙洪荒日月，。"  # noqa: RUF001 - its own marks
        signs = {"chinese": chinese, "thai": "กขคงจฉช", "digits": "0123456789"}
        text = "".join(rng.choice(list(signs[script]), n_words))
    (tmp_path / "a.txt").write_text(text)
    shares = {"train": 0.6, "tune": 0.15, "validation": 0.1, "test": 0.15}
    config = files_config(tmp_path / "a.txt", fractions=shares)
    dataset = DatasetRecipe(config, BPE, 0).prepare(tmp_path / "datasets")
    parts = [texts(dataset, name)[0] for name in SPLITS]
    assert "".join(parts) == text
    for name, part in zip(SPLITS, parts, strict=True):
        assert abs(len(part) / len(text) - shares[name]) < 0.02, name
    if script in WORDS:
        assert {word for part in parts for word in part.split()} <= set(WORDS[script].split())


def test_a_text_without_spaces_gives_learner_and_encoder_bounded_words(
    tmp_path: Path, files_config: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn, encode = Tokenizer.train, Tokenizer.encode_many
    learned, encoded = [0], [0]

    def train(given: Any, vocab_size: int) -> Tokenizer:  # noqa: ANN401
        seen = list(given)
        learned.extend(len(text.encode()) for text in seen)
        return learn(seen, vocab_size)

    def encode_many(self: Tokenizer, given: Any) -> list[list[int]]:  # noqa: ANN401
        encoded.extend(len(text.encode()) for text in given)
        return encode(self, given)

    monkeypatch.setattr(Tokenizer, "train", train)
    monkeypatch.setattr(Tokenizer, "encode_many", encode_many)
    (tmp_path / "a.txt").write_text("ab" * 200_000)
    DatasetRecipe(files_config(tmp_path / "a.txt"), BPE, 0).prepare(tmp_path / "datasets")
    assert max(learned) <= 2 * LONGEST_WORD
    assert max(encoded) <= encoder._RUN_BYTES + 1  # a line end before it


@pytest.fixture
def learned(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Return, once a data set is built, each text that a vocabulary was learned from, and which."""
    found: list[tuple[str, str]] = []
    train = Tokenizer.train

    def spy(given: Any, vocab_size: int) -> Tokenizer:  # noqa: ANN401
        seen = list(given)
        tokenizer = train(seen, vocab_size)
        found.append(("".join(seen), tokenizer.fingerprint))
        return tokenizer

    monkeypatch.setattr(Tokenizer, "train", spy)
    return found


@pytest.mark.parametrize("budget", [2222, 10**6])
def test_the_vocabulary_is_learned_from_the_text_of_the_budget_to_the_letter(
    rows: Path, tmp_path: Path, files_config: Make, learned: list[tuple[str, str]], budget: int
) -> None:
    config = files_config(rows, train_tokens=budget, block_size=2)
    dataset = DatasetRecipe(config, BPE, 0).prepare(tmp_path)
    splits = dataset.budget(budget if budget < 10**6 else None)
    n_bytes = dataset.manifest["tokenizer"]["learned_bytes"]
    parts = []
    for name in ("train", "tune"):
        whole = "".join(texts(dataset, name)).encode()
        tokens = splits[name].tokens(0, splits[name].n_tokens + 1)
        # blocks take whole pairs of tokens, and the vocabulary what is left of the budget too
        read = int(dataset.tokenizer.token_bytes[tokens].sum())
        longest = int(dataset.tokenizer.token_bytes.max())
        assert abs(n_bytes[name] - read) <= 3 * longest, name
        parts.append(whole[: n_bytes[name]].decode(errors="ignore"))
    assert ("".join(parts), dataset.tokenizer.fingerprint) in learned


def test_no_more_than_the_set_bytes_are_learned_from(
    rows: Path, tmp_path: Path, files_config: Make, learned: list[tuple[str, str]]
) -> None:
    limited = TokenizerSettings(vocab_size=300, train_bytes=1000)
    dataset = DatasetRecipe(files_config(rows), limited, 0).prepare(tmp_path)
    assert 998 <= sum(dataset.manifest["tokenizer"]["learned_bytes"].values()) <= 1000
    assert len(learned) == 1
    text = "".join(texts(dataset, "train")).encode()
    assert text.startswith(learned[0][0][:900].encode())


def test_single_bytes_are_a_vocabulary_that_learns_nothing(
    rows: Path, tmp_path: Path, files_config: Make
) -> None:
    settings = TokenizerSettings(kind="bytes")
    dataset = DatasetRecipe(files_config(rows), settings, 0).prepare(tmp_path)
    assert dataset.vocab_size == 257
    assert dataset.manifest["tokenizer"]["learned_bytes"] is None
    assert set(dataset.tokenizer.token_bytes.tolist()) == {0, 1}
    found = [text for split in SPLITS for text in texts(dataset, split)]
    wanted = [json.loads(line)["text"] for line in rows.read_text().splitlines()]
    assert sorted(found) == sorted(wanted)


def test_the_gpt2_vocabulary_needs_no_training(
    rows: Path, tmp_path: Path, files_config: Make
) -> None:
    dataset = DatasetRecipe(files_config(rows), TokenizerSettings(kind="gpt2"), 0).prepare(tmp_path)
    assert dataset.vocab_size == 50_257
    train = dataset.splits["train"]
    assert dataset.tokenizer.end_token_id in train.tokens(0, len(train.stream))


class TestFingerprint:
    @pytest.fixture
    def base(self, rows: Path, files_config: Make) -> str:
        return DatasetRecipe(files_config(rows), BPE, 0).fingerprint

    def test_it_needs_nothing_built(self, base: str, rows: Path) -> None:
        assert len(base) == 16
        assert [file.name for file in rows.parent.iterdir()] == [rows.name]

    def test_views_do_not_change_it(self, base: str, rows: Path, files_config: Make) -> None:
        assert DatasetRecipe(files_config(rows, block_size=64), BPE, 0).fingerprint == base
        for kind in ("gpt2", "bytes"):
            names = [
                DatasetRecipe(config, TokenizerSettings(kind=kind), 0).fingerprint
                for config in (files_config(rows), files_config(rows, train_tokens=1000))
            ]
            assert names[0] == names[1], kind

    def test_neither_does_the_place_nor_what_does_not_count(
        self, base: str, rows: Path, files_config: Make
    ) -> None:
        moved = rows.parent / "moved"
        moved.mkdir()
        (moved / "other.jsonl").write_bytes(rows.read_bytes())
        unused = TokenizerSettings(vocab_size=300, path="unused")
        assert DatasetRecipe(files_config(moved / "*.jsonl"), unused, 0).fingerprint == base

    def test_everything_that_counts_does(self, base: str, rows: Path, files_config: Make) -> None:
        config = files_config(rows)
        fractions = {"train": 0.7, "tune": 0.1, "validation": 0.1, "test": 0.1}
        others = [
            DatasetRecipe(config, BPE, 1).fingerprint,
            DatasetRecipe(config, TokenizerSettings(vocab_size=301), 0).fingerprint,
            DatasetRecipe(config, TokenizerSettings(vocab_size=300, train_bytes=9), 0).fingerprint,
            DatasetRecipe(config, TokenizerSettings(kind="gpt2"), 0).fingerprint,
            DatasetRecipe(config, TokenizerSettings(kind="bytes"), 0).fingerprint,
            DatasetRecipe(files_config(rows, train_tokens=1000), BPE, 0).fingerprint,
            DatasetRecipe(files_config(rows, fractions=fractions), BPE, 0).fingerprint,
        ]
        rows.write_text(rows.read_text() + '\n{"text": "more"}')
        others.append(DatasetRecipe(config, BPE, 0).fingerprint)
        assert len({base, *others}) == 9


def test_a_split_without_a_block_says_what_is_there_and_needed(
    tmp_path: Path, files_config: Make
) -> None:
    (tmp_path / "a.txt").write_text("only a few words here")
    with pytest.raises(DataError, match=r"tune split has \d tokens, one block of 8 needs 9\n  add"):
        DatasetRecipe(files_config(tmp_path / "a.txt"), BPE, 0).prepare(tmp_path)


@pytest.mark.parametrize("text", ["x", "ß", "two words"])
def test_the_smallest_texts_are_refused_in_the_same_words(
    tmp_path: Path, files_config: Make, text: str
) -> None:
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(DataError, match="one block of 8 needs 9"):
        DatasetRecipe(files_config(tmp_path / "a.txt"), BPE, 0).prepare(tmp_path)


@pytest.mark.parametrize(("content", "message"), [("", "is empty"), (" \n", "only whitespace")])
def test_no_text_is_refused_and_nothing_stays(
    tmp_path: Path, files_config: Make, content: str, message: str
) -> None:
    (tmp_path / "a.txt").write_text(content)
    with pytest.raises(DataError, match=message):
        DatasetRecipe(files_config(tmp_path / "a.txt"), BPE, 0).prepare(tmp_path / "datasets")
    assert [p for p in (tmp_path / "datasets").iterdir() if p.is_dir()] == []


def test_a_full_disk_is_named_and_nothing_stays(
    rows: Path, tmp_path: Path, files_config: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(TokenWriter, "append", full)
    root = tmp_path / "datasets"
    with pytest.raises(ArtifactError, match=r"cannot be written: No space left.*\n  free some"):
        DatasetRecipe(files_config(rows), BPE, 0).prepare(root)
    assert [path for path in root.iterdir() if path.is_dir()] == []


def test_a_root_that_cannot_be_is_named(rows: Path, tmp_path: Path, files_config: Make) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match=r"cannot be written: .*\n  a file stands where"):
        DatasetRecipe(files_config(rows), BPE, 0).prepare(tmp_path / "file" / "datasets")


def test_what_a_killed_process_left_is_cleared_away(
    rows: Path, tmp_path: Path, files_config: Make
) -> None:
    config, root = files_config(rows), tmp_path / "datasets"
    partial = root / f".{DatasetRecipe(config, BPE, 0).fingerprint}.partial"
    partial.mkdir(parents=True)
    (partial / "text.spool").write_text("half")
    DatasetRecipe(config, BPE, 0).prepare(root)
    assert not partial.exists()


def test_a_damaged_data_set_is_not_built_over(
    rows: Path, tmp_path: Path, files_config: Make
) -> None:
    dataset = DatasetRecipe(files_config(rows), BPE, 0).prepare(tmp_path)
    (dataset.path / "manifest.json").unlink()
    with pytest.raises(ArtifactError, match=r"no manifest\.json"):
        DatasetRecipe(files_config(rows), BPE, 0).prepare(tmp_path)


def test_of_two_at_once_one_builds(
    rows: Path, tmp_path: Path, files_config: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[int] = []
    build = recipe._Build._run

    def counted(*args: Any) -> None:  # noqa: ANN401
        built.append(1)
        build(*args)

    monkeypatch.setattr(recipe._Build, "_run", counted)
    results: list[Dataset] = []

    def work() -> None:
        results.append(DatasetRecipe(files_config(rows), BPE, 0).prepare(tmp_path))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(built) == 1
    assert results[0].path == results[1].path


def test_the_hub_goes_through_the_same_stages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_text: Callable[[int, int], str]
) -> None:
    lines: list[str] = []
    for number in range(30):
        lines += [f" = T{number} = \n", "", make_text(40, number) + "\n", ""]
    monkeypatch.setattr("clso.data.hub.hub_is_reachable", lambda: True)
    monkeypatch.setattr("datasets.load_dataset", lambda *_, **__: [{"text": t} for t in lines])
    config = DataSettings.model_validate(
        {"source": "hub", "hub": {"validation_split": None, "test_split": None}, "block_size": 8}
    )
    dataset = DatasetRecipe(config, BPE, 0).prepare(tmp_path / "datasets")
    assert sum(dataset.manifest["splits"][name]["documents"] for name in SPLITS) == 30
    assert dataset.manifest["source"]["name"] == "Salesforce/wikitext (wikitext-103-raw-v1)"


MEASURE = """
import resource, sys
from pathlib import Path
from clso.data import DatasetRecipe, DataSettings, TokenizerSettings
data = DataSettings.model_validate({"source": "files", "files": {"train": sys.argv[1]}})
bpe = TokenizerSettings(vocab_size=400, train_bytes=100_000)
dataset = DatasetRecipe(data, bpe, 0).prepare(Path(sys.argv[1]).parent / sys.argv[2])
print(dataset.splits["train"].blocks([0, -1 + dataset.splits["train"].n_blocks])[0].sum() > 0)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is kilobytes on Linux only")
@pytest.mark.parametrize("form", ["txt", "jsonl"])
def test_memory_does_not_grow_with_the_corpus(
    tmp_path: Path, make_text: Callable[[int, int], str], form: str
) -> None:
    text = make_text(40_000, 0)
    peaks_kb = []
    for size_mb in (4, 28):
        path = tmp_path / f"{size_mb}.{form}"
        with open(path, "w") as file:
            unit = text if form == "txt" else json.dumps({"text": text[:4000]}) + "\n"
            for number in range(size_mb * 1_000_000 // len(unit)):
                # documents differ, because equal ones stay together
                file.write(unit if form == "txt" else unit.replace('": "', f'": "{number} '))
        output = subprocess.run(
            [sys.executable, "-c", MEASURE, str(path), "datasets"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        assert output[0] == "True"
        peaks_kb.append(int(output[1]))
    assert peaks_kb[1] - peaks_kb[0] < 25_000


def appended(path: Path) -> None:
    path.write_text(path.read_text() + "one more line\n")


def rewritten_in_its_time(path: Path) -> None:
    stat = path.stat()
    path.write_text(path.read_text()[::-1])
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def replaced(path: Path) -> None:
    other = path.with_suffix(".new")
    other.write_text(path.read_text()[::-1])
    os.replace(other, path)


CHANGES: dict[str, Callable[[Path], object]] = {
    "appended": appended,
    "truncated": lambda path: path.write_text(path.read_text()[:50]),
    "emptied": lambda path: path.write_text(""),
    "rewritten in its time": rewritten_in_its_time,
    "replaced": replaced,
    "deleted": Path.unlink,
}


class TestTextThatChanges:
    @pytest.fixture
    def folder(self, tmp_path: Path, documents: list[str]) -> Path:
        folder = tmp_path / "text"
        folder.mkdir()
        for number, text in enumerate(documents):
            (folder / f"{number:02}.txt").write_text(text)
        return folder

    @pytest.mark.parametrize("change", [*CHANGES, "added", "all but five deleted"])
    def test_a_change_after_the_name_is_refused_before_and_ignored_after_the_building(
        self, tmp_path: Path, files_config: Make, folder: Path, change: str
    ) -> None:
        recipe_ = DatasetRecipe(files_config(folder / "*.txt"), BPE, 0)
        name, built = recipe_.fingerprint, tmp_path / "built"
        before = recipe_.prepare(built, fingerprint=name)
        if change == "added":
            (folder / "99.txt").write_text("an added document")
        elif change == "all but five deleted":
            for path in sorted(folder.iterdir())[:-5]:
                path.unlink()
        else:
            CHANGES[change](folder / "07.txt")
        late = tmp_path / "late"
        with pytest.raises(DataError, match="the text has changed since the command began"):
            recipe_.prepare(late, fingerprint=name)
        assert not late.exists()
        again = recipe_.prepare(built, fingerprint=name)
        assert again.manifest == before.manifest

    def test_a_built_data_set_needs_no_text(
        self, tmp_path: Path, files_config: Make, folder: Path
    ) -> None:
        recipe_ = DatasetRecipe(files_config(folder / "*.txt"), BPE, 0)
        name = recipe_.prepare(tmp_path / "datasets").fingerprint
        for path in folder.iterdir():
            path.unlink()
        assert recipe_.prepare(tmp_path / "datasets", fingerprint=name).fingerprint == name

    @pytest.mark.parametrize("place", ["03.txt", "37.txt"])  # read before, or not yet
    @pytest.mark.parametrize("change", CHANGES)
    def test_a_change_while_it_is_read_is_refused_and_nothing_stays(
        self,
        tmp_path: Path,
        files_config: Make,
        folder: Path,
        monkeypatch: pytest.MonkeyPatch,
        change: str,
        place: str,
    ) -> None:
        read = FileReader.read

        def changing(self: FileReader, path: Path) -> Iterator[Piece]:
            if path.name == "20.txt":
                CHANGES[change](folder / place)
            yield from read(self, path)

        monkeypatch.setattr(FileReader, "read", changing)
        root = tmp_path / "datasets"
        with pytest.raises(DataError, match=r"changed since the command began|cannot be read"):
            DatasetRecipe(files_config(folder / "*.txt"), BPE, 0).prepare(root)
        assert [path for path in root.iterdir() if path.is_dir()] == []

    def test_a_file_that_is_only_touched_has_not_changed(
        self, tmp_path: Path, files_config: Make, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        read = FileReader.read

        def touching(self: FileReader, path: Path) -> Iterator[Piece]:
            path.touch()
            yield from read(self, path)

        monkeypatch.setattr(FileReader, "read", touching)
        recipe_ = DatasetRecipe(files_config(folder / "*.txt"), BPE, 0)
        assert recipe_.prepare(tmp_path / "datasets").fingerprint == recipe_.fingerprint
