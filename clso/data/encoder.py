"""Tokenizes a corpus several times faster than the tokenizer alone, with the same tokens.

Text is cut at boundaries (see `clso.data.text`) into chunks: mostly a word with the space before
it, or a mark. Most chunks repeat, so each distinct chunk is tokenized once and its tokens are
kept. Array operations assemble the stream from them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count, pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from clso.data.extents import Extents
from clso.data.spool import Spool, TextRun
from clso.data.text import boundary_mask
from clso.data.tokenizer import Tokenizer
from clso.scoring import Int64Array

__all__ = ["StreamEncoder"]

_KNOWN_CHUNKS = 1 << 19
_KNOWN_TOKENS = 1 << 22
_JOINED_BYTES = 1 << 14
_CALL_BYTES = 1 << 18
# what has no boundary in so many bytes is cut: a longer word takes more than linear time
_RUN_BYTES = 1 << 16
_BATCH_BYTES = 1 << 21
_SPACE = frozenset(b" \t\n\v\f\r")
_VISIBLE = frozenset(range(0x21, 0x7F))

TokenArray = npt.NDArray[np.uint32]


class StreamEncoder:
    """Makes tokens of a byte-level BPE with GPT-2's pre-tokenization, an end token per extent."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self._forget()

    def _forget(self) -> None:
        # row 0 is the end token; row r has the tokens flat[ends[r] - lengths[r] : ends[r]]
        self._ends = np.ones(1, np.int64)
        self._rows: dict[bytes, int] = {}
        self._flat = np.array([self.tokenizer.end_token_id], np.uint32)
        self._lengths = np.ones(1, np.int64)

    def encode_extents(
        self, spool: Spool, extents: Extents
    ) -> Iterator[tuple[TokenArray, Int64Array, list[TextRun]]]:
        """Yield the tokens of extents, some megabytes at a time: as `encode`, and the runs."""
        for runs in _batches(spool.read(extents, _RUN_BYTES)):
            yield *self.encode(runs), runs

    def encode(self, runs: Sequence[TextRun]) -> tuple[TokenArray, Int64Array]:
        """Return the tokens, `(n,)`, and how many each run has, `(len(runs),)`, with end tokens."""
        text = b"".join(run.text for run in runs)
        run_starts = np.cumsum([0, *(len(run.text) for run in runs)])
        mask = boundary_mask(np.frombuffer(text, np.uint8))
        mask[run_starts[:-1]] = True
        starts = np.flatnonzero(mask)
        chunk_rows = self._chunk_rows(text, starts)

        after = np.searchsorted(starts, run_starts[1:])  # number of chunks up to each run's end
        ends = np.array([run.ends_extent for run in runs], bool)
        rows = np.insert(chunk_rows, after[ends], 0)
        lengths = self._lengths[rows]
        tokens_up_to = np.cumsum(lengths)
        run_ends = tokens_up_to[after + np.cumsum(ends) - 1]
        shift = self._ends[rows] - tokens_up_to
        tokens = self._flat[np.repeat(shift, lengths) + np.arange(tokens_up_to[-1])]
        return tokens, np.diff(run_ends, prepend=0)

    def _chunk_rows(self, text: bytes, starts: Int64Array) -> Int64Array:
        """Return each chunk's row; new chunks are tokenized."""
        offsets = np.append(starts, len(text)).astype(np.int32)
        chunks = pa.BinaryArray.from_buffers(
            pa.binary(), len(starts), [None, pa.py_buffer(offsets), pa.py_buffer(text)]
        ).dictionary_encode()
        distinct: list[bytes] = chunks.dictionary.to_pylist()
        if len(self._rows) > _KNOWN_CHUNKS or len(self._flat) > _KNOWN_TOKENS:
            self._forget()
        if new := [chunk for chunk in distinct if chunk not in self._rows]:
            self._learn(new)
        rows = np.fromiter((self._rows[chunk] for chunk in distinct), np.int64, len(distinct))
        chunk_rows: Int64Array = rows[chunks.indices.to_numpy()]
        return chunk_rows

    def _learn(self, chunks: list[bytes]) -> None:
        # A call per short chunk would be slow, so chunks are joined by line ends. Between visible
        # characters a line end is a separate token, so each chunk has the same tokens as alone.
        joined: list[bytes] = []
        single: list[bytes] = []
        for chunk in chunks:
            plain = chunk[-1] in _VISIBLE and (chunk[0] in _VISIBLE or chunk[0] in _SPACE)
            (joined if plain else single).append(chunk)
        apart = [chunk if chunk[0] in _SPACE else b"\n" + chunk for chunk in joined]
        texts = [b"".join(group) for group in _grouped(apart, _JOINED_BYTES)] + single
        flat = [self._flat]
        for group in _grouped(texts, _CALL_BYTES):
            encoded = self.tokenizer.encode_many([text.decode() for text in group])
            flat += [np.array(tokens, np.uint32) for tokens in encoded]
        n_known = len(self._flat)
        self._flat = np.concatenate(flat)

        # every token stands for bytes, so sizes in bytes give the end of each chunk's tokens
        n_bytes = np.array([len(chunk) for chunk in apart + single])
        n_added = n_bytes - [len(chunk) for chunk in joined + single]
        token_ends = np.cumsum(self.tokenizer.token_bytes[self._flat[n_known:]])
        ends = np.searchsorted(token_ends, np.cumsum(n_bytes)) + 1
        self._rows.update(zip(joined + single, count(len(self._ends))))
        self._ends = np.append(self._ends, n_known + ends)
        self._lengths = np.append(self._lengths, np.diff(ends, prepend=0) - n_added)


def _grouped(texts: list[bytes], n_bytes: int) -> Iterator[list[bytes]]:
    """Group texts to about `n_bytes`: the tokenizer's result is many times as large."""
    if texts:
        groups = np.cumsum([len(text) for text in texts]) // n_bytes
        for low, high in pairwise([0, *(np.flatnonzero(np.diff(groups)) + 1), len(texts)]):
            yield texts[low:high]


def _batches(runs: Iterator[TextRun]) -> Iterator[list[TextRun]]:
    batch: list[TextRun] = []
    n_bytes = 0
    for run in runs:
        batch.append(run)
        n_bytes += len(run.text)
        if n_bytes >= _BATCH_BYTES:
            yield batch
            batch, n_bytes = [], 0
    if batch:
        yield batch
