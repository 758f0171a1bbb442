"""A prepared data set: memory-mapped tokens of four splits, cut to blocks when read.

Notation: a split's stream is t_0 .. t_n, its documents joined by an end token after each; a
block of T tokens, number b, has inputs t_{bT} .. t_{bT+T-1} and targets t_{bT+1} .. t_{bT+T}.
So every token but the first is a target once, the last target of a block is the first input of
the next, and nothing is padded; what does not fill a block at the end is not used.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from clso.artifacts import read_json, read_table
from clso.data.corpus import file_sha256
from clso.data.token_file import TokenFile
from clso.data.tokenizer import Tokenizer
from clso.errors import ArtifactError, DataError
from clso.scoring import Int64Array

__all__ = ["DATASET_VERSION", "SPLITS", "Dataset", "TokenSplit", "token_file_name"]

SPLITS: Final = ("train", "tune", "validation", "test")
DATASET_VERSION: Final = 1
_REMEDY = "delete the folder and prepare the data set again"

BlockIndex = Sequence[int] | npt.NDArray[np.integer[Any]] | slice


def token_file_name(split: str) -> str:
    """Return the name of a split's token file in the data set's folder."""
    return f"tokens-{split}.arrow"


class TokenSplit:
    """A view of the first blocks of a split; it holds no tokens.

    Args:
        name: one of `SPLITS`.
        stream: the split's tokens.
        documents: ids of its documents in order, `(n,)`.
        offsets: where in the stream each document starts, `(n,)`.
        block_size: T, targets per block.
        n_blocks: blocks in view; `None`: all that are whole.
    """

    def __init__(
        self,
        name: str,
        stream: TokenFile,
        documents: Int64Array,
        offsets: Int64Array,
        block_size: int,
        n_blocks: int | None = None,
    ) -> None:
        whole = max(len(stream) - 1, 0) // block_size
        self.name = name
        self.block_size = block_size
        self.n_blocks = whole if n_blocks is None else n_blocks
        self._stream = stream
        self._documents = documents
        self._offsets = offsets

    def __repr__(self) -> str:
        return f"TokenSplit({self.name!r}, {self.n_blocks} blocks of {self.block_size})"

    @property
    def n_tokens(self) -> int:
        """Targets in view, `n_blocks * block_size`."""
        return self.n_blocks * self.block_size

    @property
    def n_stream_tokens(self) -> int:
        """Tokens that the split has on disk, whatever the view."""
        return len(self._stream)

    @property
    def n_unused_tokens(self) -> int:
        """Tokens on disk that are neither input nor target of a block in view."""
        return len(self._stream) - self.n_tokens - (self.n_blocks > 0)

    def blocks(self, index: BlockIndex) -> tuple[Int64Array, Int64Array]:
        """Return inputs and targets of B blocks, `(B, T)` each.

        Raises:
            IndexError: a block outside 0 .. n_blocks - 1.
        """
        tokens = self._stream.rows(self._starts(index), self.block_size + 1)
        return tokens[:, :-1].copy(), tokens[:, 1:].copy()

    def tokens(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Return t_start .. t_{stop-1} of the stream, `(stop - start,)`, as stored.

        Raises:
            IndexError: the range leaves the stream.
        """
        return self._stream.slice(start, stop)

    def documents(self, index: BlockIndex) -> Int64Array:
        """Return the document that each target of B blocks belongs to, `(B, T)`.

        An end token belongs to the document that it ends.

        Raises:
            IndexError: a block outside 0 .. n_blocks - 1.
        """
        positions = self._starts(index)[:, None] + np.arange(1, self.block_size + 1)
        return self._documents[np.searchsorted(self._offsets, positions, side="right") - 1]

    def head(self, n_tokens: int) -> TokenSplit:
        """Return a view of the first `n_tokens // block_size` blocks.

        Raises:
            DataError: there are fewer, or not one.
        """
        n_blocks = n_tokens // self.block_size
        if not 1 <= n_blocks <= self.n_blocks:
            raise DataError(
                f"{n_tokens:,} tokens of {self.name} are asked for in blocks of "
                f"{self.block_size}, expected {self.block_size:,} to {self.n_tokens:,}"
            )
        return TokenSplit(
            self.name, self._stream, self._documents, self._offsets, self.block_size, n_blocks
        )

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


class Dataset:
    """A prepared data set; `prepare_dataset` makes it, `Dataset.load` opens it again.

    Attributes:
        path: its folder.
        manifest: where the text came from, digests and counts (`manifest.json`).
        tokenizer: the vocabulary.
        splits: a `TokenSplit` per name in `SPLITS`, with all its whole blocks.
    """

    def __init__(
        self,
        path: Path,
        manifest: dict[str, Any],
        tokenizer: Tokenizer,
        splits: dict[str, TokenSplit],
    ) -> None:
        self.path = path
        self.manifest = manifest
        self.tokenizer = tokenizer
        self.splits = splits

    def __repr__(self) -> str:
        return f"Dataset({str(self.path)!r}, {', '.join(map(repr, self.splits.values()))})"

    @classmethod
    def load(cls, path: Path | str, *, block_size: int = 128) -> Dataset:
        """Open a data set in blocks of `block_size`, which is a choice of the reader's.

        Raises:
            ArtifactError: the folder, or something in it, is missing, damaged, foreign or of
                another version.
        """
        path = Path(path)
        manifest = _read_manifest(path)
        tokenizer = Tokenizer.load(path / "tokenizer.json")
        if tokenizer.fingerprint != manifest["tokenizer"]["sha256"]:
            raise ArtifactError(
                f"{path / 'tokenizer.json'} is not the tokenizer that the manifest names",
                remedy=_REMEDY,
            )
        table = read_table(path / "splits.parquet", "splits")
        if split_digest(table) != manifest["split_sha256"]:
            raise ArtifactError(
                f"{path / 'splits.parquet'} is not the division that the manifest names",
                remedy=_REMEDY,
            )
        splits: dict[str, TokenSplit] = {}
        for name in SPLITS:
            file = path / token_file_name(name)
            stream = TokenFile(file)
            expected = manifest["splits"][name]["tokens"]
            if len(stream) != expected:
                raise ArtifactError(
                    f"{file} has {len(stream):,} tokens, the manifest says {expected:,}",
                    remedy=_REMEDY,
                )
            if file_sha256(file) != manifest["splits"][name]["sha256"]:
                raise ArtifactError(
                    f"{file} is damaged: it is not what the manifest names", remedy=_REMEDY
                )
            rows = table.filter(pc.equal(table["split"], name))
            splits[name] = TokenSplit(
                name,
                stream,
                rows["document"].to_numpy(),
                rows["token_offset"].to_numpy(),
                block_size,
            )
        return cls(path, manifest, tokenizer, splits)

    @property
    def fingerprint(self) -> str:
        """The name of text, tokenizer and division (`dataset_fingerprint`)."""
        fingerprint: str = self.manifest["fingerprint"]
        return fingerprint

    @property
    def vocab_size(self) -> int:
        """V, the end token included."""
        return self.tokenizer.vocab_size

    @property
    def token_bytes(self) -> Int64Array:
        """UTF-8 bytes that each token stands for, `(V,)`; none for the end token."""
        return self.tokenizer.token_bytes

    def budget(self, train_tokens: int | None) -> dict[str, TokenSplit]:
        """Return the splits with train and tune cut to a budget of distinct tokens together.

        Both are cut in the proportion that they have, to whole blocks; validation and test stay
        as they are.

        Args:
            train_tokens: targets of train plus tune at most; `None`: all there are.

        Raises:
            DataError: the budget is more than there is, or less than a block for each.
        """
        splits = dict(self.splits)
        if train_tokens is None:
            return splits
        train, tune = splits["train"], splits["tune"]
        size, there = train.block_size, train.n_blocks + tune.n_blocks
        n_blocks = train_tokens // size
        if train_tokens > there * size:
            raise DataError(
                f"data.train_tokens is {train_tokens:,}, but train and tune have "
                f"{there * size:,} tokens in blocks of {size}",
                remedy="lower the budget, or add text",
            )
        if n_blocks < 2:
            raise DataError(
                f"data.train_tokens is {train_tokens:,}, less than one block of {size} for "
                f"train and one for tune",
                remedy=f"raise it to {2 * size:,} at least",
            )
        tune_blocks = min(max(round(n_blocks * tune.n_blocks / there), 1), n_blocks - 1)
        splits["train"] = train.head((n_blocks - tune_blocks) * size)
        splits["tune"] = tune.head(tune_blocks * size)
        return splits


def split_digest(table: pa.Table) -> str:
    """Return the sha256 of which documents are in which split, in which order and sizes."""
    digest = hashlib.sha256()
    for name in SPLITS:
        rows = table.filter(pc.equal(table["split"], name))
        digest.update(f"{name} {rows.num_rows};".encode())
        for column in ("document", "n_bytes", "n_tokens"):
            digest.update(rows[column].to_numpy().astype("<i8").tobytes())
    return digest.hexdigest()


def _read_manifest(path: Path) -> dict[str, Any]:
    file = path / "manifest.json"
    if not file.exists():
        raise ArtifactError(
            f"{path} is no prepared data set: it has no manifest.json",
            remedy="prepare one with: clso prepare CONFIG",
        )
    manifest = read_json(file)
    if not isinstance(manifest, dict) or manifest.get("schema") != "dataset":
        raise ArtifactError(f"{file} is not the manifest of a data set", remedy=_REMEDY)
    if (version := manifest.get("schema_version")) != DATASET_VERSION:
        raise ArtifactError(
            f"{file} has schema version {version}, this CLSO reads version {DATASET_VERSION}",
            remedy=_REMEDY,
        )
    try:
        complete = isinstance(manifest["fingerprint"], str) and all(
            isinstance(manifest["splits"][name]["tokens"], int)
            and isinstance(manifest["splits"][name]["sha256"], str)
            for name in SPLITS
        )
        complete = complete and isinstance(manifest["tokenizer"]["sha256"], str)
        complete = complete and isinstance(manifest["split_sha256"], str)
    except (KeyError, TypeError):
        complete = False
    if not complete:
        raise ArtifactError(f"{file} lacks entries of a data set's manifest", remedy=_REMEDY)
    return manifest
