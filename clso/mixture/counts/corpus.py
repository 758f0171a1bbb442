"""The text to be counted: all streams in one array, in memory or in a nameless file.

Notation: N tokens of all streams, one after another. A position is the index of a token that is
a target: any but the first of its stream. No context reaches over a stream's start.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from clso.artifacts import write_error
from clso.counting import TokenStream
from clso.errors import ConfigError, DataError
from clso.mixture.counts.rows import UnsignedArray, narrow, unsigned
from clso.scoring import Int64Array

__all__ = ["Corpus", "Workspace", "checked_class_maps"]

CHUNK: Final = 1 << 22
_MOST_TOKENS: Final = (1 << 32) - 1


class Workspace:
    """Gives arrays of N elements, in memory or mapped from files that vanish with them.

    Args:
        folder: where files may be made; `None`: arrays are always in memory.
        memory_bytes: an array larger than a sixteenth of it goes to a file.
    """

    def __init__(self, folder: Path | None, memory_bytes: int) -> None:
        self._folder = folder
        self._largest_bytes = memory_bytes // 16

    def array(self, length: int, dtype: np.dtype[Any]) -> UnsignedArray:
        """Return an array of zeros, `(length,)`.

        Raises:
            ArtifactError: the folder cannot be written, or has no space left.
        """
        size_bytes = length * dtype.itemsize
        if self._folder is None or size_bytes <= self._largest_bytes:
            return np.zeros(length, dtype)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self._folder) as file:
                if hasattr(os, "posix_fallocate"):
                    # without it a full disk would be met in the middle of a write to memory
                    os.posix_fallocate(file.fileno(), 0, size_bytes)
                else:
                    file.truncate(size_bytes)
                return np.memmap(file, dtype=dtype, mode="r+", shape=(length,))
        except OSError as error:
            raise write_error(self._folder, error) from error


class Corpus:
    """All tokens, and the class maps that they may be seen through.

    Args:
        streams: where the tokens come from, in chunks.
        vocab_size: V.
        class_maps: the class of each token, `(V,)` per map, as `checked_class_maps` returns them.
        workspace: keeps the tokens.

    Raises:
        DataError: a token is outside the vocabulary, or there are 2**32 tokens or more.
    """

    def __init__(
        self,
        streams: Sequence[TokenStream],
        vocab_size: int,
        class_maps: Mapping[str, UnsignedArray],
        workspace: Workspace,
    ) -> None:
        self.vocab_size = vocab_size
        self.class_maps = class_maps
        lengths = [stream.n_tokens + 1 for stream in streams]
        if sum(lengths) > _MOST_TOKENS:
            raise DataError(f"{sum(lengths):,} tokens are too many, expected below 2**32")
        self._starts = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        self.tokens = workspace.array(sum(lengths), unsigned(vocab_size - 1))
        for base, stream in zip(self._starts[:-1], streams, strict=True):
            if stream.n_tokens:
                self._copy(stream, int(base))

    def _copy(self, stream: TokenStream, base: int) -> None:
        length = stream.n_tokens + 1
        for start in range(0, length, CHUNK):
            stop = min(start + CHUNK, length)
            tokens = np.asarray(stream.tokens(start, stop))
            if int(tokens.max()) >= self.vocab_size or int(tokens.min()) < 0:
                raise DataError(
                    f"the text has tokens {tokens.min()} to {tokens.max()}, expected 0 to "
                    f"{self.vocab_size - 1}",
                    remedy="count with the vocabulary that the text was prepared with",
                )
            self.tokens[base + start : base + stop] = tokens

    def __len__(self) -> int:
        return len(self.tokens)

    def alphabet(self, classes: str | None) -> int:
        """Return how many symbols there are: V, or the classes of a map."""
        if classes is None:
            return self.vocab_size
        return int(self.class_maps[classes].max()) + 1

    def n_positions(self, span: int) -> int:
        """Return how many positions have `span` tokens before them in their stream."""
        return int(np.maximum(np.diff(self._starts) - max(span, 1), 0).sum())

    def chunks(self, span: int) -> Iterator[tuple[int, int]]:
        """Yield ranges of the positions that have `span` tokens before them in their stream."""
        for first, last in zip(self._starts[:-1], self._starts[1:], strict=True):
            for start in range(int(first) + max(span, 1), int(last), CHUNK):
                yield start, min(start + CHUNK, int(last))

    def symbols(self, classes: str | None, start: int, stop: int) -> UnsignedArray:
        """Return tokens `start` to `stop`, or their classes under a map."""
        tokens = self.tokens[start:stop]
        return tokens if classes is None else self.class_maps[classes][tokens]


def checked_class_maps(
    class_maps: Mapping[str, npt.NDArray[np.integer[Any]] | Int64Array],
    names: frozenset[str],
    vocab_size: int,
) -> dict[str, UnsignedArray]:
    """Return the named class maps in the smallest types.

    Raises:
        ConfigError: a name has no map, or a map is not a class for each token.
    """
    checked = {}
    for name in sorted(names):
        if name not in class_maps:
            raise ConfigError(
                f"there is no class map {name!r}, expected one of {sorted(class_maps)}",
                remedy="add the classes to the library, or leave the pattern out",
            )
        classes = np.asarray(class_maps[name])
        if classes.shape != (vocab_size,) or classes.dtype.kind not in "iu":
            raise ConfigError(
                f"class map {name!r} is {classes.dtype} {classes.shape}, expected integers "
                f"({vocab_size},)"
            )
        if int(classes.min()) < 0 or int(classes.max()) >= _MOST_TOKENS:
            raise ConfigError(
                f"class map {name!r} has classes {classes.min()} to {classes.max()}, expected "
                f"0 and up"
            )
        checked[name] = narrow(classes)
    return checked
