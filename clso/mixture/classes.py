"""Token classes: maps that merge tokens which stand in similar contexts, or look alike.

Notation: V tokens; a class map gives each of them a class, `(V,)` integers from 0. Names:

    k128    128 classes of tokens by their neighbours on both sides
    s64     by the tokens after them;    p64    by the tokens before them
    k128.1  another clustering of the same kind (.2, .3, ...), from another random start
    shape   by the text of the token: leading space, capitals, digits, punctuation, suffix
    letters by the letters of the token in lower case; class 0 has the tokens with other signs

A rare token tends to the class of tokens that look like it. A token that does not occur in the
text joins the likeliest class of its look; without the texts of the tokens, all tokens that do not
occur share one class.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final, NamedTuple

import numpy as np

from clso.counting import TokenStream, count_targets
from clso.errors import ConfigError
from clso.mixture.arrays import Float32Array, UnsignedArray, narrow
from clso.mixture.clustering import cluster, exchange
from clso.mixture.neighbours import NeighbourCounts, neighbour_vectors
from clso.mixture.shapes import TokenShapes
from clso.scoring import Int64Array

__all__ = ["check_class_map", "fit_class_maps"]

_BY_TEXT: Final = ("shape", "letters")
_IS_WORD: Final = re.compile(rb"[A-Za-z\x80-\xff]+").fullmatch
_NAME: Final = re.compile(r"([ksp])([0-9]{1,5})(?:\.([0-9]{1,3}))?")
_REMEDY: Final = "name class maps as k128, s64, p64, k128.1, shape or letters"
_OFFSETS: Final[Mapping[str, tuple[int, ...]]] = {
    "k": (-2, -1, 1, 2),
    "s": (1,),
    "p": (-1,),
}


class _ClassMapName(NamedTuple):
    """The parsed name of a class map.

    Attributes:
        kind: `k`, `s`, `p`, `shape` or `letters`.
        n_classes: the number of classes; 0 where the texts of the tokens decide it.
        replicate: which of several clusterings of the same kind.
    """

    kind: str
    n_classes: int = 0
    replicate: int = 0

    @classmethod
    def parse(cls, name: str) -> _ClassMapName:
        """Read a name.

        Raises:
            ConfigError: it is not written as this module says.
        """
        if name in _BY_TEXT:
            return cls(name)
        match = _NAME.fullmatch(name)
        if match is None:
            raise ConfigError(f"{name!r} is no class map", remedy=_REMEDY)
        n_classes = int(match[2])
        if not 2 <= n_classes <= 65_535:
            raise ConfigError(
                f"class map {name} has {n_classes} classes, expected 2 to 65,535", remedy=_REMEDY
            )
        return cls(match[1], n_classes, int(match[3] or 0))


def check_class_map(name: str) -> None:
    """Check that a name is one of those that this module describes.

    Raises:
        ConfigError: it is not.
    """
    _ClassMapName.parse(name)


def fit_class_maps(
    streams: Sequence[TokenStream],
    vocab_size: int,
    names: Sequence[str],
    *,
    seed: int,
    token_texts: Sequence[bytes] | None = None,
) -> dict[str, UnsignedArray]:
    """Return class maps by name, each `(V,)` in the smallest unsigned type.

    The same text, seed and names give the same maps; a map does not depend on the other names.
    The text of this module describes the names. `shape` and `letters` need `token_texts`, the bytes
    that each of the V tokens stands for.

    Raises:
        ConfigError: a name is wrong, `shape` has no token texts, or their number is not V.
    """
    parsed = {name: _ClassMapName.parse(name) for name in names}
    by_text = [name for name, map_name in parsed.items() if map_name.kind in _BY_TEXT]
    if token_texts is None and by_text:
        raise ConfigError(f"the class map {by_text[0]} needs the texts of the tokens")
    if token_texts is not None and len(token_texts) != vocab_size:
        raise ConfigError(f"there are {len(token_texts):,} token texts, expected {vocab_size:,}")
    shapes = None if token_texts is None else TokenShapes(token_texts)
    clusterings = _Clusterings(streams, vocab_size, shapes, seed)
    maps: dict[str, UnsignedArray] = {}
    for name, map_name in parsed.items():
        if shapes is not None and map_name.kind == "shape":
            classes = shapes.class_map
        elif token_texts is not None and map_name.kind == "letters":
            classes = _letters(token_texts)
        else:
            classes = clusterings.classes(map_name)
        _, without_gaps = np.unique(classes, return_inverse=True)
        maps[name] = narrow(without_gaps)
    return maps


def _letters(token_texts: Sequence[bytes]) -> Int64Array:
    """Return a number for each different word in lower case, `(V,)`; 0: the token is no word.

    Bytes beyond ASCII count as letters: nearly all of them are parts of letters.
    """
    numbers: dict[bytes, int] = {}
    return np.array(
        [
            numbers.setdefault(text.lower(), len(numbers) + 1) if _IS_WORD(text) else 0
            for text in token_texts
        ]
    )


class _Clusterings:
    """What the clusterings of one text share: counts, neighbours and vectors."""

    def __init__(
        self,
        streams: Sequence[TokenStream],
        vocab_size: int,
        shapes: TokenShapes | None,
        seed: int,
    ) -> None:
        self._streams = streams
        self._vocab_size = vocab_size
        self._shapes = shapes
        self._seed = seed
        # the first token of a stream is no target, but has neighbours
        counts = count_targets(streams, vocab_size)
        for stream in streams:
            counts[np.asarray(stream.tokens(0, 1)).astype(np.int64)] += 1
        self._seen = np.flatnonzero(counts)
        self._counts = counts[self._seen]
        self._neighbours: dict[int, NeighbourCounts] = {}
        self._vectors: dict[str, Float32Array] = {}

    def classes(self, name: _ClassMapName) -> Int64Array:
        """Return a clustering, `(V,)`; some class numbers may be unused."""
        if not len(self._seen):
            return np.zeros(self._vocab_size, dtype=np.int64)
        kind, n_classes, offsets = ord(name.kind), name.n_classes, _OFFSETS[name.kind]
        if name.kind not in self._vectors:
            rng = np.random.default_rng([self._seed, kind])
            self._vectors[name.kind] = neighbour_vectors(
                [self._neighbours_at(offset) for offset in offsets], self._counts, rng
            )
        rng = np.random.default_rng([self._seed, kind, n_classes, name.replicate])
        labels = cluster(self._vectors[name.kind], self._counts, n_classes, rng)
        sides = [self._neighbours_at(offset) for offset in offsets if abs(offset) == 1]
        if self._shapes is None:
            labels = exchange(labels, n_classes, sides, None)
            classes = np.full(self._vocab_size, n_classes)
        else:
            log_prior = partial(self._shapes.log_prior, self._seen, n_classes=n_classes)
            labels = exchange(labels, n_classes, sides, log_prior)
            classes = self._shapes.likeliest_classes(self._seen, labels, n_classes)
        classes[self._seen] = labels
        return classes

    def _neighbours_at(self, offset: int) -> NeighbourCounts:
        """Return the counts of each seen token with its neighbours at an offset."""
        if offset not in self._neighbours:
            self._neighbours[offset] = (
                NeighbourCounts.from_text(self._streams, self._seen, self._vocab_size, (offset,))
                if offset > 0
                else self._neighbours_at(-offset).reversed()
            )
        return self._neighbours[offset]
