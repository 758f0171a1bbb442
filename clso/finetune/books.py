"""The bundled task: from which book of the King James text is a passage?

A passage is some consecutive verses of one chapter. A chapter is a document of the run, so it lies
in one split. Passages to learn from come from chapters of train and tune within the run's budget:
text that every model of the run may have read, without the labels. A share of these chapters is
held out while the rate is chosen. Passages to report on come from chapters of the test split, which
no model has read and by which nothing was chosen. The text repeats a few of its passages in other
chapters; these are counted and told.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Final

import numpy as np

from clso.data import SPLITS, Dataset, TokenSplit
from clso.data.corpus import PackageCorpus, file_sha256, package_file
from clso.data.files import read_rows
from clso.errors import ConfigError, DataError
from clso.finetune.task import Examples, Task, held_out_at_random
from clso.scoring import Int64Array

__all__ = ["BOOKS", "book_task"]

BOOKS: Final = "kjv_books"
"""The name of the task."""

_FIELDS: Final = ("book", "chapter")


def book_task(
    source: PackageCorpus.Settings,
    dataset: Dataset,
    budget: Mapping[str, TokenSplit],
    *,
    labels: int,
    verses: int,
    held_out: float,
    seed: int,
) -> Task:
    """Return the task on the text of a run.

    Args:
        source: the file of the King James text.
        dataset: the run's data set, made of this file.
        budget: its splits, train and tune cut to what the models may learn from.
        labels: the number of books: those with the most verses in the chapters to learn from.
        verses: of a passage; a rest of a chapter with fewer is left out.
        held_out: share of the chapters to learn from that chooses the rate; `seed` draws them.

    Raises:
        ConfigError: the file's documents are not chapters of books.
        DataError: the file is not what the data set was made of, or there are too few books.
    """
    if source.document_fields != _FIELDS:
        raise ConfigError(
            f"{BOOKS} needs the King James text with a chapter per document, and the run has "
            f"documents by {', '.join(source.document_fields) or 'row'}",
            remedy="use a run with the default data.package",
        )
    path = package_file(source.module, source.resource)
    if file_sha256(path) != dataset.manifest["source"].get("sha256"):
        raise DataError(
            f"{path} is not the text that the run's data set was made of",
            remedy="install the package that made it, or make the run again",
        )
    chapters = list(_chapters(path, source.text_field))
    learned = np.concatenate([_whole(budget[name]) for name in ("train", "tune")])
    counts: dict[str, int] = {}
    for document in learned.tolist():
        chapter = chapters[document]
        counts[chapter.book] = counts.get(chapter.book, 0) + len(chapter.verses)
    largest = sorted(counts, key=lambda book: (-counts[book], book))[:labels]
    if len(largest) < labels:
        raise DataError(
            f"{BOOKS}: the chapters within the run's budget are of {len(largest)} books, "
            f"finetune.labels is {labels}",
            remedy="ask for fewer, or take a run with a larger data.train_tokens",
        )
    # in the order of the text
    books = [
        book for book in dict.fromkeys(chapter.book for chapter in chapters) if book in largest
    ]

    def passages(documents: Int64Array) -> Examples:
        found = [
            ("\n".join(chapter.verses[start : start + verses]), books.index(chapter.book), document)
            for document in documents.tolist()
            if (chapter := chapters[document]).book in largest
            for start in range(0, len(chapter.verses) - verses + 1, verses)
        ]
        return Examples(
            tuple((text,) for text, _, _ in found),
            np.array([label for _, label, _ in found], np.int64),
            np.array([document for _, _, document in found], np.int64),
        )

    train, reported = passages(learned), passages(dataset.splits["test"].document_ids)
    used = np.unique(train.documents)
    apart = np.isin(train.documents, used[held_out_at_random(len(used), held_out, seed)])
    n_learned, n_reported = (len(np.unique(part.documents)) for part in (train, reported))
    about = (
        f"From which of {labels} books of the King James text is a passage of {verses} verses? "
        f"Passages to learn from are of {n_learned} chapters within the run's budget, whose text "
        "its language models have read, without labels. Those to report on are of "
        f"{n_reported} chapters of the test split, which no model has read and by which nothing "
        f"was chosen.{_repeated(reported, chapters, dataset)}",
    )
    return Task(BOOKS, tuple(books), "accuracy", train, apart, reported, about)


def _repeated(reported: Examples, chapters: Sequence[_Chapter], dataset: Dataset) -> str:
    """Say how many passages stand in other splits too: the text repeats some of its own."""
    others = [dataset.splits[name].document_ids for name in SPLITS if name != "test"]
    # a character that no text has keeps chapters apart
    read = "\0".join("\n".join(chapters[d].verses) for d in np.concatenate(others).tolist())
    count = sum(text in read for (text,) in reported.texts)
    stand = "stands" if count == 1 else "stand"
    return (
        f" The text repeats itself: {count} of these {len(reported)} passages {stand} word for "
        "word in a chapter of another split too."
        if count
        else ""
    )


@dataclass(frozen=True)
class _Chapter:
    book: str
    verses: list[str]


def _chapters(path: Path, text_field: str) -> Iterator[_Chapter]:
    """Yield the chapters in the order of the run's documents, which are numbered by it."""
    rows = groupby(read_rows(path), lambda row: tuple(map(row.field, _FIELDS)))
    for (book, _), chapter in rows:
        verses = [row.text(text_field) for row in chapter]
        if any(verse.strip() for verse in verses):  # a blank document has no number
            yield _Chapter(str(book), verses)


def _whole(split: TokenSplit) -> Int64Array:
    """Return the documents that lie in a view of a split from their first token to their last."""
    ends = np.append(split.document_starts[1:], len(split.stream))
    return split.document_ids[ends <= split.n_tokens + 1]
