"""A model's score of a text of any size: its loss, and the tokens that cost it most.

Notation: T positions in a block. The stream is an end token, then the documents with an end token
after each. Every token but the first is scored once, in blocks of T as a run scores its splits: a
token sees the tokens before it in its block. The last block may be shorter.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from clso.data.tokenizer import Tokenizer
from clso.scoring import Int64Array, LanguageModel
from clso.statistics.scores import Totals, finite_nll

__all__ = ["CostlyToken", "TextScore"]

_BLOCKS_AT_ONCE = 512  # enough for a model that prices blocks on several threads
_CONTEXT_TOKENS = 12


@dataclass(frozen=True, order=True)
class CostlyToken:
    """A token and what it cost.

    Attributes:
        nll: nats.
        place: its number in the stream; the first token that is scored has 1.
        document: its document's number, from 1.
        token: its characters; empty for an end token.
        before: the characters of the tokens before it in its block and document, a few at most.
    """

    nll: float
    place: int
    document: int
    token: str
    before: str


@dataclass(frozen=True)
class TextScore:
    """The sums over a text, and its costliest tokens, the costliest first."""

    totals: Totals
    costliest: tuple[CostlyToken, ...]

    @classmethod
    def of(
        cls,
        model: LanguageModel,
        tokenizer: Tokenizer,
        tokens: Iterable[npt.NDArray[Any]],
        *,
        block_size: int,
        costliest: int,
    ) -> TextScore:
        """Score a stream of documents, given as arrays `(n,)` that together are the stream.

        The first end token is not a part of `tokens`.

        Raises:
            WorkError: the model gives a likelihood that is not a finite number.
        """
        sums: list[float] = []
        n_tokens = n_bytes = 0
        document = 1
        heap: list[CostlyToken] = []
        end = tokenizer.end_token_id
        for inputs, targets in _blocks(tokens, end, block_size):
            nll = finite_nll(
                model,
                inputs,
                targets,
                place=f"after {n_tokens:,} tokens",
                remedy="score with another of the run's models",
            )
            documents = document + np.cumsum(inputs.ravel() == end)
            if n_tokens == 0:
                documents -= 1  # the first end token stands before the first document
            for place in _largest(nll.ravel(), costliest):
                row, column = divmod(int(place), targets.shape[1])
                if len(heap) == costliest and nll[row, column] < heap[0].nll:
                    break  # the rest of the chunk costs less still: no need of its texts
                costly = CostlyToken(
                    float(nll[row, column]),
                    n_tokens + int(place) + 1,
                    int(documents[place]),
                    _text(tokenizer, targets[row, column : column + 1]),
                    _before(tokenizer, inputs[row, : column + 1]),
                )
                (heapq.heappush if len(heap) < costliest else heapq.heappushpop)(heap, costly)
            document = int(documents[-1])
            sums.append(float(nll.sum()))
            n_tokens += targets.size
            n_bytes += int(tokenizer.token_bytes[targets].sum())
        totals = Totals(n_tokens=n_tokens, n_bytes=n_bytes, nll=math.fsum(sums))
        return cls(totals, tuple(sorted(heap, reverse=True)))


def _blocks(
    tokens: Iterable[npt.NDArray[Any]], end: int, block_size: int
) -> Iterator[tuple[Int64Array, Int64Array]]:
    """Yield inputs and targets, `(B, T)` each, at last those of a shorter block, `(1, t)`."""
    held = np.array([end], np.int64)
    for part in tokens:
        held = np.concatenate([held, part.astype(np.int64)])
        while len(held) > _BLOCKS_AT_ONCE * block_size:
            yield _paired(held, _BLOCKS_AT_ONCE, block_size)
            held = held[_BLOCKS_AT_ONCE * block_size :]
    whole = (len(held) - 1) // block_size
    if whole:
        yield _paired(held, whole, block_size)
    if (rest := len(held) - 1 - whole * block_size) > 0:
        yield _paired(held[whole * block_size :], 1, rest)


def _paired(tokens: Int64Array, n_blocks: int, length: int) -> tuple[Int64Array, Int64Array]:
    n = n_blocks * length
    return tokens[:n].reshape(n_blocks, length), tokens[1 : n + 1].reshape(n_blocks, length)


def _largest(values: npt.NDArray[np.float64], count: int) -> Int64Array:
    """Return the places of the largest values, of equal ones the first."""
    return np.argsort(-values, kind="stable")[:count]


def _before(tokenizer: Tokenizer, inputs: Int64Array) -> str:
    ends = np.flatnonzero(inputs == tokenizer.end_token_id)
    start = max(len(inputs) - _CONTEXT_TOKENS, ends[-1] + 1 if len(ends) else 0)
    return _text(tokenizer, inputs[start:])


def _text(tokenizer: Tokenizer, tokens: Int64Array) -> str:
    texts = (tokenizer.token_texts[token] for token in tokens if token != tokenizer.end_token_id)
    return b"".join(texts).decode(errors="replace")
