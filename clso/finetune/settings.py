"""The settings of fine-tuning, and of tasks that lie in files."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

from clso.section import Count, NotNegative, Positive, Probability, Section

__all__ = ["STARTS", "FileTaskSettings", "FinetuneSettings", "Metric", "StartName"]

Metric = Literal["accuracy", "matthews"]
StartName = Literal["gpt", "warm_start", "adamw", "random"]

_TaskName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]

STARTS: Final[tuple[StartName, ...]] = ("gpt", "warm_start", "adamw", "random")
"""The weights that fine-tuning may start from: a run's models, and none of them."""


class FileTaskSettings(Section):
    """A task in files: tsv, csv, jsonl or parquet, with a column of labels.

    Attributes:
        train, dev: the files to learn from, and to report on.
        text: one or two columns that hold a sentence; `None`: columns that GLUE has, such as
            `sentence`, or `sentence1` and `sentence2`.
        label: the column of labels, whole numbers or names.
        metric: chooses the rate, and is compared.
    """

    train: Annotated[str, Field(min_length=1)]
    dev: Annotated[str, Field(min_length=1)]
    text: Annotated[tuple[str, ...], Field(min_length=1, max_length=2)] | None = None
    label: str = "label"
    metric: Metric = "accuracy"


class FinetuneSettings(Section):
    """Fine-tuning with AdamW: equal schedule and equal effort for every start.

    Attributes:
        tasks: tasks in files, by name.
        starts: the weights to start from; those that the run does not have are left out.
        learning_rates: rates to try, for each start alike. The best on a part of train is taken.
        epochs: how often each example is read.
        batch_size: examples per step.
        max_length: tokens of an example, the first ones; `None`: as many as the models have
            positions.
        dropout: probability, on embeddings, attention and residuals alike. A crystalline GPT has
            coordinates that its LayerNorms rely on, and learns nothing when they are dropped.
        weight_decay: of matrices and embeddings.
        warmup_fraction: share of the steps over which the rate rises; then it falls as a cosine.
        grad_clip: largest norm of the whole gradient.
        seeds: fits of each start at its rate. A seed draws the new weights, the order of the
            examples and the dropout, the same for all starts.
        choice_seeds: fits of each start at each rate, to choose among them.
        held_out: share of train that is held out to choose the rate, where the task says none.
        train_examples: learn from so many examples of train, drawn at random; `None`: from all.
        labels: of the bundled task: the number of books.
        verses: of the bundled task: consecutive verses of a passage.
    """

    tasks: dict[_TaskName, FileTaskSettings] = Field(default_factory=dict)
    starts: Annotated[tuple[StartName, ...], Field(min_length=1)] = STARTS
    learning_rates: Annotated[tuple[Positive, ...], Field(min_length=1)] = (3e-4, 1e-3, 3e-3, 1e-2)
    epochs: Annotated[int, Field(ge=1, le=10_000)] = 6
    batch_size: Count = 16
    max_length: Annotated[int, Field(ge=2)] | None = None
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    weight_decay: NotNegative = 0.1
    warmup_fraction: Probability = 0.1
    grad_clip: Positive = 1.0
    seeds: Annotated[int, Field(ge=2, le=1000)] = 5
    choice_seeds: Annotated[int, Field(ge=1, le=1000)] = 1
    held_out: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.2
    train_examples: Count | None = None
    labels: Annotated[int, Field(ge=2, le=60)] = 8
    verses: Annotated[int, Field(ge=1, le=50)] = 2
