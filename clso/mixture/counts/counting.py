r"""Counting in bounded memory: numbers for contexts, raw counts, continuation counts.

Notation: E is a prefix of a pattern, e an element after it, y the predicted symbol. Each position
has a number for its context under E, `ids`: the rank of the context among all that occur, ordered
by (number under the shorter prefix, symbol of the last element). So a context is one row, its
continuations are neighbouring entries, and any pair fits one 64-bit key `id << bits | symbol`,
sorted by numpy's vectorised sort; the position goes into the low bits where it must be kept.

What does not fit the memory is done in parts: ranges of numbers, each with its own pass over the
positions. Ranks do not depend on where the parts are cut, nor does anything else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from clso.mixture.counts.corpus import Corpus, Workspace
from clso.mixture.counts.count_table import CountTable
from clso.mixture.counts.keys import KeyArray, ranked, tally
from clso.mixture.counts.pattern import Element
from clso.mixture.counts.rows import Rows, RowsBuilder, UnsignedArray, joined, narrow, symbol_bits
from clso.scoring import Int64Array

__all__ = ["Context", "continuation_counts", "extended", "raw_counts", "root"]

# keys, their places, ranks, flags and indices of the chosen positions
_BYTES_PER_POSITION: Final = 48
# counting in cells beats sorting while they are fewer than the positions, or few
_FEW_CELLS, _MOST_CELLS = 1 << 16, 1 << 22


@dataclass(frozen=True)
class Context:
    """The positions' contexts under one prefix.

    Args:
        corpus: the text.
        ids: number of the context at each position, `(N,)`, undefined where the context reaches
            over the stream's start; `None`: all have the empty context, number 0.
        n_contexts: how many numbers there are.
        span: how far back the prefix reaches, in tokens.
        limit: positions to hold in memory at once.
    """

    corpus: Corpus
    ids: UnsignedArray | None
    n_contexts: int
    span: int
    limit: int


class _Column(NamedTuple):
    """What is read at each position: the symbol `offset` tokens before it, itself at 0."""

    offset: int
    classes: str | None
    alphabet: int


@dataclass(frozen=True)
class _Part:
    """Positions of the contexts `low` to `high`: ranges, each whole or an index into it."""

    low: int
    high: int
    pieces: list[tuple[int, int, Int64Array | None]]

    @property
    def n_positions(self) -> int:
        return sum(
            stop - start if index is None else len(index) for start, stop, index in self.pieces
        )


def root(corpus: Corpus, memory_bytes: int) -> Context:
    """Return the empty context of a text."""
    return Context(corpus, None, 1, 0, max(memory_bytes // _BYTES_PER_POSITION, 1))


def extended(context: Context, element: Element, workspace: Workspace) -> tuple[Context, Rows]:
    """Number the contexts that have one element more.

    Returns:
        The longer contexts, and the rows that lead to them: row h has the symbols of the element
        seen after context h, and an entry is the longer context's number.
    """
    corpus = context.corpus
    span = max(context.span, element.offset)
    column = _Column(element.offset, element.classes, corpus.alphabet(element.classes))
    builder = RowsBuilder(column.alphabet)
    ids = workspace.array(len(corpus), np.dtype(np.uint32))
    if _is_dense(context.n_contexts, column, corpus.n_positions(span)):
        seen = _cells(context, span, column) > 0
        ranks = np.cumsum(seen, dtype=np.uint32)
        ranks -= np.uint32(1)  # where it wraps round, nothing was seen
        for start, stop in corpus.chunks(span):
            ids[start:stop] = ranks[_keys(context, start, stop, column)]
        builder.add(context.n_contexts, np.flatnonzero(seen).astype(np.uint64))
    else:
        known = 0
        for part in _parts(context, span, column):
            ranks, distinct = ranked(_part_keys(context, part, column))
            builder.add(part.high - part.low, distinct)
            ranks += np.uint32(known)
            known += len(distinct)
            _scatter(part, ranks, ids)
    rows = builder.build()
    return Context(corpus, ids, len(rows), span, context.limit), rows


def raw_counts(context: Context, target: str | None) -> CountTable:
    """Count how often each token, or class of tokens, follows each context."""
    column = _Column(0, target, context.corpus.alphabet(target))
    builder = RowsBuilder(column.alphabet)
    if _is_dense(context.n_contexts, column, context.corpus.n_positions(context.span)):
        cells = _cells(context, context.span, column)
        keys = np.flatnonzero(cells)
        builder.add(context.n_contexts, keys.astype(np.uint64))
        return CountTable(builder.build(), narrow(cells[keys]))
    counts = []
    for part in _parts(context, context.span, column):
        distinct, often = tally(_part_keys(context, part, column))
        builder.add(part.high - part.low, distinct)
        counts.append(often)
    return CountTable(builder.build(), narrow(joined(counts, np.uint8)))


def continuation_counts(raw: CountTable, rows: Rows, limit: int) -> CountTable:
    """Count how many longer contexts each symbol follows, per shorter context.

    Args:
        raw: counts after the longer contexts.
        rows: the rows that lead from shorter to longer contexts (`extended`).
        limit: entries to hold in memory at once.
    """
    alphabet = raw.rows.alphabet
    bits = symbol_bits(alphabet)
    builder = RowsBuilder(alphabet)
    counts = []
    shorter, degrees = rows.row_of_entries(), raw.rows.degrees
    for low, high in _cuts(raw.rows.starts[rows.starts], limit):
        first, last = int(rows.starts[low]), int(rows.starts[high])
        keys = np.repeat(shorter[first:last].astype(np.uint64), degrees[first:last])
        keys -= np.uint64(low)
        keys <<= np.uint64(bits)
        keys |= raw.rows.symbols[int(raw.rows.starts[first]) : int(raw.rows.starts[last])]
        distinct, often = tally(keys)
        builder.add(high - low, distinct)
        counts.append(often)
    return CountTable(builder.build(), narrow(joined(counts, np.uint8)))


def _is_dense(n_contexts: int, column: _Column, n_positions: int) -> bool:
    n_cells = n_contexts << symbol_bits(column.alphabet)
    return n_contexts == 1 or n_cells <= min(max(n_positions, _FEW_CELLS), _MOST_CELLS)


def _cells(context: Context, span: int, column: _Column) -> Int64Array:
    n_cells = context.n_contexts << symbol_bits(column.alphabet)
    cells = np.zeros(n_cells, dtype=np.int64)
    for start, stop in context.corpus.chunks(span):
        cells += np.bincount(_keys(context, start, stop, column), minlength=n_cells)
    return cells


def _keys(context: Context, start: int, stop: int, column: _Column) -> Int64Array:
    symbols = context.corpus.symbols(
        column.classes, start - column.offset, stop - column.offset
    ).astype(np.int64)
    if context.ids is not None:
        symbols |= context.ids[start:stop].astype(np.int64) << symbol_bits(column.alphabet)
    return symbols


def _cuts(ends: npt.NDArray[Any], limit: int) -> Iterator[tuple[int, int]]:
    """Yield ranges of rows with at most `limit` entries, or of one row, from running totals."""
    low, n_rows = 0, len(ends) - 1
    while low < n_rows:
        high = int(np.searchsorted(ends, int(ends[low]) + limit, side="right")) - 1
        high = max(high, low + 1)
        yield low, high
        low = high


def _parts(context: Context, span: int, column: _Column) -> Iterator[_Part]:
    corpus, ids = context.corpus, context.ids
    assert ids is not None, "the empty context is counted in dense cells"
    n_positions, limit = corpus.n_positions(span), context.limit
    bits = symbol_bits(column.alphabet)
    id_bits = symbol_bits(context.n_contexts)
    if id_bits + bits + n_positions.bit_length() > 64:
        # a part's numbers span about as many as it has positions: then key and position fit
        limit = min(limit, 1 << (63 - bits) // 2)
    if n_positions <= limit:
        yield _Part(0, context.n_contexts, [(*chunk, None) for chunk in corpus.chunks(span)])
        return
    shift = max(id_bits - 20, 0)
    histogram = np.zeros((context.n_contexts - 1 >> shift) + 1, dtype=np.int64)
    for start, stop in corpus.chunks(span):
        histogram += np.bincount(ids[start:stop] >> np.uint32(shift), minlength=len(histogram))
    for first, last in _cuts(np.concatenate([[0], np.cumsum(histogram)]), limit):
        low, high = first << shift, min(last << shift, context.n_contexts)
        pieces: list[tuple[int, int, Int64Array | None]] = []
        for start, stop in corpus.chunks(span):
            here = ids[start:stop]
            pieces.append((start, stop, np.flatnonzero((here >= low) & (here < high))))
        yield _Part(low, high, pieces)


def _part_keys(context: Context, part: _Part, column: _Column) -> KeyArray:
    ids, bits = context.ids, np.uint64(symbol_bits(column.alphabet))
    assert ids is not None, "the empty context is counted in dense cells"
    keys = np.empty(part.n_positions, dtype=np.uint64)
    done = 0
    for start, stop, index in part.pieces:
        here = ids[start:stop]
        tokens = slice(start - column.offset, stop - column.offset)
        symbols = context.corpus.symbols(column.classes, tokens.start, tokens.stop)
        if index is not None:
            here, symbols = here[index], symbols[index]
        out = keys[done : done + len(here)]
        np.subtract(here, np.uint32(part.low), out=out, casting="safe")
        out <<= bits
        out |= symbols
        done += len(here)
    return keys


def _scatter(part: _Part, values: UnsignedArray, out: UnsignedArray) -> None:
    done = 0
    for start, stop, index in part.pieces:
        if index is None:
            out[start:stop] = values[done : done + stop - start]
            done += stop - start
        else:
            out[start:stop][index] = values[done : done + len(index)]
            done += len(index)
