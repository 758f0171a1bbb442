"""Counts of classes that stand near each other, and how much one makes another likelier."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from clso.counting import TokenStream, count_pairs
from clso.mixture.text import FittingText
from clso.scoring import Int64Array

__all__ = ["ClassArray", "Float32Array", "lift_of", "successors_of"]

Float32Array = npt.NDArray[np.float32]
ClassArray = npt.NDArray[np.unsignedinteger[Any]]

_CHUNK: Final = 1 << 22


def _count_class_pairs(
    streams: Sequence[TokenStream], first: ClassArray, second: ClassArray, offset: int
) -> Int64Array:
    """Return how often a class stands `offset` places before a class, `(C, C')`.

    Args:
        streams: the text; no pair spans two streams.
        first: the class of the earlier token, `(V,)`.
        second: the class of the later token, `(V,)`.
        offset: 1: neighbours.
    """
    n_first, n_second = int(first.max()) + 1, int(second.max()) + 1
    pairs = np.zeros(n_first * n_second, dtype=np.int64)
    for stream in streams:
        n_pairs = stream.n_tokens + 1 - offset
        for start in range(0, n_pairs, _CHUNK):
            stop = min(start + _CHUNK, n_pairs)
            tokens = np.asarray(stream.tokens(start, stop + offset))
            earlier = first[tokens[:-offset]].astype(np.int64)
            pairs += np.bincount(earlier * n_second + second[tokens[offset:]], minlength=len(pairs))
    return pairs.reshape(n_first, n_second)


def _class_lift(pairs: Int64Array) -> Float32Array:
    r"""Return how much more likely a class is near a class than anywhere, `(C, C')`.

    .. math::
        \frac{p(c' \mid c) + \epsilon}{p(c') + \epsilon}, \qquad
        p(c' \mid c) = \frac{n(c, c') + m \, p(c')}{n(c) + m}, \qquad m = 10, \epsilon = 10^{-4}

    Args:
        pairs: n(c, c'), as `count_class_pairs` returns it, `(C, C')`.
    """
    counts = pairs.astype(np.float64)
    after = counts.sum(axis=0)
    share = after / max(after.sum(), 1.0)
    following = (counts + 10 * share) / (counts.sum(axis=1, keepdims=True) + 10)
    lift = (following + 1e-4) / (share + 1e-4)
    return np.asarray(lift, dtype=np.float32)


def _count_successors(
    streams: Sequence[TokenStream], classes: ClassArray
) -> tuple[Int64Array, npt.NDArray[np.uint32]]:
    """Return how often each class follows each token.

    Returns:
        The distinct pairs as sorted keys `x * C + c`, `(n_pairs,)`, and their counts.
    """
    vocab_size, n_classes = len(classes), int(classes.max()) + 1
    keys, counts = count_pairs(streams, vocab_size)
    tokens, successors = np.divmod(keys, vocab_size)
    merged = tokens * n_classes + classes[successors].astype(np.int64)
    order = np.argsort(merged, kind="stable")
    merged = merged[order]
    starts = np.flatnonzero(np.diff(merged, prepend=-1))
    summed = np.add.reduceat(counts[order], starts) if len(starts) else counts
    return merged[starts], np.asarray(summed, dtype=np.uint32)


def lift_of(text: FittingText, first: str, second: str, offset: int) -> Float32Array:
    """Return the lift of classes of map `second`, `offset` places after those of `first`."""

    def count() -> Float32Array:
        maps = text.class_map(first), text.class_map(second)
        return _class_lift(_count_class_pairs(text.streams, *maps, offset))

    return text.once(("lift", first, second, offset), count)


def successors_of(text: FittingText, name: str) -> tuple[Int64Array, npt.NDArray[np.uint32]]:
    """Return how often each class of a map follows each token, as sorted keys and counts."""

    def count() -> tuple[Int64Array, npt.NDArray[np.uint32]]:
        return _count_successors(text.streams, text.class_map(name))

    return text.once(("successors", name), count)
