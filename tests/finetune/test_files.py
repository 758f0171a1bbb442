"""Tasks in files: every form gives the same task, and what is wrong is named."""

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clso.data import hub
from clso.errors import DataError
from clso.finetune import FinetuneSettings
from clso.finetune.files import file_task, folder_task, glue_task
from clso.finetune.settings import FileTaskSettings

Row = dict[str, Any]

TRAIN = [
    {"sentence": 'it is "good", indeed', "label": 1},
    {"sentence": "it is bad", "label": 0},
    {"sentence": "", "label": 1},
    {"sentence": "NA", "label": 0},
    {"sentence": "so, so", "label": 1},
    {"sentence": "42", "label": 0},
]
DEV = [{"sentence": "very good", "label": 1}, {"sentence": "very bad", "label": 0}]


def write_tsv(path: Path, rows: list[Row]) -> None:
    lines = ["\t".join(rows[0])]
    lines += ["\t".join("" if v is None else str(v) for v in row.values()) for row in rows]
    path.write_text("".join(f"{line}\n" for line in lines))


def write_csv(path: Path, rows: list[Row]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), quoting=csv.QUOTE_ALL)
        writer.writeheader()
        writer.writerows(rows)


def write_jsonl(path: Path, rows: list[Row]) -> None:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def write_parquet(path: Path, rows: list[Row]) -> None:
    pq.write_table(pa.Table.from_pylist(rows), path)


WRITERS: dict[str, Callable[[Path, list[Row]], None]] = {
    "tsv": write_tsv,
    "csv": write_csv,
    "jsonl": write_jsonl,
    "parquet": write_parquet,
}


def written(folder: Path, form: str, train: list[Row] = TRAIN, dev: list[Row] = DEV) -> Path:
    folder.mkdir(exist_ok=True)
    WRITERS[form](folder / f"train.{form}", train)
    WRITERS[form](folder / f"dev.{form}", dev)
    return folder


def read(folder: Path, **changes: Any) -> Any:  # noqa: ANN401
    (train,), (dev,) = (list(folder.glob(f"{name}.*")) for name in ("train", "dev"))
    files = FileTaskSettings(train=str(train), dev=str(dev), **changes)
    return file_task("mine", files, FinetuneSettings(), seed=0)


def test_every_form_gives_the_same_task(tmp_path: Path) -> None:
    tasks = [read(written(tmp_path / form, form)) for form in WRITERS]
    assert len({task.fingerprint for task in tasks}) == 1
    assert tasks[0].train.texts == tuple((row["sentence"],) for row in TRAIN)
    assert tasks[0].train.labels.tolist() == [row["label"] for row in TRAIN]
    assert tasks[0].labels == ("0", "1")


@pytest.mark.parametrize("form", WRITERS)
def test_two_sentences_and_names_as_labels(tmp_path: Path, form: str) -> None:
    pairs = [
        {"index": number, "sentence1": f"a {number}", "sentence2": f"b {number}", "label": label}
        for number, label in enumerate(["entailment", "not_entailment"] * 3)
    ]
    task = read(written(tmp_path / "rte", form, pairs, pairs[:2]))
    assert task.train.texts[3] == ("a 3", "b 3")
    assert task.labels == ("entailment", "not_entailment")


def test_cola_has_four_columns_without_names(tmp_path: Path) -> None:
    folder = tmp_path / "CoLA"
    folder.mkdir()
    lines = ["gj04\t1\t\tThe sailors rode.", "gj04\t0\t*\tSailors the rode."] * 4
    (folder / "train.tsv").write_text("\n".join(lines))
    (folder / "dev.tsv").write_text("\n".join(lines[:2]))
    task = folder_task(folder, FinetuneSettings(), seed=0)
    assert (task.name, task.metric) == ("CoLA", "matthews")
    assert task.train.texts[0] == ("The sailors rode.",)
    assert task.train.labels.tolist() == [1, 0] * 4
    assert len(task.train) == 8


def test_columns_may_have_any_names(tmp_path: Path) -> None:
    def renamed(rows: list[Row]) -> list[Row]:
        return [{"review": row["sentence"], "stars": row["label"]} for row in rows]

    folder = written(tmp_path / "own", "csv", renamed(TRAIN), renamed(DEV))
    task = read(folder, text=("review",), label="stars")
    assert task.fingerprint == read(written(tmp_path / "glue", "tsv")).fingerprint
    with pytest.raises(
        DataError, match=r"none of the columns .* it has review, stars\n.*mine\.text"
    ):
        read(folder)
    with pytest.raises(DataError, match=r"no column 'label'; .*\n.*finetune\.tasks\.mine\.label"):
        read(folder, text=("review",))
    with pytest.raises(DataError, match=r"no column 'words'; it has review, stars\n.*mine\.text"):
        read(folder, text=("words",), label="stars")


@pytest.mark.parametrize("form", WRITERS)
@pytest.mark.parametrize("label", [0.5, None, "", "3.80"])
def test_a_label_is_a_whole_number_or_a_name(tmp_path: Path, form: str, label: object) -> None:
    rows = [{"sentence": "a", "label": label if number == 4 else None} for number in range(5)]
    if form != "parquet":  # whose columns have one type
        rows = [row if row["label"] == label else {**row, "label": 1} for row in rows]
    with pytest.raises(DataError, match=r"row \d|:\d") as error:
        read(written(tmp_path / "bad", form, rows))
    assert "expected a whole number or a name" in str(error.value)


def test_files_that_are_missing_or_damaged_are_named(tmp_path: Path) -> None:
    files = FileTaskSettings(train=str(tmp_path / "no.tsv"), dev=str(tmp_path / "no.tsv"))
    with pytest.raises(DataError, match=r"there is no file .*no\.tsv\n.*relative to"):
        file_task("mine", files, FinetuneSettings(), seed=0)
    with pytest.raises(DataError, match=r"has no file train with one of the endings \.tsv"):
        folder_task(tmp_path, FinetuneSettings(), seed=0)
    folder = written(tmp_path / "ragged", "tsv")
    with (folder / "train.tsv").open("a") as file:
        file.write("a\tb\tc\n")
    with pytest.raises(DataError, match=r"train\.tsv cannot be read: .*Expected 2 columns, got 3"):
        read(folder)
    (folder / "train.tsv").write_text("")
    with pytest.raises(DataError, match="train has no examples"):
        read(folder)
    folder = written(tmp_path / "broken", "jsonl")
    (folder / "dev.jsonl").write_text('{"sentence": "a", "label": 1}\n{"sentence":\n')
    with pytest.raises(DataError, match=r"dev\.jsonl:2 is no JSON"):
        read(folder)


class StandIn:
    """Takes the place of `datasets.load_dataset`."""

    def __call__(self, name: str, config: str, **options: Any) -> Iterator[Row]:  # noqa: ANN401
        assert (name, config) == ("nyu-mll/glue", "cola")
        rows = {"train": TRAIN, "validation": DEV}[options["split"]]
        return ({"idx": number, **row} for number, row in enumerate(rows))


def test_a_task_of_the_hub_has_its_two_splits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datasets.load_dataset", StandIn())
    monkeypatch.setattr(hub, "hub_is_reachable", lambda: True)
    task = glue_task("cola", FinetuneSettings(), tmp_path, seed=0)
    assert (task.name, task.metric) == ("cola", "matthews")
    assert task.train.texts == tuple((row["sentence"],) for row in TRAIN)
    assert task.reported.labels.tolist() == [1, 0]


def test_without_the_network_the_hub_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "empty"))
    with pytest.raises(DataError, match=r"the hub cannot be reached .*\n.*name kjv_books, or"):
        glue_task("sst2", FinetuneSettings(), tmp_path, seed=0)
