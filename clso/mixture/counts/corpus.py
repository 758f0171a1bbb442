"""The text that is counted: the tokens of all streams in one array, in memory or in a file.

Notation: N tokens of all streams, one stream after another. A position is the index of a token
that is predicted: any token but the first of its stream. A context never reaches back over the
start of its stream.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from typing import Any, Final

import numpy as np

from clso.artifacts import write_error
from clso.counting import TokenStream
from clso.errors import DataError
from clso.mixture.arrays import UnsignedArray
from clso.mixture.text import FittingText

__all__ = ["Corpus"]

CHUNK: Final = 1 << 22
_MOST_TOKENS: Final = (1 << 32) - 1


class Corpus:
    """All tokens of a text, and the class maps `class_names` that they may be seen through.

    Raises:
        ConfigError: a class map is missing, or is not a class for each token.
        DataError: a token is outside the vocabulary, or there are 2**32 tokens or more.
        ArtifactError: the workspace cannot be written or is full.
    """

    def __init__(self, text: FittingText, class_names: Iterable[str]) -> None:
        self.vocab_size = text.vocab_size
        self.memory_bytes = text.memory_bytes
        self.class_maps = {name: text.class_map(name) for name in sorted(class_names)}
        self._workspace = text.workspace
        lengths = [stream.n_tokens + 1 for stream in text.streams]
        if sum(lengths) > _MOST_TOKENS:
            raise DataError(f"{sum(lengths):,} tokens are too many, expected below 2**32")
        self._starts = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        self.tokens = self.new_array(np.min_scalar_type(self.vocab_size - 1))
        for start, stream in zip(self._starts[:-1], text.streams, strict=True):
            if stream.n_tokens:
                self._copy(stream, int(start))

    def _copy(self, stream: TokenStream, stream_start: int) -> None:
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
            self.tokens[stream_start + start : stream_start + stop] = tokens

    def __len__(self) -> int:
        return int(self._starts[-1])

    def new_array(self, dtype: np.dtype[Any]) -> UnsignedArray:
        """Return zeros, one per token, `(N,)`.

        An array larger than a sixteenth of the working memory is mapped from a file without a
        name, which vanishes with the array.

        Raises:
            ArtifactError: the workspace cannot be written, or has no space left.
        """
        length, folder = len(self), self._workspace
        size_bytes = length * dtype.itemsize
        if folder is None or size_bytes <= self.memory_bytes // 16:
            return np.zeros(length, dtype)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder) as file:
                if hasattr(os, "posix_fallocate"):
                    # otherwise a full disk would be met in the middle of a write to memory
                    os.posix_fallocate(file.fileno(), 0, size_bytes)
                else:
                    file.truncate(size_bytes)
                return np.memmap(file, dtype=dtype, mode="r+", shape=(length,))
        except OSError as error:
            raise write_error(folder, error) from error

    def alphabet(self, classes: str | None) -> int:
        """Return the number of symbols: V, or the number of classes of a map."""
        if classes is None:
            return self.vocab_size
        return int(self.class_maps[classes].max()) + 1

    def n_positions(self, span: int) -> int:
        """Return the number of positions that have `span` tokens before them in their stream."""
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
