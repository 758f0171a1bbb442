"""A task of classification: texts with labels to learn from, and others to report on.

Notation: n examples, K labels. A *document* is a group of examples that depend on each other, such
as the passages of a chapter; where examples have no order, each is a document of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import numpy.typing as npt

from clso.digest import digest_of
from clso.errors import DataError
from clso.finetune.settings import Metric
from clso.scoring import Int64Array

__all__ = ["Examples", "Label", "Task", "held_out_at_random"]

Label = int | str

# Separate these random streams from each other and from those of the fits.
_HELD_OUT_STREAM = int.from_bytes(b"held")
_SAMPLE_STREAM = int.from_bytes(b"some")


@dataclass(frozen=True, eq=False)
class Examples:
    """Texts with their labels.

    Attributes:
        texts: each one sentence or two.
        labels: numbers of the labels, `(n,)`.
        documents: `(n,)`.
    """

    texts: tuple[tuple[str, ...], ...]
    labels: Int64Array
    documents: Int64Array

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, index: Int64Array | npt.NDArray[np.bool_]) -> Examples:
        """Return some of the examples: those of an index, or of a mask."""
        places = np.arange(len(self))[index]
        texts = tuple(self.texts[place] for place in places.tolist())
        return Examples(texts, self.labels[places], self.documents[places])


@dataclass(frozen=True, eq=False)
class Task:
    """Examples to learn from, and examples to report on.

    Attributes:
        labels: the names of the K labels.
        metric: chooses the rate, and is compared.
        train: to learn from.
        held_out: which of `train` are held out while the rate is chosen, `(n,)`.
        reported: nothing is chosen by them.
        about: sentences for readers: what the task asks, and what the models have read of it.

    Raises:
        DataError: a part has no examples, `train` or the part of it that chooses has a single
            label, or `reported` has a label that `train` has not.
    """

    name: str
    labels: tuple[str, ...]
    metric: Metric
    train: Examples
    held_out: npt.NDArray[np.bool_]
    reported: Examples
    about: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for part, examples in (("train", self.train), ("dev", self.reported)):
            if not len(examples):
                raise DataError(
                    f"task {self.name}: {part} has no examples",
                    remedy="give it rows with a text and a label",
                )
        learned = np.unique(self.train.labels)
        if len(learned) < 2:
            raise DataError(
                f"task {self.name}: train has the label {self.labels[learned[0]]!r} alone, "
                "expected two or more",
                remedy="add examples of another label, or name the right column of labels",
            )
        if unknown := sorted(set(self.reported.labels.tolist()) - set(learned.tolist())):
            raise DataError(
                f"task {self.name}: dev has the label {self.labels[unknown[0]]!r}, which train "
                "has not",
                remedy="a label without examples cannot be learned: add some, or leave it out",
            )
        if len(np.unique(self.train.labels[~self.held_out])) < 2 or not self.held_out.any():
            raise DataError(
                f"task {self.name}: train is too small to hold out a part that chooses the rate",
                remedy="add examples, or change finetune.held_out or finetune.train_examples",
            )

    @classmethod
    def of_labels(
        cls,
        name: str,
        metric: Metric,
        train: Sequence[tuple[tuple[str, ...], Label]],
        reported: Sequence[tuple[tuple[str, ...], Label]],
        *,
        held_out: float,
        seed: int,
        about: tuple[str, ...] = (),
    ) -> Self:
        """Return the task of texts with labels as they stand in files, in any number of examples.

        Raises:
            DataError: as for the task; or whole numbers and names are mixed as labels.
        """
        kinds = {type(label) for _, label in (*train, *reported)}
        if len(kinds) > 1:
            raise DataError(
                f"task {name}: some labels are whole numbers and some are names",
                remedy="write all of them in one way",
            )
        known = sorted({label for _, label in (*train, *reported)})
        number = {label: place for place, label in enumerate(known)}

        def examples(rows: Sequence[tuple[tuple[str, ...], Label]]) -> Examples:
            labels = np.array([number[label] for _, label in rows], np.int64)
            return Examples(tuple(text for text, _ in rows), labels, np.arange(len(rows)))

        learned = examples(train)
        mask = held_out_at_random(len(learned), held_out, seed)
        names = tuple(map(str, known))
        return cls(name, names, metric, learned, mask, examples(reported), about)

    def limited(self, n_examples: int | None, *, seed: int) -> Task:
        """Return the task with so many examples of train, drawn at random; `None`: with all.

        Raises:
            DataError: as for the task, if they are too few.
        """
        if n_examples is None or n_examples >= len(self.train):
            return self
        rng = np.random.default_rng([seed, _SAMPLE_STREAM])
        kept = np.sort(rng.permutation(len(self.train))[:n_examples])
        return replace(self, train=self.train.take(kept), held_out=self.held_out[kept])

    @property
    def n_overlapping(self) -> int:
        """The number of reported texts that stand in `train` word for word."""
        learned = set(self.train.texts)
        return sum(text in learned for text in self.reported.texts)

    @property
    def fingerprint(self) -> str:
        """64 hexadecimal digits of all that a fit can follow from."""
        parts = [
            [examples.texts, examples.labels.tolist(), examples.documents.tolist()]
            for examples in (self.train, self.reported)
        ]
        return digest_of([self.labels, self.metric, self.held_out.tolist(), parts])


def held_out_at_random(n_examples: int, share: float, seed: int) -> npt.NDArray[np.bool_]:
    """Return a mask `(n,)` of a share of the examples, at least one if there are two."""
    rng = np.random.default_rng([seed, _HELD_OUT_STREAM])
    mask = np.zeros(n_examples, np.bool_)
    count = min(max(round(share * n_examples), 1), max(n_examples - 1, 0))
    mask[rng.permutation(n_examples)[:count]] = True
    return mask
