r"""The text that a library's functions are fitted on, and what several functions count in it.

Notation: V tokens; a class map gives each token a class. For two class maps, n(c, c') is how often
a token of class c' (second map) stands a fixed offset after a token of class c (first map).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar, cast

import numpy as np
import numpy.typing as npt

from clso.counting import FloatArray, TokenStream, count_pairs
from clso.errors import ConfigError
from clso.floors import Unigram
from clso.mixture.arrays import Float32Array, UnsignedArray, narrow
from clso.progress import SILENT, Reporter
from clso.scoring import Int64Array

__all__ = ["CLASS_MAP_NAME", "DEFAULT_MEMORY_BYTES", "FittingText", "FunctionSettings", "HeldOut"]

DEFAULT_MEMORY_BYTES: Final = 2 << 30
CLASS_MAP_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")
_CHUNK: Final = 1 << 22
_MOST_CLASSES: Final = (1 << 32) - 1

T = TypeVar("T")


class HeldOut(Protocol):
    """Text that no function counts."""

    def spread_blocks(self, tokens: int | None) -> tuple[Int64Array, Int64Array]:
        """Return inputs and targets of whole blocks, `(B, T)`, spread over the text.

        They have about this many targets; `None`: all.
        """


class FunctionSettings(Protocol):
    """The parsed name of a function."""

    @property
    def name(self) -> str:
        """The canonical name; two functions are equal exactly if their names are equal."""

    @property
    def class_names(self) -> frozenset[str]:
        """The class maps that the function needs."""


class FittingText:
    """A text with its token classes; what several functions count in it is counted once.

    Args:
        streams: the text; no count spans two streams.
        class_maps: the class of each token, `(V,)` integers from 0, by the name of the map.
        wanted: all functions that are fitted on the text.
        workspace: a folder for temporary files when the text is large; `None`: all in memory.
        memory_bytes: the working memory for sorting n-grams.
        held_out: text on which functions choose a few numbers; `None`: they have default values.
        kept: such numbers that an earlier fit has chosen, by the name of the function.
    """

    def __init__(
        self,
        streams: Sequence[TokenStream],
        vocab_size: int,
        class_maps: Mapping[str, npt.NDArray[Any]],
        *,
        wanted: Sequence[FunctionSettings] = (),
        workspace: Path | None = None,
        memory_bytes: int = DEFAULT_MEMORY_BYTES,
        reporter: Reporter = SILENT,
        held_out: HeldOut | None = None,
        kept: Mapping[str, FloatArray] | None = None,
    ) -> None:
        self.streams = streams
        self.vocab_size = vocab_size
        self.class_maps = class_maps
        self.wanted = wanted
        self.workspace = workspace
        self.memory_bytes = memory_bytes
        self.reporter = reporter
        self.held_out = held_out
        self.kept = kept or {}
        self._counted: dict[Hashable, object] = {}

    @cached_property
    def unigram(self) -> Unigram:
        """The smoothed frequencies of the tokens."""
        return Unigram.fit(self.streams, self.vocab_size)

    def class_map(self, name: str) -> UnsignedArray:
        """Return the class of each token, `(V,)`, in the smallest unsigned type.

        Raises:
            ConfigError: there is no such map, or it is not an integer from 0 for each token.
        """
        if name not in self.class_maps:
            raise ConfigError(
                f"there is no class map {name!r}, expected one of {sorted(self.class_maps)}",
                remedy="add the classes to the library, or leave the function out",
            )
        classes = np.asarray(self.class_maps[name])
        if classes.shape != (self.vocab_size,) or classes.dtype.kind not in "iu":
            raise ConfigError(
                f"class map {name!r} is {classes.dtype} {classes.shape}, expected integers "
                f"({self.vocab_size},)",
                remedy="fit the classes with the same vocabulary",
            )
        if int(classes.min()) < 0 or int(classes.max()) >= _MOST_CLASSES:
            raise ConfigError(
                f"class map {name!r} has classes {classes.min()} to {classes.max()}, expected "
                f"0 and up"
            )
        return self.once(("classes", name), lambda: narrow(classes))

    def lift(self, first: str, second: str, offset: int) -> Float32Array:
        r"""Return how much likelier a class is near a given class than anywhere, `(C, C')`.

        .. math::
            \mathrm{lift}(c' \mid c) = \frac{p(c' \mid c) + \epsilon}{p(c') + \epsilon}, \qquad
            p(c' \mid c) = \frac{n(c, c') + m \, p(c')}{n(c) + m}, \qquad
            m = 10, \epsilon = 10^{-4}

        `first` is the class map of the earlier token, with C classes, `second` that of the later
        one, with C' classes; at `offset` 1 they are neighbours.
        """
        return self.once(
            ("lift", first, second, offset),
            lambda: _lift(self._class_pairs(self.class_map(first), self.class_map(second), offset)),
        )

    def successors(self, name: str) -> tuple[Int64Array, npt.NDArray[np.uint32]]:
        """Return the pairs of a token x and a next class c, sorted keys `x * C + c`, and counts."""
        return self.once(("successors", name), lambda: self._count_successors(self.class_map(name)))

    def once(self, key: Hashable, count: Callable[[], T]) -> T:
        """Return what `count` returns; it is called only for the first function that asks."""
        if key not in self._counted:
            self._counted[key] = count()
        return cast(T, self._counted[key])

    def _class_pairs(self, first: UnsignedArray, second: UnsignedArray, offset: int) -> Int64Array:
        """Return n(c, c'), `(C, C')`."""
        n_first, n_second = int(first.max()) + 1, int(second.max()) + 1
        pairs = np.zeros(n_first * n_second, dtype=np.int64)
        for stream in self.streams:
            n_pairs = stream.n_tokens + 1 - offset
            for start in range(0, n_pairs, _CHUNK):
                stop = min(start + _CHUNK, n_pairs)
                tokens = np.asarray(stream.tokens(start, stop + offset))
                keys = first[tokens[:-offset]].astype(np.int64) * n_second + second[tokens[offset:]]
                pairs += np.bincount(keys, minlength=len(pairs))
        return pairs.reshape(n_first, n_second)

    def _count_successors(
        self, classes: UnsignedArray
    ) -> tuple[Int64Array, npt.NDArray[np.uint32]]:
        keys, counts = count_pairs(self.streams, self.vocab_size)
        tokens, successors = np.divmod(keys, self.vocab_size)
        class_keys = tokens * (int(classes.max()) + 1) + classes[successors].astype(np.int64)
        order = np.argsort(class_keys, kind="stable")
        class_keys = class_keys[order]
        starts = np.flatnonzero(np.diff(class_keys, prepend=-1))
        summed = np.add.reduceat(counts[order], starts) if len(starts) else counts
        return class_keys[starts], np.asarray(summed, dtype=np.uint32)


def _lift(pairs: Int64Array) -> Float32Array:
    counts = pairs.astype(np.float64)
    after = counts.sum(axis=0)
    share = after / max(after.sum(), 1.0)
    following = (counts + 10 * share) / (counts.sum(axis=1, keepdims=True) + 10)
    lift = (following + 1e-4) / (share + 1e-4)
    return np.asarray(lift, dtype=np.float32)
