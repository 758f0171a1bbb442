r"""Better classes by exchange: every token moves to the class that explains it best.

Notation: n seen tokens in C classes; n(w, c') is how often a token of class c' is a neighbour of
token w, on one side; c(w) is w's class. Tokens of one look have a shape, from fine to coarse
(`clso.mixture.shapes`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from clso.mixture.clustering import NeighbourCounts
from clso.scoring import Int64Array
from clso.threads import one_thread

__all__ = ["ShapePrior", "exchange"]

Float32Array = npt.NDArray[np.float32]
FloatArray = npt.NDArray[np.float64]

_SWEEPS: Final = 3
_ROWS: Final = 4096
_PSEUDO_COUNT: Final = 5.0
_SHAPE_COUNT: Final = 10.0
_SHAPE_WEIGHT: Final = 2.0


class _LogPrior(NamedTuple):
    """log p(c | shape) of every seen token, the token itself left out.

    Attributes:
        others: by finest shape, `(n_shapes, C)`; right for all classes but a token's own.
        finest: the finest shape of each token, `(n,)`.
        own: for each token's own class, `(n,)`.
        labels: each token's own class, `(n,)`.
    """

    others: Float32Array
    finest: Int64Array
    own: FloatArray
    labels: Int64Array

    def rows(self, rows: slice) -> Float32Array:
        """Return log p of all classes for some tokens, `(n_rows, C)`."""
        logs = self.others[self.finest[rows]]
        logs[np.arange(len(logs)), self.labels[rows]] = self.own[rows]
        return np.asarray(logs)


class ShapePrior:
    r"""The class of a token as its look tells it, from the classes of other seen tokens.

    .. math:: p(c \mid h_k) = \frac{n(c, h_k) + 10 \, p(c \mid h_{k+1})}{n(h_k) + 10}

    from the finest shape h_1 to the coarsest; n counts token types, and leaves out the type that
    is asked about.

    Args:
        shapes: the shape of each token, `(V,)` per numbering, finest first.
        seen: the tokens with classes, `(n,)`.
    """

    def __init__(self, shapes: Sequence[Int64Array], seen: Int64Array) -> None:
        self._shapes = shapes
        self._seen = seen
        self._parents: list[Int64Array] = []
        for fine, coarse in zip(shapes, [*shapes[1:], np.zeros_like(shapes[0])], strict=True):
            parents = np.zeros(int(fine.max()) + 1, dtype=np.int64)
            parents[fine] = coarse
            self._parents.append(parents)

    def unseen_classes(self, labels: Int64Array, n_classes: int) -> Int64Array:
        """Return the likeliest class of each token by its shape alone, `(V,)`."""
        likeliest = self._by_shape(labels, n_classes, left_out=0).argmax(axis=1)
        return np.asarray(likeliest[self._shapes[0]])

    def log_probabilities(self, labels: Int64Array, n_classes: int) -> _LogPrior:
        """Return what the look of each seen token says of its class."""
        others = self._by_shape(labels, n_classes, left_out=1)
        own = (np.bincount(labels)[labels] - 1 + 1 / n_classes) / len(labels)
        for shape in reversed(self._shapes):
            number = shape[self._seen]
            alike = np.bincount(number)[number] - 1
            key = number * n_classes + labels
            same = np.bincount(key)[key] - 1
            own = (same + _SHAPE_COUNT * own) / (alike + _SHAPE_COUNT)
        finest = self._shapes[0][self._seen]
        return _LogPrior(np.log(others), finest, np.log(own), labels)

    def _by_shape(self, labels: Int64Array, n_classes: int, left_out: int) -> Float32Array:
        # one more type per class, spread evenly, keeps classes without types above 0
        types = np.bincount(labels, minlength=n_classes) + 1 / n_classes
        probability = (types / types.sum())[None].astype(np.float32)
        for shape, parents in zip(reversed(self._shapes), reversed(self._parents), strict=True):
            key = shape[self._seen] * n_classes + labels
            found = np.bincount(key, minlength=len(parents) * n_classes).astype(np.float32)
            found = found.reshape(-1, n_classes)
            alike = np.maximum(found.sum(axis=1, keepdims=True) - left_out, 0)
            probability = (found + _SHAPE_COUNT * probability[parents]) / (alike + _SHAPE_COUNT)
        return np.asarray(probability, dtype=np.float32)


def exchange(
    labels: Int64Array,
    n_classes: int,
    neighbours: Sequence[NeighbourCounts],
    prior: ShapePrior | None,
) -> Int64Array:
    r"""Move all tokens at once to their best classes, three times, `(n,)`.

    .. math:: c(w) \leftarrow \arg\max_c \sum_{\mathrm{sides}} \sum_{c'} n(w, c') \log p(c' \mid c)
        + 2 \log p(c \mid \mathrm{shape}(w))

    with p(c' | c) from the classes before the sweep.

    Args:
        labels: the classes to start from, `(n,)`.
        n_classes: C.
        neighbours: pairs (w, neighbour) of each side, sorted.
        prior: what a token's look says; `None`: nothing.

    Source: Dhillon, Mallela and Kumar 2003 (clustering by information); Clark 2003 (with the
    look of words).
    """
    with one_thread():
        for _ in range(_SWEEPS):
            following = [_log_following(labels, n_classes, pairs) for pairs in neighbours]
            look = None if prior is None else prior.log_probabilities(labels, n_classes)
            moved = np.empty_like(labels)
            for start in range(0, len(labels), _ROWS):
                rows = slice(start, min(start + _ROWS, len(labels)))
                score = np.zeros((rows.stop - rows.start, n_classes), dtype=np.float32)
                for pairs, log in zip(neighbours, following, strict=True):
                    counts = _class_counts(labels, n_classes, pairs, rows)
                    score += counts @ log.T
                if look is not None:
                    score += _SHAPE_WEIGHT * look.rows(rows)
                moved[rows] = score.argmax(axis=1)
            labels = moved
    return labels


def _log_following(labels: Int64Array, n_classes: int, pairs: NeighbourCounts) -> Float32Array:
    """Return log p(c' | c), `(C, C)`, smoothed towards p(c')."""
    keys = labels[pairs.first] * n_classes + labels[pairs.second]
    counts = np.bincount(keys, pairs.counts, n_classes * n_classes).reshape(n_classes, n_classes)
    share = (counts.sum(axis=0) + 1e-3) / (counts.sum() + 1e-3 * n_classes)
    total = counts.sum(axis=1, keepdims=True) + _PSEUDO_COUNT
    following = np.log((counts + _PSEUDO_COUNT * share) / total)
    return np.asarray(following, dtype=np.float32)


def _class_counts(
    labels: Int64Array, n_classes: int, pairs: NeighbourCounts, rows: slice
) -> Float32Array:
    """Return n(w, c') of the tokens w in rows, `(n_rows, C)`."""
    start, stop = np.searchsorted(pairs.first, [rows.start, rows.stop])
    keys = (pairs.first[start:stop] - rows.start) * n_classes + labels[pairs.second[start:stop]]
    size = (rows.stop - rows.start) * n_classes
    counts = np.bincount(keys, pairs.counts[start:stop], size).astype(np.float32)
    return np.asarray(counts.reshape(-1, n_classes))
