"""Builds a data set's folder: text in, four token files, a tokenizer and a manifest out.

Text passes three times: from its source to a spool on disk (hashed, document by document),
from the spool to the tokenizer's training (train alone), and from the spool to tokens. No pass
holds more than some megabytes of it. The folder is built under another name beside its place
and renamed when it is whole, under a lock, so that of two processes one builds and both read.
"""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from filelock import FileLock

from clso.artifacts import atomic_write_json, write_error, write_table
from clso.data.corpus import Corpus, FilesCorpus, PackageCorpus, file_sha256
from clso.data.dataset import DATASET_VERSION, SPLITS, Dataset, split_digest, token_file_name
from clso.data.encoder import StreamEncoder
from clso.data.hub import HubCorpus
from clso.data.settings import DataSettings, TokenizerSettings
from clso.data.split import divide
from clso.data.spool import Extents, Spool, TextRun
from clso.data.token_file import TokenWriter
from clso.data.tokenizer import Tokenizer, gpt2_files
from clso.digest import digest_of
from clso.errors import DataError
from clso.progress import SILENT, Reporter

__all__ = ["dataset_fingerprint", "open_dataset", "prepare_dataset"]

# the trainer reads 256 texts ahead, so they are short
_TRAINING_RUN_BYTES = 1 << 16
_ENCODING_RUN_BYTES = 1 << 20
_ENCODING_BATCH_BYTES = 1 << 21
_SPLIT_STREAM = 0x5911  # keeps these draws apart from others with the same seed


@dataclass(frozen=True)
class _Recipe:
    """Everything that decides what is in a data set."""

    corpus: Corpus
    data: DataSettings
    tokenizer: TokenizerSettings
    seed: int

    @cached_property
    def source(self) -> dict[str, Any]:
        """The identity of the text, taken once: it reads every byte of a file."""
        return self.corpus.identity()

    @property
    def shares(self) -> dict[str, float]:
        """The splits that are cut from the source's train, and to which shares."""
        cut = [name for name in SPLITS if name == "train" or name not in self.corpus.splits]
        shares = {name: float(getattr(self.data.fractions, name)) for name in cut}
        return {name: share / sum(shares.values()) for name, share in shares.items()}

    @property
    def gpt2_folder(self) -> Path | None:
        """Where GPT-2's files are; `None`: in the package."""
        return Path(self.tokenizer.path).expanduser() if self.tokenizer.path else None

    @cached_property
    def fingerprint(self) -> str:
        """16 hexadecimal digits of text, vocabulary, shares, seed and format."""
        if self.tokenizer.kind == "gpt2":
            digests = [file_sha256(path) for path in gpt2_files(self.gpt2_folder)]
            vocabulary: dict[str, Any] = {"files": digests}
        else:
            vocabulary = {
                "size": self.tokenizer.vocab_size,
                "train_bytes": self.tokenizer.train_bytes,
            }
        named = {
            "format": DATASET_VERSION,
            "source": self.source,
            "shares": self.shares,
            "tokenizer": {"kind": self.tokenizer.kind, **vocabulary},
            "seed": self.seed,
        }
        return digest_of(named)[:16]


def dataset_fingerprint(data: DataSettings, tokenizer: TokenizerSettings, seed: int) -> str:
    """Return 16 hexadecimal digits that name a data set before it is built.

    They cover the text (the bytes of files; for the hub, what is asked of it), tokenizer,
    shares, seed and format. Block size and budget are views, and where files lie means nothing.

    Raises:
        DataError: files or packages are missing or cannot be read.
    """
    return _Recipe(_corpus(data, Path()), data, tokenizer, seed).fingerprint


def prepare_dataset(
    data: DataSettings,
    tokenizer: TokenizerSettings,
    *,
    seed: int,
    root: Path,
    reporter: Reporter = SILENT,
) -> Dataset:
    """Open the data set that a configuration describes, building it if it is not there.

    Args:
        data: where text comes from and how it is divided.
        tokenizer: the vocabulary.
        seed: draws which documents go to which split.
        root: the folder of data sets; this one goes to `root / fingerprint`.
        reporter: hears of the progress.

    Raises:
        DataError: the text cannot be read, or a split has less than a block.
        ArtifactError: the folder cannot be written, or what is there is damaged.
    """
    recipe = _Recipe(_corpus(data, root.parent / "hub-cache"), data, tokenizer, seed)
    path = root / recipe.fingerprint
    if not path.exists():
        _build_once(recipe, path, reporter)
    return open_dataset(data, path)


def open_dataset(data: DataSettings, path: Path) -> Dataset:
    """Open a data set that was built, without reading its text again.

    Args:
        data: what it was built from, and the block size.
        path: its folder.

    Raises:
        ArtifactError: it is not there, or damaged.
        DataError: a split has less than a block.
    """
    dataset = Dataset.load(path, block_size=data.block_size)
    for split in dataset.splits.values():
        if split.n_blocks == 0:
            name = _corpus(data, Path()).name
            raise DataError(
                f"{name}: the {split.name} split has {split.n_stream_tokens:,} "
                f"tokens, one block of {data.block_size} needs {data.block_size + 1:,}",
                remedy="add text, lower data.block_size, or give the split a larger share in "
                "data.fractions; a single document is cut where it has spaces or line ends",
            )
    return dataset


def _corpus(data: DataSettings, cache_dir: Path) -> Corpus:
    if data.source == "package":
        package = data.package
        return PackageCorpus(
            package.module, package.resource, package.text_field, package.document_fields
        )
    if data.source == "files":
        files = data.files
        assert files is not None, "the configuration checks this"
        globs = {"train": files.train}
        if files.validation is not None and files.test is not None:
            globs |= {"validation": files.validation, "test": files.test}
        return FilesCorpus(globs, files.text_field)
    hub = data.hub
    splits = {"train": hub.train_split}
    if hub.validation_split is not None and hub.test_split is not None:
        splits |= {"validation": hub.validation_split, "test": hub.test_split}
    return HubCorpus(
        hub.name, hub.config, hub.revision, splits, hub.text_field, hub.max_bytes, cache_dir
    )


def _build_once(recipe: _Recipe, path: Path, reporter: Reporter) -> None:
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.name}.lock")):
            if path.exists():
                return
            # left by a process that was killed: this one has the lock
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            try:
                _build(recipe, partial, reporter)
                os.replace(partial, path)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise write_error(path, error) from error


def _build(recipe: _Recipe, folder: Path, reporter: Reporter) -> None:
    spool_path = folder / "text.spool"
    with Spool(spool_path) as spool:
        extents = _read_text(recipe.corpus, spool, reporter)
        rng = np.random.default_rng([recipe.seed, _SPLIT_STREAM])
        extents |= divide(extents["train"], recipe.shares, rng, spool.snap)
        tokenizer = _make_tokenizer(recipe, spool, extents["train"], reporter)
        tokenizer.save(folder / "tokenizer.json")
        table = _write_tokens(folder, spool, extents, tokenizer, reporter)
        text = {"text_sha256": spool.text_sha256, "skipped_documents": spool.n_skipped}
    spool_path.unlink()
    write_table(folder / "splits.parquet", table, "splits")
    atomic_write_json(folder / "manifest.json", _manifest(recipe, tokenizer, table, folder) | text)


def _read_text(corpus: Corpus, spool: Spool, reporter: Reporter) -> dict[str, Extents]:
    extents: dict[str, Extents] = {}
    for split in corpus.splits:
        with reporter.task(f"read {split} of {corpus.name}") as progress:
            extents[split] = spool.append(corpus.read(split), f"{corpus.name} ({split})", progress)
    return extents


def _make_tokenizer(recipe: _Recipe, spool: Spool, train: Extents, reporter: Reporter) -> Tokenizer:
    if recipe.tokenizer.kind == "gpt2":
        return Tokenizer.from_gpt2(recipe.gpt2_folder)
    limit = recipe.tokenizer.train_bytes
    total = min(limit, int(train.n_bytes.sum()))
    with reporter.task("learn the vocabulary", total) as progress:

        def texts() -> Iterator[str]:
            left = limit
            for run in spool.read(train, _TRAINING_RUN_BYTES):
                yield run.text[:left].decode(errors="ignore")
                left -= len(run.text)
                progress.update(total - max(left, 0))
                if left <= 0:
                    return

        return Tokenizer.train(texts(), recipe.tokenizer.vocab_size)


def _write_tokens(
    folder: Path,
    spool: Spool,
    extents: Mapping[str, Extents],
    tokenizer: Tokenizer,
    reporter: Reporter,
) -> pa.Table:
    """Write the four token files and return the table `splits`."""
    encoder = StreamEncoder(tokenizer)
    parts: list[pa.Table] = []
    n_bytes_done = 0
    with reporter.task("tokenize the text", spool.size_bytes) as progress:
        for name in SPLITS:
            n_tokens = np.zeros(len(extents[name]), np.int64)
            n_done = 0
            with TokenWriter(folder / token_file_name(name), tokenizer.vocab_size) as writer:
                for runs in _batches(spool.read(extents[name], _ENCODING_RUN_BYTES)):
                    tokens, run_tokens = encoder.encode(runs)
                    writer.append(tokens)
                    ends = np.array([run.ends_extent for run in runs])
                    np.add.at(n_tokens, n_done + np.cumsum(ends) - ends, run_tokens)
                    n_done += int(ends.sum())
                    n_bytes_done += sum(len(run.text) for run in runs)
                    progress.update(n_bytes_done, name)
            columns = {
                "document": extents[name].document,
                "split": pa.repeat(name, len(extents[name])),
                "n_bytes": extents[name].n_bytes,
                "n_tokens": n_tokens,
                "token_offset": np.cumsum(n_tokens) - n_tokens,
            }
            parts.append(pa.table(columns))
    return pa.concat_tables(parts)


def _batches(runs: Iterator[TextRun]) -> Iterator[list[TextRun]]:
    batch: list[TextRun] = []
    n_bytes = 0
    for run in runs:
        batch.append(run)
        n_bytes += len(run.text)
        if n_bytes >= _ENCODING_BATCH_BYTES:
            yield batch
            batch, n_bytes = [], 0
    if batch:
        yield batch


def _manifest(
    recipe: _Recipe, tokenizer: Tokenizer, table: pa.Table, folder: Path
) -> dict[str, Any]:
    rows = {name: table.filter(pc.equal(table["split"], name)) for name in SPLITS}
    return {
        "schema": "dataset",
        "schema_version": DATASET_VERSION,
        "fingerprint": recipe.fingerprint,
        "source": {"name": recipe.corpus.name, **recipe.source},
        "split_sha256": split_digest(table),
        "splits": {
            name: {
                "documents": part.num_rows,
                "bytes": int(part["n_bytes"].to_numpy().sum()),
                "tokens": int(part["n_tokens"].to_numpy().sum()),
                "sha256": file_sha256(folder / token_file_name(name)),
            }
            for name, part in rows.items()
        },
        "tokenizer": {
            "kind": recipe.tokenizer.kind,
            "sha256": tokenizer.fingerprint,
            "vocab_size": tokenizer.vocab_size,
            "end_token_id": tokenizer.end_token_id,
        },
        "seed": recipe.seed,
        "config": {
            "data": recipe.data.model_dump(
                mode="json", include={"source", recipe.data.source, "fractions"}
            ),
            "tokenizer": recipe.tokenizer.model_dump(mode="json"),
        },
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("numpy", "pyarrow", "tokenizers")},
        },
    }
