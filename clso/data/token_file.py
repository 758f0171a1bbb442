"""Token streams on disk: Arrow IPC files of one column, memory-mapped when read.

Record batches hold 2**20 tokens each (the last one fewer). So a shift finds the batch of a
position, and writing and reading hold a few batches in memory.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from clso.errors import ArtifactError, DamageError
from clso.scoring import Int64Array

__all__ = ["TOKEN_FILE_VERSION", "TokenFile", "TokenWriter", "Tokens"]

TOKEN_FILE_VERSION = 1
_BATCH_BITS = 20
_BATCH_TOKENS = 1 << _BATCH_BITS
_NAME_KEY, _VERSION_KEY = b"clso.schema", b"clso.schema_version"
_REMEDY = "delete the data set's folder and prepare it again"

TokenArray = npt.NDArray[np.uint16] | npt.NDArray[np.uint32]


class TokenWriter:
    """Appends tokens to a new file, which is complete when the context ends without an error.

    Tokens are stored as uint16 if the vocabulary permits, else as uint32.
    """

    def __init__(self, path: Path, vocab_size: int) -> None:
        self._dtype = np.dtype(np.uint16 if vocab_size <= 1 << 16 else np.uint32)
        self._schema = pa.schema(
            [pa.field("token", pa.from_numpy_dtype(self._dtype), nullable=False)],
            metadata={_NAME_KEY: b"tokens", _VERSION_KEY: str(TOKEN_FILE_VERSION).encode()},
        )
        self._file = open(path, "xb")  # noqa: SIM115 - closed by __exit__
        self._writer = pa.ipc.new_file(self._file, self._schema)
        self._pending = np.empty(0, self._dtype)
        self.n_tokens = 0

    def __enter__(self) -> Self:
        return self

    def append(self, tokens: npt.NDArray[Any]) -> None:
        """Append tokens, `(n,)`."""
        self.n_tokens += len(tokens)
        pending = np.concatenate([self._pending, tokens.astype(self._dtype)])
        whole = len(pending) & ~(_BATCH_TOKENS - 1)
        for start in range(0, whole, _BATCH_TOKENS):
            self._write(pending[start : start + _BATCH_TOKENS])
        self._pending = pending[whole:]

    def _write(self, tokens: npt.NDArray[Any]) -> None:
        self._writer.write_batch(pa.record_batch([pa.array(tokens)], schema=self._schema))

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        with self._file:
            if kind is None:
                if len(self._pending):
                    self._write(self._pending)
                self._writer.close()
                self._file.flush()
                os.fsync(self._file.fileno())


class Tokens:
    """A token stream in batches of 2**20 tokens, the last one of fewer."""

    def __init__(self, batches: Sequence[TokenArray], dtype: np.dtype[Any]) -> None:
        self._batches = list(batches)
        self.dtype = dtype
        self._n_tokens = sum(len(batch) for batch in self._batches)

    @classmethod
    def of(cls, tokens: TokenArray) -> Tokens:
        """Return the stream of an array in memory, `(n,)`; it is kept, not copied."""
        starts = range(0, len(tokens), _BATCH_TOKENS)
        return Tokens([tokens[start : start + _BATCH_TOKENS] for start in starts], tokens.dtype)

    def __len__(self) -> int:
        return self._n_tokens

    def slice(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Return the tokens `start .. stop - 1` in the stored type."""
        if not 0 <= start <= stop <= len(self):
            raise IndexError(f"tokens {start} to {stop} of a stream of {len(self)}")
        out = np.empty(stop - start, self.dtype)
        position = start
        while position < stop:
            batch, place = position >> _BATCH_BITS, position & (_BATCH_TOKENS - 1)
            run = self._batches[batch][place : place + stop - position]
            out[position - start : position - start + len(run)] = run
            position += len(run)
        return out

    def rows(self, starts: Int64Array, length: int) -> Int64Array:
        """Return runs of `length` tokens, `(len(starts), length)` int64."""
        out = np.empty((len(starts), length), np.int64)
        first = starts >> _BATCH_BITS
        inside = (starts + length - 1) >> _BATCH_BITS == first
        offsets = np.arange(length)
        for batch in np.unique(first[inside]).tolist():
            chosen = np.flatnonzero(inside & (first == batch))
            places = (starts[chosen] & (_BATCH_TOKENS - 1))[:, None] + offsets
            out[chosen] = self._batches[batch][places]
        for row in np.flatnonzero(~inside).tolist():
            out[row] = self.slice(int(starts[row]), int(starts[row]) + length)
        return out


class TokenFile(Tokens):
    """A token stream that is read from a memory map.

    Raises:
        ArtifactError: the file is missing, torn, foreign or of another version.
    """

    def __init__(self, path: Path) -> None:
        try:
            reader = pa.ipc.open_file(pa.memory_map(str(path)))
            metadata = reader.schema.metadata or {}
            batches = [reader.get_batch(i) for i in range(reader.num_record_batches)]
        except FileNotFoundError:
            raise ArtifactError(f"{path} does not exist", remedy=_REMEDY) from None
        except MemoryError:  # also of Arrow, whose error is an ArrowException too
            raise
        except (pa.ArrowException, OSError) as error:
            raise DamageError(
                f"{path} is torn or no token file: {error}", remedy=_REMEDY
            ) from error
        if metadata.get(_NAME_KEY) != b"tokens":
            raise ArtifactError(f"{path} is an Arrow file, but holds no tokens", remedy=_REMEDY)
        if (version := metadata.get(_VERSION_KEY, b"")) != str(TOKEN_FILE_VERSION).encode():
            raise ArtifactError(
                f"{path} has schema version {version.decode(errors='replace')}, this CLSO reads "
                f"version {TOKEN_FILE_VERSION}",
                remedy=_REMEDY,
            )
        arrays: list[TokenArray] = [b.column(0).to_numpy() for b in batches]
        if any(len(array) != _BATCH_TOKENS for array in arrays[:-1]):
            raise DamageError(f"{path} has record batches of odd sizes", remedy=_REMEDY)
        super().__init__(arrays, np.dtype(reader.schema.field("token").type.to_pandas_dtype()))
