"""Builds a data set's folder: text in, four token files, a tokenizer and a manifest out.

Text passes three times: from its source to a spool on disk (hashed, document by document), from
the spool to the vocabulary (see `clso.data.vocabulary`), and from the spool to tokens. Each pass
holds only some megabytes of it. The folder is built under another name beside its place and
renamed when it is whole. A lock ensures that of two processes one builds and both read.
"""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from filelock import FileLock

from clso.artifacts import write_error, write_sealed, write_table
from clso.data.corpus import Corpus, file_sha256
from clso.data.dataset import DATASET_VERSION, MANIFEST_VERSION, SPLITS, Dataset, TokenSplit
from clso.data.encoder import StreamEncoder
from clso.data.extents import Extents
from clso.data.settings import ALLOW_DUPLICATES, DataSettings, TokenizerSettings
from clso.data.spool import Spool
from clso.data.token_file import TokenWriter
from clso.data.tokenizer import Tokenizer
from clso.data.vocabulary import Vocabulary
from clso.digest import digest_of
from clso.errors import DataError
from clso.progress import SILENT, Reporter

__all__ = ["DatasetRecipe"]

# Raised whenever a change of code cuts, divides or encodes the same text otherwise.
_DIVISION_VERSION: Final = 2

_SPLIT_STREAM = 0x5911  # separates this random stream from other uses of the same seed


@dataclass(frozen=True)
class DatasetRecipe:
    """Everything that decides the content of a data set; `seed` draws each document's split."""

    data: DataSettings
    tokenizer: TokenizerSettings
    seed: int

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that name the data set before it is built.

        They depend on the text (the bytes of files; for the hub, its settings), the tokenizer,
        the shares, the seed and the format, and on the budget if the vocabulary is learned from
        it. They do not depend on block size or the place of files.

        Raises:
            DataError: files or packages are missing or cannot be read.
        """
        return _Build(self, self.data.corpus(Path()), SILENT).fingerprint

    def prepare(
        self, root: Path, reporter: Reporter = SILENT, *, fingerprint: str | None = None
    ) -> Dataset:
        """Open the data set `root / fingerprint`, building it first if it does not exist.

        Args:
            fingerprint: known before; then a data set that exists is opened without its text, and
                text that has changed since is refused. `None`: that of the text as it is now.

        Raises:
            DataError: the text cannot be read or changes meanwhile, a split has less than one
                block, or equal documents stand in two splits and `data.duplicates` does not allow
                it.
            ArtifactError: the folder cannot be written, or is damaged.
        """
        path = None if fingerprint is None else root / fingerprint
        if path is None or not path.exists():
            build = _Build(self, self.data.corpus(root.parent / "hub-cache"), reporter)
            if path is not None and build.fingerprint != path.name:
                raise self.data.changed_text()
            path = root / build.fingerprint
            if not path.exists():
                build.run_once(path)
        dataset = Dataset.load(path, block_size=self.data.block_size)
        self.data.check_duplicates(dataset.duplicates, dataset.name)
        return dataset


@dataclass(frozen=True)
class _Build:
    """The building of a data set from the text of one corpus."""

    recipe: DatasetRecipe
    corpus: Corpus
    reporter: Reporter

    @cached_property
    def source(self) -> dict[str, Any]:
        """The identity of the text before it is read."""
        return self.corpus.identity()

    @property
    def shares(self) -> dict[str, float]:
        """The splits that are cut from the source's train, and their shares of it."""
        cut = [name for name in SPLITS if name == "train" or name not in self.corpus.splits]
        shares = {name: float(getattr(self.recipe.data.fractions, name)) for name in cut}
        return {name: share / sum(shares.values()) for name, share in shares.items()}

    @cached_property
    def fingerprint(self) -> str:
        """16 hexadecimal digits of text, vocabulary, shares, seed and format."""
        settings = self.recipe.tokenizer
        vocabulary: dict[str, Any] = {}
        if settings.kind == "gpt2":
            files = Tokenizer.gpt2_files(settings.path)
            vocabulary = {"files": [file_sha256(path) for path in files]}
        elif settings.kind == "bpe":
            vocabulary = {
                "size": settings.vocab_size,
                "train_bytes": settings.train_bytes,
                "budget": self.recipe.data.train_tokens,
            }
        content = {
            "format": DATASET_VERSION,
            "division": _DIVISION_VERSION,
            "source": self.source,
            "shares": self.shares,
            "tokenizer": {"kind": settings.kind, **vocabulary},
            "seed": self.recipe.seed,
        }
        return digest_of(content)[:16]

    def run_once(self, path: Path) -> None:
        """Build the folder unless another process builds it first."""
        partial = path.with_name(f".{path.name}.partial")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(path.with_name(f".{path.name}.lock")):
                if path.exists():
                    return
                # left by a process that was killed, because this process has the lock
                shutil.rmtree(partial, ignore_errors=True)
                partial.mkdir()
                try:
                    self._run(partial)
                    os.replace(partial, path)
                finally:
                    shutil.rmtree(partial, ignore_errors=True)
        except OSError as error:
            raise write_error(path, error) from error

    def _run(self, folder: Path) -> None:
        spool_path = folder / "text.spool"
        with Spool(spool_path) as spool:
            source = self.source
            extents = {split: self._read_text(split, spool) for split in self.corpus.splits}
            # files that changed since they were hashed, or while they were read
            if self.corpus.identity() != source:
                raise self.recipe.data.changed_text()
            extents |= self._divided(extents["train"], spool)
            duplicates = spool.texts.duplicates({name: extents[name].document for name in SPLITS})
            self.recipe.data.check_duplicates(duplicates, self.corpus.name)
            vocabulary = Vocabulary.make(
                self.recipe.tokenizer, self.recipe.data.train_tokens, spool, extents, self.reporter
            )
            vocabulary.tokenizer.save(folder / "tokenizer.json")
            table = self._write_tokens(folder, spool, extents, vocabulary.tokenizer)
            text = {
                "text_sha256": spool.text_sha256,
                "skipped_documents": spool.n_skipped,
                "duplicates": duplicates.described(),
            }
        spool_path.unlink()
        write_table(folder / "splits.parquet", table, "splits", belongs_to=self.fingerprint)
        write_sealed(folder / "manifest.json", self._manifest(vocabulary, table, folder) | text)

    def _divided(self, train: Extents, spool: Spool) -> dict[str, Extents]:
        """Divide the source's train; equal documents stay together."""
        keys = spool.texts.keys[train.document]
        may_part = False
        n_distinct = len(np.unique(keys))
        if n_distinct < min(len(train), len(self.shares)):
            if self.recipe.data.duplicates == "refuse":
                raise DataError(
                    f"{self.corpus.name}: {len(train)} documents, of which {n_distinct} differ, "
                    f"cannot be divided into {len(self.shares)} splits that share no document",
                    remedy=f"give more different documents, or {ALLOW_DUPLICATES}",
                )
            may_part = True
        rng = np.random.default_rng([self.recipe.seed, _SPLIT_STREAM])
        return train.divide(self.shares, rng, spool.snap, None if may_part else keys)

    def _read_text(self, split: str, spool: Spool) -> Extents:
        name = self.corpus.name
        with self.reporter.task(f"read {split} of {name}") as progress:
            return spool.append(self.corpus.read(split), f"{name} ({split})", progress)

    def _write_tokens(
        self, folder: Path, spool: Spool, extents: Mapping[str, Extents], tokenizer: Tokenizer
    ) -> pa.Table:
        """Write the four token files and return the table `splits`."""
        encoder = StreamEncoder(tokenizer)
        parts: list[pa.Table] = []
        n_bytes_done = 0
        with self.reporter.task("tokenize the text", spool.size_bytes) as progress:
            for name in SPLITS:
                n_tokens = np.zeros(len(extents[name]), np.int64)
                n_done = 0
                path = folder / TokenSplit.file_name(name)
                with TokenWriter(path, tokenizer.vocab_size) as writer:
                    for tokens, run_tokens, runs in encoder.encode_extents(spool, extents[name]):
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

    def _manifest(self, vocabulary: Vocabulary, table: pa.Table, folder: Path) -> dict[str, Any]:
        data, settings = self.recipe.data, self.recipe.tokenizer
        tokenizer = vocabulary.tokenizer
        rows = {name: table.filter(pc.equal(table["split"], name)) for name in SPLITS}
        return {
            "schema": "dataset",
            "schema_version": MANIFEST_VERSION,
            "fingerprint": self.fingerprint,
            "source": {"name": self.corpus.name, **self.source},
            "split_sha256": Dataset.split_digest(table),
            "splits": {
                name: {
                    "documents": part.num_rows,
                    "bytes": int(part["n_bytes"].to_numpy().sum()),
                    "tokens": int(part["n_tokens"].to_numpy().sum()),
                    "sha256": file_sha256(folder / TokenSplit.file_name(name)),
                }
                for name, part in rows.items()
            },
            "tokenizer": {
                "kind": settings.kind,
                "sha256": tokenizer.fingerprint,
                "vocab_size": tokenizer.vocab_size,
                "end_token_id": tokenizer.end_token_id,
                "learned_bytes": vocabulary.learned_bytes,
            },
            "seed": self.recipe.seed,
            "config": {
                "data": data.model_dump(mode="json", include={"source", data.source, "fractions"}),
                "tokenizer": settings.model_dump(mode="json"),
            },
            "versions": {
                "python": platform.python_version(),
                **{name: version(name) for name in ("numpy", "pyarrow", "tokenizers")},
            },
        }
