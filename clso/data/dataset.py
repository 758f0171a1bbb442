"""A prepared data set: memory-mapped tokens of four splits, cut to blocks when read.

Notation: a split's stream is t_0 .. t_n, its documents with an end token after each; block b of
T tokens has the inputs t_{bT} .. t_{bT+T-1} and the targets t_{bT+1} .. t_{bT+T}. So every token
but the first is a target once, the last target of a block is the first input of the next block,
and nothing is padded. Tokens at the end that do not fill a block are not used.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from clso.artifacts import read_sealed, read_table
from clso.data.corpus import file_sha256
from clso.data.duplicates import Duplicates, plain_key
from clso.data.token_file import TokenFile, Tokens
from clso.data.tokenizer import Tokenizer
from clso.errors import ArtifactError, DamageError, DataError
from clso.scoring import Int64Array

__all__ = ["DATASET_VERSION", "MANIFEST_VERSION", "SPLITS", "Dataset", "TokenSplit"]

SPLITS: Final = ("train", "tune", "validation", "test")
DATASET_VERSION: Final = 1
"""The version of the contents, which is a part of the fingerprint."""
MANIFEST_VERSION: Final = 2
_REMEDY = "delete the folder and prepare the data set again"

BlockIndex = Sequence[int] | npt.NDArray[np.integer[Any]] | slice


@dataclass(frozen=True, eq=False, repr=False)
class TokenSplit:
    """A view of the first blocks of a split; the tokens stay in their file.

    A pickled view carries its own tokens, so that it can be read where the file is not.

    Attributes:
        name: one of `SPLITS`.
        document_ids: of its documents in order, `(n,)`.
        document_starts: position in the stream at which each document starts, `(n,)`.
        block_size: T, targets per block.
        n_blocks: blocks in view.
    """

    name: str
    stream: Tokens
    document_ids: Int64Array
    document_starts: Int64Array
    block_size: int
    n_blocks: int

    def __repr__(self) -> str:
        return f"TokenSplit({self.name!r}, {self.n_blocks} blocks of {self.block_size})"

    def __reduce__(self) -> tuple[Any, ...]:
        n_tokens = self.n_tokens + (self.n_blocks > 0)
        documents = slice(int(np.searchsorted(self.document_starts, n_tokens)))
        return type(self), (
            self.name,
            Tokens.of(self.stream.slice(0, n_tokens)),
            self.document_ids[documents],
            self.document_starts[documents],
            self.block_size,
            self.n_blocks,
        )

    @staticmethod
    def file_name(name: str) -> str:
        """Return the name of a split's token file in the data set's folder."""
        return f"tokens-{name}.arrow"

    @property
    def n_tokens(self) -> int:
        """Targets in view, `n_blocks * block_size`."""
        return self.n_blocks * self.block_size

    @property
    def n_unused_tokens(self) -> int:
        """Tokens on disk that are neither input nor target of a block in view."""
        return len(self.stream) - self.n_tokens - (self.n_blocks > 0)

    def blocks(self, index: BlockIndex) -> tuple[Int64Array, Int64Array]:
        """Return inputs and targets of B blocks, `(B, T)` each.

        Raises:
            IndexError: a block outside 0 .. n_blocks - 1.
        """
        tokens = self.stream.rows(self._starts(index), self.block_size + 1)
        return tokens[:, :-1].copy(), tokens[:, 1:].copy()

    def spread_blocks(self, tokens: int | None) -> tuple[Int64Array, Int64Array]:
        """Return inputs and targets of blocks spread evenly over the view.

        They have at least `tokens` targets, if there are so many; `None`: all blocks.
        """
        wanted = self.n_blocks if tokens is None else -(-tokens // self.block_size)
        count = min(wanted, self.n_blocks)
        return self.blocks(np.arange(count, dtype=np.int64) * self.n_blocks // max(count, 1))

    def tokens(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Return t_start .. t_{stop-1} of the stream, `(stop - start,)`, as stored.

        Raises:
            IndexError: the range is not within the stream.
        """
        return self.stream.slice(start, stop)

    def documents(self, index: BlockIndex) -> Int64Array:
        """Return the document of each target of B blocks, `(B, T)`.

        An end token belongs to the document before it.

        Raises:
            IndexError: a block outside 0 .. n_blocks - 1.
        """
        positions = self._starts(index)[:, None] + np.arange(1, self.block_size + 1)
        return self.document_ids[np.searchsorted(self.document_starts, positions, side="right") - 1]

    def head(self, n_tokens: int) -> TokenSplit:
        """Return a view of the first `n_tokens // block_size` blocks.

        Raises:
            DataError: the view has fewer blocks, or `n_tokens` is less than one block.
        """
        n_blocks = n_tokens // self.block_size
        if not 1 <= n_blocks <= self.n_blocks:
            raise DataError(
                f"{n_tokens:,} tokens of {self.name} are asked for in blocks of "
                f"{self.block_size}, expected {self.block_size:,} to {self.n_tokens:,}"
            )
        return replace(self, n_blocks=n_blocks)

    def _starts(self, index: BlockIndex) -> Int64Array:
        if isinstance(index, slice):
            return np.arange(*index.indices(self.n_blocks)) * self.block_size
        numbers = np.asarray(index)
        if numbers.size == 0:
            return np.empty(0, np.int64)
        if numbers.ndim != 1 or not np.issubdtype(numbers.dtype, np.integer):
            raise IndexError(f"expected block numbers (B,), got {numbers.dtype} {numbers.shape}")
        if numbers.min() < 0 or numbers.max() >= self.n_blocks:
            raise IndexError(
                f"block numbers {numbers.min()} to {numbers.max()} of {self.name}, "
                f"expected 0 to {self.n_blocks - 1}"
            )
        return numbers.astype(np.int64) * self.block_size


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """A prepared data set; `DatasetRecipe.prepare` builds it, `Dataset.load` opens it again.

    Attributes:
        manifest: source of the text, digests and counts (`manifest.json`).
        splits: a `TokenSplit` per name in `SPLITS`, with all its whole blocks.
    """

    path: Path
    manifest: dict[str, Any]
    tokenizer: Tokenizer
    splits: dict[str, TokenSplit]

    def __repr__(self) -> str:
        return f"Dataset({str(self.path)!r}, {', '.join(map(repr, self.splits.values()))})"

    @classmethod
    def load(
        cls, path: Path | str, *, block_size: int = 128, fingerprint: str | None = None
    ) -> Dataset:
        """Open a data set in blocks of `block_size` tokens.

        `fingerprint` names the data set that it must be; `None`: any.

        Raises:
            ArtifactError: the folder, or a file in it, is missing, damaged, foreign, of another
                data set or of another version.
            DataError: a split has less than one block.
        """
        path = Path(path)
        manifest = _read_manifest(path)
        if fingerprint not in (None, manifest["fingerprint"]):
            raise DamageError(
                f"{path / 'manifest.json'} is that of the data set {manifest['fingerprint']}, "
                f"expected {fingerprint}",
                remedy=_REMEDY,
            )
        tokenizer = Tokenizer.load(path / "tokenizer.json")
        if tokenizer.fingerprint != manifest["tokenizer"]["sha256"]:
            raise DamageError(
                f"{path / 'tokenizer.json'} is not the tokenizer that the manifest names",
                remedy=_REMEDY,
            )
        table = read_table(path / "splits.parquet", "splits", belongs_to=manifest["fingerprint"])
        if cls.split_digest(table) != manifest["split_sha256"]:
            raise DamageError(
                f"{path / 'splits.parquet'} is not the division that the manifest names",
                remedy=_REMEDY,
            )
        splits = {name: _open_split(path, name, manifest, table, block_size) for name in SPLITS}
        return cls(path, manifest, tokenizer, splits)

    @staticmethod
    def split_digest(table: pa.Table) -> str:
        """Return the sha256 of the table `splits`: the documents of each split, order and sizes."""
        digest = hashlib.sha256()
        for name in SPLITS:
            rows = table.filter(pc.equal(table["split"], name))
            digest.update(f"{name} {rows.num_rows};".encode())
            for column in ("document", "n_bytes", "n_tokens"):
                digest.update(rows[column].to_numpy().astype("<i8").tobytes())
        return digest.hexdigest()

    @property
    def fingerprint(self) -> str:
        """The name of text, tokenizer and division (`DatasetRecipe.fingerprint`)."""
        return str(self.manifest["fingerprint"])

    @property
    def name(self) -> str:
        """The name of the source of the text."""
        return str(self.manifest["source"]["name"])

    @cached_property
    def duplicates(self) -> Duplicates:
        """What the splits repeat; found in the tokens if an old manifest lacks it."""
        if "duplicates" in self.manifest:
            return Duplicates.described_by(self.manifest["duplicates"])
        keys = [key for split in self.splits.values() for key in self._keys(split)]
        documents = {name: split.document_ids for name, split in self.splits.items()}
        return Duplicates.of(np.array(keys, np.uint64), documents)

    def _keys(self, split: TokenSplit) -> Iterator[int]:
        """Yield a number per document of a split, equal for equal documents."""
        texts = self.tokenizer.token_texts
        ends = [*split.document_starts[1:].tolist(), len(split.stream)]
        for start, end in zip(split.document_starts.tolist(), ends, strict=True):
            tokens = split.tokens(start, end).tolist()
            yield plain_key(b"".join(map(texts.__getitem__, tokens)).decode(errors="replace"))

    @property
    def vocab_size(self) -> int:
        """V, the end token included."""
        return self.tokenizer.vocab_size

    def budget(self, train_tokens: int | None) -> dict[str, TokenSplit]:
        """Return the splits, with train and tune together cut to a budget of distinct tokens.

        Both are cut in proportion to their sizes, to whole blocks with at most `train_tokens`
        targets together; `None`: they are not cut. Validation and test stay as they are.

        Raises:
            DataError: train and tune have fewer tokens, or the budget is less than two blocks.
        """
        splits = dict(self.splits)
        if train_tokens is None:
            return splits
        train, tune = splits["train"], splits["tune"]
        size, most_blocks = train.block_size, train.n_blocks + tune.n_blocks
        n_blocks = train_tokens // size
        if train_tokens > most_blocks * size:
            raise DataError(
                f"data.train_tokens is {train_tokens:,}, but train and tune have "
                f"{most_blocks * size:,} tokens in blocks of {size}",
                remedy="add text, or lower the budget: --set "
                f"data.train_tokens={most_blocks * size}",
            )
        if n_blocks < 2:
            raise DataError(
                f"data.train_tokens is {train_tokens:,}, less than one block of {size} for "
                f"train and one for tune",
                remedy=f"raise it to {2 * size:,} at least",
            )
        tune_blocks = min(max(round(n_blocks * tune.n_blocks / most_blocks), 1), n_blocks - 1)
        splits["train"] = train.head((n_blocks - tune_blocks) * size)
        splits["tune"] = tune.head(tune_blocks * size)
        return splits


def _open_split(
    path: Path, name: str, manifest: dict[str, Any], table: pa.Table, block_size: int
) -> TokenSplit:
    file, expected = path / TokenSplit.file_name(name), manifest["splits"][name]
    stream = TokenFile(file)
    if len(stream) != expected["tokens"]:
        raise DamageError(
            f"{file} has {len(stream):,} tokens, the manifest says {expected['tokens']:,}",
            remedy=_REMEDY,
        )
    if file_sha256(file) != expected["sha256"]:
        raise DamageError(f"{file} is damaged: it is not what the manifest names", remedy=_REMEDY)
    n_blocks = max(len(stream) - 1, 0) // block_size
    if n_blocks == 0:
        raise DataError(
            f"{manifest['source']['name']}: the {name} split has {len(stream):,} tokens, "
            f"one block of {block_size} needs {block_size + 1:,}",
            remedy="add text, lower data.block_size, or give the split a larger share in "
            "data.fractions; a single document is cut at the ends of its words",
        )
    rows = table.filter(pc.equal(table["split"], name))
    ids, starts = rows["document"].to_numpy(), rows["token_offset"].to_numpy()
    return TokenSplit(name, stream, ids, starts, block_size, n_blocks)


def _read_manifest(path: Path) -> dict[str, Any]:
    file = path / "manifest.json"
    if not file.exists():
        raise ArtifactError(
            f"{path} is no prepared data set: it has no manifest.json",
            remedy="prepare one with: clso prepare CONFIG",
        )
    manifest = read_sealed(file, remedy=_REMEDY, known=lambda value: _check_manifest(file, value))
    try:
        strings = [
            manifest["fingerprint"],
            manifest["source"]["name"],
            manifest["split_sha256"],
            manifest["tokenizer"]["sha256"],
            *(manifest["splits"][name]["sha256"] for name in SPLITS),
        ]
        counts = [manifest["splits"][name]["tokens"] for name in SPLITS]
        complete = set(map(type, strings)) == {str} and set(map(type, counts)) == {int}
    except (KeyError, TypeError):
        complete = False
    if not complete:
        raise DamageError(f"{file} lacks entries of a data set's manifest", remedy=_REMEDY)
    return manifest


def _check_manifest(file: Path, manifest: object) -> None:
    """Check that a JSON value is the manifest of a data set, and of a version that can be read."""
    if not isinstance(manifest, dict) or manifest.get("schema") != "dataset":
        raise ArtifactError(f"{file} is not the manifest of a data set", remedy=_REMEDY)
    if (version := manifest.get("schema_version")) != MANIFEST_VERSION:
        raise ArtifactError(
            f"{file} has schema version {version}, this CLSO reads version {MANIFEST_VERSION}",
            remedy=_REMEDY,
        )
