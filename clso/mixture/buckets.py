"""Divisions of contexts into buckets. Every bucket has mixture weights of its own.

A *bucketing* is a product of features (`clso.mixture.history`) that are known before the next
token: how often the last tokens occur in the counted text, how many of them repeat earlier tokens
of the block, the position in the block, and the class of the last token. Contexts with equal
features share a bucket.

`longest7` and `match7` look at up to seven tokens, `longest` and `match` at up to three. The former
are for small vocabularies, such as single bytes: seven tokens of larger ones cannot be numbered.

A *tree* of bucketings, such as `count1*count2>match>k64`, divides every bucket of a level further.
Its buckets are those of the last level; their weights start from those of the levels before
(`clso.mixture.weights`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Final, Literal, NamedTuple, get_args

import numpy as np

from clso.errors import ConfigError
from clso.mixture.history import DEEPEST, LONGEST, History
from clso.scoring import Int64Array

__all__ = ["BUCKETINGS", "Bucketing", "BucketingName", "DeepBucketingName"]

_COUNT_LEVELS = 8
_POSITION_STEPS = (4, 16, 64)
_MOST_BUCKETS: Final = 1_000_000  # each has weights of its own, in memory and in every model

BucketingName = Literal[
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
"""The name of a bucketing: its features, joined by `*`."""

DeepBucketingName = Literal[
    "longest7",
    "match7",
    "longest7*match7",
    "longest7*match7*position",
]
"""The name of a bucketing that looks at up to seven tokens."""

BUCKETINGS: Final[tuple[BucketingName, ...]] = get_args(BucketingName)


class Bucketing:
    """A division of contexts into buckets: features joined by `*`, levels by `>`, or `none`.

    A feature is one of `count1`, `count2`, `longest`, `match`, `position`, `longest7`, `match7`, or
    a class map, such as `k64`, whose classes the last token is seen through.

    Attributes:
        branching: into how many buckets each level divides a bucket of the level before.
        class_names: the class maps that the features need.

    Raises:
        ConfigError: no such feature, or too many buckets.
    """

    def __init__(self, name: str) -> None:
        self._features: list[_Feature] = []
        branching = []
        for level in name.split(">"):
            features = [] if level == "none" else [_feature(word) for word in level.split("*")]
            branching.append(math.prod(feature.n_values for feature in features))
            self._features += features
        self.branching = tuple(branching)
        if self.n_buckets > _MOST_BUCKETS:
            raise ConfigError(
                f"the bucketing {name!r} has {self.n_buckets:,} buckets, expected "
                f"{_MOST_BUCKETS:,} at most",
                remedy="leave a feature or a level out",
            )
        self.class_names = frozenset(
            word for word in re.split(r"[*>]", name) if _CLASS_MAP.fullmatch(word)
        )

    @property
    def longest(self) -> int:
        """The length of the longest context whose counts the features need."""
        return max((feature.longest for feature in self._features), default=LONGEST)

    @property
    def n_buckets(self) -> int:
        """The number of buckets of the last level, with the empty ones."""
        return math.prod(self.branching)

    def assign(self, history: History) -> Int64Array:
        """Return the bucket of every context, `(B, T)`, 0 to `n_buckets` - 1."""
        buckets = np.zeros(history.match.shape, dtype=np.int64)
        for feature in self._features:
            buckets = buckets * feature.n_values + feature.values(history)
        return buckets


class _Feature(NamedTuple):
    """A feature of contexts with values 0 to `n_values` - 1; `longest`: see `Bucketing.longest`."""

    n_values: int
    values: Callable[[History], Int64Array]
    longest: int = LONGEST


def _count_level(length: int) -> Callable[[History], Int64Array]:
    def level(history: History) -> Int64Array:
        # counts 0, 1, 2-3, 4-7, 8-15, ...: the logarithm of the count + 1, rounded up
        logs = np.ceil(np.log2(history.seen[length - 1] + 1)).astype(np.int64)
        return np.minimum(logs, _COUNT_LEVELS - 1)

    return level


def _longest_seen(most: int) -> Callable[[History], Int64Array]:
    def longest_seen(history: History) -> Int64Array:
        longest = np.zeros(history.match.shape, dtype=np.int64)
        for length, seen in enumerate(history.seen[:most], 1):
            longest[seen > 0] = length
        return longest

    return longest_seen


def _match(most: int) -> Callable[[History], Int64Array]:
    return lambda history: np.minimum(history.match, most)


def _position(history: History) -> Int64Array:
    return np.digitize(history.position, _POSITION_STEPS).astype(np.int64)


def _feature(name: str) -> _Feature:
    if name in _FEATURES:
        return _FEATURES[name]
    class_map = _CLASS_MAP.fullmatch(name)
    if class_map is None:
        raise ConfigError(
            f"{name!r} is no feature of contexts",
            remedy=f"write one of {', '.join(_FEATURES)}, or a class map as k64",
        )
    n_classes = int(class_map[1])
    # without the texts of the tokens, those that do not occur are a class more
    return _Feature(n_classes, lambda history: np.minimum(history.classes[name], n_classes - 1))


_CLASS_MAP: Final = re.compile(r"[ksp]([1-9][0-9]{0,2})(?:\.[0-9]+)?")

_FEATURES: Final = {
    "count1": _Feature(_COUNT_LEVELS, _count_level(1)),
    "count2": _Feature(_COUNT_LEVELS, _count_level(2)),
    "longest": _Feature(LONGEST + 1, _longest_seen(LONGEST)),
    "longest7": _Feature(DEEPEST + 1, _longest_seen(DEEPEST), DEEPEST),
    "match": _Feature(LONGEST + 1, _match(LONGEST)),
    "match7": _Feature(DEEPEST + 1, _match(DEEPEST), DEEPEST),
    "position": _Feature(len(_POSITION_STEPS) + 1, _position),
}
