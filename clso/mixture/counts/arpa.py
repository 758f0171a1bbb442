r"""Export of plain n-gram functions as ARPA files, the text format that n-gram tools read.

Notation: an m-gram is w_1 .. w_m in reading order. A function with context h_k = (x_1 .. x_k),
x_1 the last token, has one m-gram x_k .. x_1 y per entry of level k = m - 1. The file lists each
m-gram with its interpolated probability and, if it is also a context, its backoff weight gamma.
A reader gives a listed m-gram the listed probability; for any other m-gram, it multiplies gamma
of the context with the probability of the shorter m-gram. The result is that of
`KneserNey.target_probabilities`, also at the start of a block.

A reader needs the first m words of every (m + 1)-gram as an m-gram. Continuation counts lack some
of them, because the first tokens of a stream have no token before them. These are added with the
probability that backing off gives.

Source: the manual page `ngram-format` of SRILM (Stolcke 2002).
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from clso.artifacts import atomic_file
from clso.counting import FloatArray
from clso.errors import ConfigError
from clso.mixture.counts.kneser_ney import KneserNey
from clso.scoring import Int64Array

__all__ = ["write_arpa"]

_CHUNK: Final = 1 << 20
_SPECIAL: Final = ("<unk>", "<s>", "</s>")
_NEVER: Final = -99
_WORDS_REMEDY: Final = "give each token a word of its own, or leave the words out: t0, t1, ..."


def write_arpa(function: KneserNey, path: Path, words: Sequence[str] | None = None) -> None:
    """Write a function of the last n tokens as an ARPA file, whole or not at all.

    The words for sentence ends and unknown words have probability 10**-99: blocks are not
    sentences, and no token is unknown. KenLM cannot read the file of `kn()`, which has single
    tokens only.

    Args:
        function: its pattern is `kn()`, `kn(1)`, `kn(1,2)`, ...
        words: the text of each token, `(V,)`; `None`: `t0`, `t1`, ...

    Raises:
        ConfigError: the pattern has gaps or classes, or words are equal or contain spaces.
        ArtifactError: the file cannot be written; an existing file is kept.
    """
    if not function.pattern.is_contiguous:
        raise ConfigError(
            f"{function.name} is no plain n-gram pattern, expected kn(1,2,...)",
            remedy="export a pattern without gaps and classes",
        )
    vocabulary = pa.array(_checked_words(words, function.vocab_size))
    grams = _Grams(function)
    order, added = grams.order, grams.added()
    with atomic_file(path) as binary:
        file = io.TextIOWrapper(binary, encoding="utf-8", newline="\n")
        file.write("\\data\\\n")
        for m in range(1, order + 1):
            file.write(
                f"ngram {m}={grams.n_counted(m) + len(added[m]) + len(_SPECIAL) * (m == 1)}\n"
            )
        for m in range(1, order + 1):
            file.write(f"\n\\{m}-grams:\n")
            if m == 1:
                file.writelines(f"{_NEVER}\t{word}\t0\n" for word in _SPECIAL)
            for tokens in (*grams.chunks(m), added[m]):
                backoff = grams.backoff(tokens) if m < order else None
                file.writelines(_lines(tokens, grams.probability(tokens), backoff, vocabulary))
        file.write("\n\\end\\\n")
        file.flush()
        file.detach()  # `atomic_file` closes it


class _Grams:
    """The m-grams of a function as tokens in reading order, `(n, m)`."""

    def __init__(self, function: KneserNey) -> None:
        self._function = function
        self._shorter = [rows.row_of_entries() for rows in function.contexts]
        self.order = len(function.levels)

    def n_counted(self, m: int) -> int:
        """Return the number of m-grams that `chunks` yields."""
        function = self._function
        return function.vocab_size if m == 1 else len(function.levels[m - 1].rows)

    def chunks(self, m: int) -> Iterator[Int64Array]:
        """Yield all m-grams with counts, `(n, m)`; for m = 1 all tokens."""
        if m == 1:
            yield np.arange(self._function.vocab_size)[:, None]
            return
        rows = self._function.levels[m - 1].rows
        row_of_entries = rows.row_of_entries()
        for start in range(0, len(rows), _CHUNK):
            entries = slice(start, start + _CHUNK)
            contexts = self._tokens(m - 1, row_of_entries[entries])
            yield np.column_stack([contexts, rows.symbols[entries]])

    def added(self) -> dict[int, Int64Array]:
        """Return, by m, the m-grams without counts that longer m-grams begin with."""
        added = {m: np.empty((0, m), np.int64) for m in range(1, self.order + 1)}
        for m in range(self.order - 1, 1, -1):
            missing = [self._missing(added[m + 1][:, :-1])]
            contexts = np.flatnonzero(self._function.levels[m].rows.occupied)
            for start in range(0, len(contexts), _CHUNK):
                missing.append(self._missing(self._tokens(m, contexts[start : start + _CHUNK])))
            added[m] = np.unique(np.concatenate(missing), axis=0)
        return added

    def probability(self, tokens: Int64Array) -> FloatArray:
        """Return the probability of each m-gram's last token after its other tokens, `(n,)`."""
        before, last = tokens[:, :-1], tokens[:, -1]
        if not before.size:
            return np.asarray(self._function.base[last])
        # what comes at the other positions is not looked at
        targets = np.broadcast_to(last[:, None], before.shape)
        return np.asarray(self._function.target_probabilities(before, targets)[:, -1])

    def backoff(self, tokens: Int64Array) -> FloatArray:
        """Return gamma of each m-gram as a context, `(n,)`; 1 if no token follows it."""
        backoff = np.ones(len(tokens))
        level = tokens.shape[1]
        for matched, active, rows in self._function.walk(tokens, _last_positions(tokens)):
            if matched == level:
                backoff[active] = self._function.levels[level].backoff[rows]
        return backoff

    def _tokens(self, level: int, rows: npt.NDArray[Any]) -> Int64Array:
        """Return the tokens of contexts of a level in reading order, `(n, level)`."""
        tokens = np.empty((len(rows), level), dtype=np.int64)
        for column in range(level):
            # the last element of the pattern 1, 2, .. is the first token in reading order
            tokens[:, column] = self._function.contexts[level - 1 - column].symbols[rows]
            rows = self._shorter[level - 1 - column][rows]
        return tokens

    def _missing(self, tokens: Int64Array) -> Int64Array:
        """Return the m-grams that have no counts."""
        before, last = tokens[:, :-1], tokens[:, -1]
        counted = np.zeros(len(tokens), dtype=np.bool_)
        for level, active, rows in self._function.walk(before, _last_positions(before)):
            if level == before.shape[1]:
                counted[active] = self._function.levels[level].rows.find(rows, last[active]) >= 0
        return np.asarray(tokens[~counted])


def _last_positions(blocks: Int64Array) -> Int64Array:
    """Return the index of each block's last token in `blocks.reshape(-1)`."""
    return np.asarray(np.arange(1, len(blocks) + 1) * blocks.shape[1] - 1)


def _lines(
    tokens: Int64Array, probability: FloatArray, backoff: FloatArray | None, vocabulary: pa.Array
) -> Iterator[str]:
    """Yield the lines of m-grams: log probability, words and, if they are contexts, log gamma."""
    words = [vocabulary.take(pa.array(column)) for column in tokens.T]
    columns = [_log10(probability), pc.binary_join_element_wise(*words, " ")]
    if backoff is not None:
        columns.append(_log10(backoff))
    for line in pc.binary_join_element_wise(*columns, "\t").to_pylist():
        yield f"{line}\n"


def _log10(values: FloatArray) -> pa.Array:
    # rounding may lift a probability of 1 above 1, which readers refuse
    return pa.array(np.log10(np.minimum(values, 1.0)).astype(np.float32)).cast(pa.string())


def _checked_words(words: Sequence[str] | None, vocab_size: int) -> list[str]:
    if words is None:
        return [f"t{token}" for token in range(vocab_size)]
    if len(words) != vocab_size:
        raise ConfigError(f"{len(words):,} words were given for {vocab_size:,} tokens")
    token_of_word: dict[str, int] = {word: -1 for word in _SPECIAL}
    for token, word in enumerate(words):
        if not word or not word.isprintable() or any(map(str.isspace, word)):
            raise ConfigError(
                f"token {token} is written {word!r}, expected printable text without spaces",
                remedy=_WORDS_REMEDY,
            )
        if token_of_word.setdefault(word, token) != token:
            same = (
                f"token {token_of_word[word]}"
                if token_of_word[word] >= 0
                else "a sign of the file format"
            )
            raise ConfigError(
                f"token {token} is written {word!r}, and so is {same}", remedy=_WORDS_REMEDY
            )
    return list(words)
