"""Where words begin and end in a text, and the context elements of every position.

Notation: as in `clso.mixture.words`; a word is the number of its node, -1 if it is unknown.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from clso.mixture.words.name import LAST_TOKENS, WordName
from clso.scoring import Int64Array

__all__ = ["UNKNOWN", "Places", "elements_at"]

UNKNOWN: Final = -1
_MOST_LETTERS: Final = 40  # longer words are unknown

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Places:
    """Where words begin and end in some rows of tokens, one row after another, n tokens in all.

    Attributes:
        letters: the class of each token, `(n,)`; 0: no letter.
        depth: the number of letters up to each token, `(n,)`; -1: perhaps more, before the row.
        ends: index of the token before which the last word ends, `(n,)`; -1: none in the row.
    """

    letters: Int64Array
    depth: Int64Array
    ends: Int64Array

    @classmethod
    def of(cls, letters: Int64Array, first: int = 0) -> Self:
        """Find the words in `(B, T)` classes; `first` is the index of the first token."""
        n_rows, length = letters.shape
        column = np.broadcast_to(np.arange(length), letters.shape)
        apart = letters == 0
        last_apart = np.maximum.accumulate(np.where(apart, column, -1), axis=1)
        depth = np.where(last_apart < 0, UNKNOWN, column - last_apart)
        after_letter = np.zeros(letters.shape, dtype=np.bool_)
        after_letter[:, 1:] = ~apart[:, :-1]
        ends = np.maximum.accumulate(np.where(apart & after_letter, column, -1), axis=1)
        row_starts = first + np.arange(n_rows)[:, None] * length
        return cls(
            letters.ravel(), depth.ravel(), np.where(ends < 0, UNKNOWN, ends + row_starts).ravel()
        )

    @classmethod
    def joined(cls, parts: Sequence[Places]) -> Places:
        """Return the words of several parts, one after another."""
        return cls(
            np.concatenate([part.letters for part in parts]),
            np.concatenate([part.depth for part in parts]),
            np.concatenate([part.ends for part in parts]),
        )

    def by_depth(self) -> Iterator[Int64Array]:
        """Yield the indices of the first letters of words, of the second letters, and so on."""
        for depth in range(1, _MOST_LETTERS + 1):
            places = np.flatnonzero(self.depth == depth)
            if not len(places):
                return
            yield places

    def word_before(self, nodes: Int64Array, word: int) -> Int64Array:
        """Return the node of the k-th word before the current one, `(n,)`; -1: unknown."""
        ends = self.ends
        for _ in range(word - 1):
            # the end before an end is the last one at the letter just before it
            ends = np.where(ends < 0, UNKNOWN, self.ends[np.maximum(ends - 1, 0)])
        return np.where(ends < 0, UNKNOWN, nodes[np.maximum(ends - 1, 0)])


def elements_at(
    settings: WordName, inputs: Int64Array, places: Places, nodes: Int64Array
) -> Iterator[tuple[Int64Array, BoolArray]]:
    """Yield the symbols of each context element in `(B, T)` tokens, `(B T,)`, and where known."""
    for back in range(LAST_TOKENS):
        symbols = np.zeros(inputs.shape, dtype=np.int64)
        symbols[:, back:] = inputs[:, : inputs.shape[1] - back]
        known = np.broadcast_to(np.arange(inputs.shape[1]) >= back, inputs.shape)
        yield symbols.ravel(), known.ravel()
    for word in (0, *settings.words):
        words = nodes if word == 0 else places.word_before(nodes, word)
        yield words, words >= 0
