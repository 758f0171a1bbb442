"""Tasks in files of GLUE's forms, and tasks of GLUE by name.

`.tsv` has no quotes: a quotation mark is a character, as in GLUE's own files. `.csv` has them. Both
begin with the names of the columns; CoLA's four columns have none and are known by their second,
which is 0 or 1. `.jsonl` and `.parquet` have named fields.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.csv as pv

from clso.data.files import ROW_SUFFIXES, Row, damage_told, read_rows
from clso.data.hub import HubCorpus
from clso.errors import DataError
from clso.finetune.settings import FileTaskSettings, FinetuneSettings
from clso.finetune.task import Label, Task

__all__ = ["GLUE", "file_task", "folder_task", "glue_task"]

_SENTENCES: Final = FileTaskSettings(train="train", dev="validation", text=("sentence",))

GLUE: Final[Mapping[str, FileTaskSettings]] = {
    "cola": _SENTENCES.replaced(metric="matthews"),
    "sst2": _SENTENCES,
}
"""Tasks of the hub's data set `nyu-mll/glue`, by name."""

_DELIMITERS: Final = {".tsv": "\t", ".csv": ","}
_SUFFIXES: Final = (*_DELIMITERS, *sorted(ROW_SUFFIXES))
_COLA: Final = ("source", "label", "mark", "sentence")
_TEXTS: Final = (
    ("sentence",),
    ("sentence1", "sentence2"),
    ("question", "sentence"),
    ("question1", "question2"),
    ("premise", "hypothesis"),
    ("text",),
)
_DEV_NAMES: Final = ("dev", "validation")

_FRACTION: Final = re.compile(r"[-+]?(\d+\.\d*|\.\d+)(e[-+]?\d+)?", re.IGNORECASE)


class _Unquoted(csv.excel_tab):
    quoting = csv.QUOTE_NONE


_Example = tuple[tuple[str, ...], Label]


def file_task(name: str, files: FileTaskSettings, settings: FinetuneSettings, *, seed: int) -> Task:
    """Return the task in two files; `seed` draws the part of train that chooses the rate.

    Raises:
        DataError: a file or column is missing or damaged, a label is neither a whole number nor a
            name, or as for `Task.of_labels`.
    """
    where = f"finetune.tasks.{name}"
    train, dev = (Path(path).expanduser() for path in (files.train, files.dev))
    return Task.of_labels(
        name,
        files.metric,
        list(_examples(_file_rows(train), str(train), files, where)),
        list(_examples(_file_rows(dev), str(dev), files, where)),
        held_out=settings.held_out,
        seed=seed,
        about=(f"Train is {train.name}, and what is reported is over {dev.name}.",),
    )


def folder_task(folder: Path, settings: FinetuneSettings, *, seed: int) -> Task:
    """Return the task in a folder with the files `train` and `dev` (or `validation`).

    Raises:
        DataError: one of the files is missing, or as for `file_task`.
    """
    train, dev = (_file_in(folder, names) for names in (("train",), _DEV_NAMES))
    is_cola = "cola" in folder.name.lower()
    files = FileTaskSettings(
        train=str(train), dev=str(dev), metric="matthews" if is_cola else "accuracy"
    )
    return file_task(folder.resolve().name, files, settings, seed=seed)


def glue_task(name: str, settings: FinetuneSettings, cache_dir: Path, *, seed: int) -> Task:
    """Return a task of `GLUE` from the hub, or from what the hub's client keeps in `cache_dir`.

    Raises:
        DataError: neither hub nor cache has it.
        DownloadError: the connection broke after the first rows.
    """
    files = GLUE[name]
    hub = HubCorpus.Settings(name="nyu-mll/glue", config=name)
    corpus = HubCorpus(
        hub,
        cache_dir,
        check="try again",
        offline="without the network, name kjv_books, or a folder with the task's files train.tsv "
        "and dev.tsv",
    )
    train, dev = (
        list(_examples(corpus.rows(split), corpus.name, files, name))
        for split in ("train", "validation")
    )
    about = f"The task is {name} of GLUE, and what is reported is over its validation split."
    share = settings.held_out
    return Task.of_labels(name, files.metric, train, dev, held_out=share, seed=seed, about=(about,))


def _file_in(folder: Path, names: tuple[str, ...]) -> Path:
    for name in names:
        for suffix in _SUFFIXES:
            if (path := folder / f"{name}{suffix}").is_file():
                return path
    raise DataError(
        f"{folder} has no file {' or '.join(names)} with one of the endings {', '.join(_SUFFIXES)}",
        remedy="name the files in the configuration: --set "
        "'finetune.tasks={mine: {train: PATH, dev: PATH}}'",
    )


def _file_rows(path: Path) -> Iterator[Row]:
    if not path.is_file():
        raise DataError(
            f"there is no file {path}", remedy=f"the path is taken relative to {Path.cwd()}"
        )
    if path.suffix.lower() in _DELIMITERS:
        return _separated_rows(path)
    return read_rows(path)


def _separated_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of a tsv or csv file, every field as text."""
    delimiter = _DELIMITERS[path.suffix.lower()]
    with damage_told(path, "name another file"):
        if not path.stat().st_size:
            return
        is_quoted = path.suffix.lower() == ".csv"
        with open(path, encoding="utf-8-sig", errors="replace", newline="") as file:
            dialect = csv.excel if is_quoted else _Unquoted
            first = next(csv.reader(file, dialect), [])
        is_cola = len(first) == len(_COLA) and first[1] in ("0", "1")
        names = list(_COLA) if is_cola else None
        parse = pv.ParseOptions(delimiter=delimiter, quote_char='"' if is_quoted else False)
        reader = pv.open_csv(
            path,
            read_options=pv.ReadOptions(column_names=names, use_threads=False),
            parse_options=parse,
            convert_options=pv.ConvertOptions(
                column_types=dict.fromkeys(_COLA if is_cola else first, pa.string())
            ),
        )
        number = 0 if is_cola else 1
        for batch in reader:
            for values in batch.to_pylist():
                number += 1
                yield Row(values, f"{path}, row {number}")


def _examples(
    rows: Iterator[Row], source: str, files: FileTaskSettings, where: str
) -> Iterator[_Example]:
    """Yield texts and labels; `where` names the settings of the columns in messages."""
    columns = files.text
    for row in rows:
        values = row.values
        if not isinstance(values, dict):
            raise DataError(
                f"{row.where} is no JSON object", remedy='expected such as {"sentence": "..."}'
            )
        if columns is None:
            columns = _text_columns(values, source, where)
        texts = tuple(_text(row, _value(row, column, f"{where}.text")) for column in columns)
        yield texts, _label(row, _value(row, files.label, f"{where}.label"))


def _text_columns(values: Mapping[str, Any], source: str, where: str) -> tuple[str, ...]:
    for columns in _TEXTS:
        if values.keys() >= set(columns):
            return columns
    raise DataError(
        f"{source} has none of the columns that hold text in GLUE; it has {', '.join(values)}",
        remedy=f"name one or two of them with {where}.text",
    )


def _value(row: Row, column: str, key: str) -> object:
    values = row.values
    assert isinstance(values, dict)
    if column not in values:
        raise DataError(
            f"{row.where} has no column {column!r}; it has {', '.join(map(str, values))}",
            remedy=f"name the right one with {key}",
        )
    return values[column]


def _text(row: Row, value: object) -> str:
    if not isinstance(value, str):
        raise DataError(
            f"{row.where}: the text is {value!r}, expected text", remedy="mend or remove the row"
        )
    return value


def _label(row: Row, value: object) -> Label:
    """Return a label; digits in a text file are a whole number."""
    label = value.strip() if isinstance(value, str) else value
    if isinstance(label, str) and label.removeprefix("-").isdecimal():
        label = int(label)
    is_name = isinstance(label, str) and label != "" and not _FRACTION.fullmatch(label)
    if not is_name and (isinstance(label, bool) or not isinstance(label, int)):
        raise DataError(
            f"{row.where}: the label is {value!r}, expected a whole number or a name",
            remedy="mend or remove the row, or name another column of labels",
        )
    assert isinstance(label, int | str)
    return label
