r"""Counting in bounded memory: the distinct contexts of a prefix, and the counts after them.

Notation: E is a prefix of a pattern, e the element after it, y the predicted symbol. The contexts
of E that occur in the text are numbered from 0, and each position has the number of its context,
`ids`. A context of E and e is a pair of a context of E and a symbol of e. Contexts are ordered by
these pairs, and the rank of a pair is the number of the longer context. Every pair fits a 64-bit
key `id << bits | symbol`, so that numbering and counting are sorts of integers.

What does not fit the memory is done in parts. A part is a range of context numbers, with a pass
of its own over the positions. The results do not depend on where the parts are cut.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from clso.mixture.arrays import UnsignedArray, narrow
from clso.mixture.counts.corpus import Corpus
from clso.mixture.counts.count_table import CountTable
from clso.mixture.counts.keys import KeyArray, ranked, tally
from clso.mixture.counts.pattern import Element
from clso.mixture.counts.rows import Rows, symbol_bits
from clso.scoring import Int64Array

__all__ = ["Context"]

# of keys, their indices, ranks, flags and the indices of the chosen positions
_BYTES_PER_POSITION: Final = 48
# with fewer cells (context, symbol) than positions, or few cells, a dense array beats sorting
_FEW_CELLS, _MOST_CELLS = 1 << 16, 1 << 22


class _SymbolSource(NamedTuple):
    """The symbol that is read at a position: the token `offset` before it, or its class.

    Offset 0 is the token of the position itself, the predicted one.
    """

    offset: int
    classes: str | None
    alphabet: int


class _Part(NamedTuple):
    """The positions whose context has a number from `low` to `high` (exclusive).

    Attributes:
        pieces: ranges of positions (start, stop, indices); `indices` are the chosen positions,
            counted from start.
    """

    low: int
    high: int
    pieces: Sequence[tuple[int, int, Int64Array | slice]]

    @property
    def lengths(self) -> list[int]:
        """The number of chosen positions of each piece."""
        return [
            stop - start if isinstance(indices, slice) else len(indices)
            for start, stop, indices in self.pieces
        ]

    def scatter(self, values: UnsignedArray, out: UnsignedArray) -> None:
        """Write one value per position of the part to `out`, `(N,)`."""
        done = 0
        for (start, stop, indices), length in zip(self.pieces, self.lengths, strict=True):
            out[start:stop][indices] = values[done : done + length]
            done += length


@dataclass(frozen=True)
class Context:
    """The context of every position under one prefix of a pattern.

    Without further arguments this is the empty prefix, with one context for all positions.

    Args:
        ids: the number of the context at each position, `(N,)`, undefined where the context
            would reach over the start of the stream; `None`: all positions have context 0.
        span: the largest offset of the prefix.
    """

    corpus: Corpus
    ids: UnsignedArray | None = None
    n_contexts: int = 1
    span: int = 0

    def extended(self, element: Element) -> tuple[Context, Rows]:
        """Number the contexts of the prefix with one more element.

        Returns:
            The longer contexts, and the table that leads to them: row h has the symbols of the
            element that occur with context h, and an entry is the number of a longer context.

        Raises:
            ArtifactError: the workspace of the text cannot be written or is full.
        """
        corpus = self.corpus
        span = max(self.span, element.offset)
        source = _SymbolSource(element.offset, element.classes, corpus.alphabet(element.classes))
        ids = corpus.new_array(np.dtype(np.uint32))

        def parts() -> Iterator[tuple[int, KeyArray]]:
            n_numbered = 0
            for part in self._parts(span, source):
                ranks, distinct = ranked(self._keys(part, source))
                ranks += np.uint32(n_numbered)
                n_numbered += len(distinct)
                part.scatter(ranks, ids)
                yield part.high - part.low, distinct

        if self._is_dense(span, source):
            occurs = self._cell_counts(span, source) > 0
            ranks = np.cumsum(occurs, dtype=np.uint32)
            ranks -= np.uint32(1)  # wraps round only before the first cell that occurs
            for start, stop in corpus.chunks(span):
                ids[start:stop] = ranks[self._cells(start, stop, source)]
            dense = (self.n_contexts, np.flatnonzero(occurs).astype(np.uint64))
            rows = Rows.from_parts([dense], source.alphabet)
        else:
            rows = Rows.from_parts(parts(), source.alphabet)
        return Context(corpus, ids, len(rows), span), rows

    def raw_counts(self, target: str | None) -> CountTable:
        """Return how often each token (or each class of the map `target`) follows each context."""
        source = _SymbolSource(0, target, self.corpus.alphabet(target))
        if self._is_dense(self.span, source):
            cells = self._cell_counts(self.span, source)
            keys = np.flatnonzero(cells)
            dense = (self.n_contexts, keys.astype(np.uint64), narrow(cells[keys]))
            return CountTable.from_parts([dense], source.alphabet)
        parts = (
            (part.high - part.low, *tally(self._keys(part, source)))
            for part in self._parts(self.span, source)
        )
        return CountTable.from_parts(parts, source.alphabet)

    def continuation_counts(self, raw: CountTable, rows: Rows) -> CountTable:
        r"""Return the continuation counts after the contexts without their last element.

        .. math:: c(h, y) = |\{x : c(h x, y) > 0\}|

        for a shorter context h, a symbol x of the last element and a predicted symbol y.
        `raw` are the counts after the contexts of this prefix; `rows` leads to these contexts from
        the shorter ones (`extended`).

        Source: Kneser and Ney 1995.
        """
        bits = np.uint64(symbol_bits(raw.rows.alphabet))
        shorter, degrees = rows.row_of_entries(), raw.rows.degrees

        def parts() -> Iterator[tuple[int, KeyArray, UnsignedArray]]:
            for low, high in _ranges(raw.rows.starts[rows.starts], self._most_positions):
                first, last = int(rows.starts[low]), int(rows.starts[high])
                keys = np.repeat(shorter[first:last].astype(np.uint64), degrees[first:last])
                keys -= np.uint64(low)
                keys <<= bits
                keys |= raw.rows.symbols[int(raw.rows.starts[first]) : int(raw.rows.starts[last])]
                yield high - low, *tally(keys)

        return CountTable.from_parts(parts(), raw.rows.alphabet)

    @property
    def _most_positions(self) -> int:
        """The number of positions that are sorted in memory at once."""
        return max(self.corpus.memory_bytes // _BYTES_PER_POSITION, 1)

    def _is_dense(self, span: int, source: _SymbolSource) -> bool:
        """Whether one counter per pair of context and symbol is cheaper than sorting."""
        n_cells = self.n_contexts << symbol_bits(source.alphabet)
        n_positions = self.corpus.n_positions(span)
        return self.n_contexts == 1 or n_cells <= min(max(n_positions, _FEW_CELLS), _MOST_CELLS)

    def _cell_counts(self, span: int, source: _SymbolSource) -> Int64Array:
        """Return how often each key `id << bits | symbol` occurs, `(n_contexts << bits,)`."""
        n_cells = self.n_contexts << symbol_bits(source.alphabet)
        counts = np.zeros(n_cells, dtype=np.int64)
        for start, stop in self.corpus.chunks(span):
            counts += np.bincount(self._cells(start, stop, source), minlength=n_cells)
        return counts

    def _cells(self, start: int, stop: int, source: _SymbolSource) -> Int64Array:
        """Return the keys of positions `start` to `stop` as indices of a dense array."""
        symbols = self._symbols(start, stop, source).astype(np.int64)
        if self.ids is not None:
            symbols |= self.ids[start:stop].astype(np.int64) << symbol_bits(source.alphabet)
        return symbols

    def _symbols(self, start: int, stop: int, source: _SymbolSource) -> UnsignedArray:
        return self.corpus.symbols(source.classes, start - source.offset, stop - source.offset)

    def _parts(self, span: int, source: _SymbolSource) -> Iterator[_Part]:
        """Cut the positions into parts that fit the memory."""
        corpus, ids = self.corpus, self.ids
        assert ids is not None, "the empty context is counted in dense cells"
        n_positions, limit = corpus.n_positions(span), self._most_positions
        bits, id_bits = symbol_bits(source.alphabet), symbol_bits(self.n_contexts)
        if id_bits + bits + n_positions.bit_length() > 64:
            # a part has about as many contexts as positions, so that key and index fit 64 bits
            limit = min(limit, 1 << (63 - bits) // 2)
        if n_positions <= limit:
            whole = [(start, stop, slice(None)) for start, stop in corpus.chunks(span)]
            yield _Part(0, self.n_contexts, whole)
            return
        shift = max(id_bits - 20, 0)
        histogram = np.zeros((self.n_contexts - 1 >> shift) + 1, dtype=np.int64)
        for start, stop in corpus.chunks(span):
            coarse_ids = ids[start:stop] >> np.uint32(shift)
            histogram += np.bincount(coarse_ids, minlength=len(histogram))
        for first, last in _ranges(np.concatenate([[0], np.cumsum(histogram)]), limit):
            low, high = first << shift, min(last << shift, self.n_contexts)
            pieces = []
            for start, stop in corpus.chunks(span):
                chunk_ids = ids[start:stop]
                inside = (chunk_ids >= low) & (chunk_ids < high)
                pieces.append((start, stop, np.flatnonzero(inside)))
            yield _Part(low, high, pieces)

    def _keys(self, part: _Part, source: _SymbolSource) -> KeyArray:
        """Return the keys `(id - low) << bits | symbol` of a part's positions."""
        assert self.ids is not None, "the empty context is counted in dense cells"
        bits = np.uint64(symbol_bits(source.alphabet))
        all_keys, done = np.empty(sum(part.lengths), dtype=np.uint64), 0
        for (start, stop, indices), length in zip(part.pieces, part.lengths, strict=True):
            keys = all_keys[done : done + length]
            np.subtract(self.ids[start:stop][indices], np.uint32(part.low), out=keys)
            keys <<= bits
            keys |= self._symbols(start, stop, source)[indices]
            done += length
        return all_keys


def _ranges(starts: npt.NDArray[Any], limit: int) -> Iterator[tuple[int, int]]:
    """Yield ranges of rows that have at most `limit` entries together, or are one row."""
    low, n_rows = 0, len(starts) - 1
    while low < n_rows:
        high = int(np.searchsorted(starts, int(starts[low]) + limit, side="right")) - 1
        high = max(high, low + 1)
        yield low, high
        low = high
