r"""What tokens look like, and what their look says about their class.

Notation: V tokens, n seen tokens (which occur in the text) in C classes. A shape describes the
bytes of a token. A numbering gives each token the number of its shape, `(V,)` from 0; equal shapes
have equal numbers. There are four numberings h_1 .. h_4, from fine to coarse.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from clso.counting import FloatArray
from clso.mixture.arrays import Float32Array
from clso.scoring import Int64Array

__all__ = ["LogPrior", "TokenShapes"]

_SHAPE_COUNT: Final = 10.0

_Key = tuple[int, bytes]


class LogPrior(NamedTuple):
    """log p(c | shape) of every seen token, the token itself left out.

    Attributes:
        others: by finest shape, `(n_shapes, C)`; holds for all classes but a token's own.
        finest: the finest shape of each token, `(n,)`.
        own: for each token's own class, `(n,)`.
        labels: each token's own class, `(n,)`.
    """

    others: Float32Array
    finest: Int64Array
    own: FloatArray
    labels: Int64Array

    def rows(self, tokens: slice) -> Float32Array:
        """Return log p(c | shape) of a range of seen tokens, `(n_tokens, C)`."""
        logs = self.others[self.finest[tokens]]
        logs[np.arange(len(logs)), self.labels[tokens]] = self.own[tokens]
        return np.asarray(logs)


class TokenShapes:
    r"""The shapes of tokens, and p(c | shape) from the classes of the seen tokens.

    A shape is: a leading space or not; the kind of the other bytes (lower case, Capital, UPPER,
    digits, signs, mixed, beyond ASCII); and, for words, the last letters in lower case. The four
    numberings use three last letters, two, one and none.

    .. math:: p(c \mid h_k) = \frac{n(c, h_k) + 10 \, p(c \mid h_{k+1})}{n(h_k) + 10}

    from the coarsest shape to the finest, with p(c | h_5) = p(c). n(c, h_k) counts the distinct
    tokens of class c and shape h_k. `token_texts` has the bytes of each of the V tokens.

    Attributes:
        numberings: the four numberings, finest first.
    """

    def __init__(self, token_texts: Sequence[bytes]) -> None:
        keys = [_key(text) for text in token_texts]
        self.numberings = [_numbers(keys)]
        keys = list(dict.fromkeys(keys))
        for length in (2, 1, 0):
            # only the distinct shapes of the finer numbering are looked at again
            shorter = [(head, suffix[-length:] if length else b"") for head, suffix in keys]
            self.numberings.append(_numbers(shorter)[self.numberings[-1]])
            keys = list(dict.fromkeys(shorter))
        self._parents = []
        coarser = [*self.numberings[1:], np.zeros_like(self.numberings[0])]
        for fine, coarse in zip(self.numberings, coarser, strict=True):
            parents = np.zeros(int(fine.max()) + 1, dtype=np.int64)
            parents[fine] = coarse
            self._parents.append(parents)

    @property
    def class_map(self) -> Int64Array:
        """The numbering with two last letters, which serves as the class map `shape`, `(V,)`."""
        return self.numberings[1]

    def likeliest_classes(self, seen: Int64Array, labels: Int64Array, n_classes: int) -> Int64Array:
        """Return the class with the largest p(c | h_1) for each token, `(V,)`.

        `labels` are the classes of the seen tokens, `(n,)`.
        """
        likeliest = self._by_shape(seen, labels, n_classes, left_out=0).argmax(axis=1)
        return np.asarray(likeliest[self.numberings[0]])

    def log_prior(self, seen: Int64Array, labels: Int64Array, n_classes: int) -> LogPrior:
        """Return log p(c | h_1) of each seen token, from the classes of the other seen tokens."""
        others = self._by_shape(seen, labels, n_classes, left_out=1)
        own = (np.bincount(labels)[labels] - 1 + 1 / n_classes) / len(labels)
        for numbering in reversed(self.numberings):
            shape = numbering[seen]
            same_shape = np.bincount(shape)[shape] - 1
            key = shape * n_classes + labels
            same_shape_and_class = np.bincount(key)[key] - 1
            own = (same_shape_and_class + _SHAPE_COUNT * own) / (same_shape + _SHAPE_COUNT)
        return LogPrior(np.log(others), self.numberings[0][seen], np.log(own), labels)

    def _by_shape(
        self, seen: Int64Array, labels: Int64Array, n_classes: int, left_out: int
    ) -> Float32Array:
        """Return p(c | h_1), `(n_shapes, C)`, with `left_out` tokens fewer of every shape."""
        # one more token, spread evenly over the classes, keeps empty classes above 0
        in_class = np.bincount(labels, minlength=n_classes) + 1 / n_classes
        probability = (in_class / in_class.sum())[None].astype(np.float32)
        for numbering, parents in zip(
            reversed(self.numberings), reversed(self._parents), strict=True
        ):
            key = numbering[seen] * n_classes + labels
            counts = np.bincount(key, minlength=len(parents) * n_classes).astype(np.float32)
            counts = counts.reshape(-1, n_classes)
            total = np.maximum(counts.sum(axis=1, keepdims=True) - left_out, 0)
            probability = (counts + _SHAPE_COUNT * probability[parents]) / (total + _SHAPE_COUNT)
        return np.asarray(probability, dtype=np.float32)


def _numbers(keys: Sequence[_Key]) -> Int64Array:
    number = {key: i for i, key in enumerate(dict.fromkeys(keys))}
    return np.array([number[key] for key in keys], dtype=np.int64)


def _key(text: bytes) -> _Key:
    """Return the finest shape: a number for leading space and kind, and the last letters."""
    word = text[1:] if text[:1] == b" " else text
    head = 8 * (len(word) < len(text))
    if not word:
        return head, b""
    if word.isalpha():
        kind = 1 if word.islower() else 2 if word.istitle() else 3 if word.isupper() else 4
        return head + kind, word[-3:].lower()
    if word.isdigit():
        # the number of digits tells a year from a count
        return head + 5, b"%d" % min(len(word), 4)
    if word.isascii() and not any(byte > 127 or chr(byte).isalnum() for byte in word):
        return head + 6, word[-1:]
    return head + 7, b""
