"""Divisions of contexts into buckets, each with weights of its own.

A *bucketing* is a product of features that are known before the next token is: how often the
last tokens were seen, whether they repeat in this block, how far into the block they stand.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, Literal, get_args

import numpy as np

from clso.mixture.history import LONGEST, History
from clso.scoring import Int64Array

__all__ = ["BUCKETINGS", "Bucketing", "assign", "n_buckets"]

_COUNT_LEVELS = 8
_POSITION_STEPS = (4, 16, 64)


def _count_level(length: int) -> Callable[[History], Int64Array]:
    def level(history: History) -> Int64Array:
        # 0, 1, 2, 3-4, 5-8, ... : the logarithm of the count, rounded up
        logs = np.ceil(np.log2(history.seen[length - 1] + 1)).astype(np.int64)
        return np.minimum(logs, _COUNT_LEVELS - 1)

    return level


def _longest_seen(history: History) -> Int64Array:
    longest = np.zeros(history.match.shape, dtype=np.int64)
    for length, seen in enumerate(history.seen, 1):
        longest[seen > 0] = length
    return longest


def _position(history: History) -> Int64Array:
    return np.digitize(history.position, _POSITION_STEPS).astype(np.int64)


# How many values a feature takes, and the feature.
_FEATURES: Final[dict[str, tuple[int, Callable[[History], Int64Array]]]] = {
    "count1": (_COUNT_LEVELS, _count_level(1)),
    "count2": (_COUNT_LEVELS, _count_level(2)),
    "longest": (LONGEST + 1, _longest_seen),
    "match": (LONGEST + 1, lambda history: history.match),
    "position": (len(_POSITION_STEPS) + 1, _position),
}

Bucketing = Literal[
    "none",
    "position",
    "match",
    "longest",
    "count1",
    "count2",
    "match*position",
    "longest*match",
    "count1*match",
    "count2*match",
    "longest*match*position",
    "count1*match*position",
    "count1*count2*match",
    "count1*count2*match*position",
]
"""Every bucketing by name: features joined by `*`."""

BUCKETINGS: Final[tuple[Bucketing, ...]] = get_args(Bucketing)


def _parts(bucketing: str) -> list[tuple[int, Callable[[History], Int64Array]]]:
    return [] if bucketing == "none" else [_FEATURES[name] for name in bucketing.split("*")]


def n_buckets(bucketing: str) -> int:
    """Return the number of buckets, empty ones included."""
    return math.prod(size for size, _ in _parts(bucketing))


def assign(bucketing: str, history: History) -> Int64Array:
    """Return the bucket of every context, `(B, T)`, 0 to `n_buckets` - 1."""
    buckets = np.zeros(history.match.shape, dtype=np.int64)
    for size, feature in _parts(bucketing):
        buckets = buckets * size + feature(history)
    return buckets
