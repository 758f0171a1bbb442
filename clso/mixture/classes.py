"""Token classes: maps that merge tokens which stand in like places, or look alike.

Notation: V tokens; a class map gives each of them a class, `(V,)` integers from 0. Names:

    k128    128 classes of tokens by their neighbours on both sides
    s64     by what follows them;    p64    by what stands before them
    k128.1  another clustering of the same kind (.2, .3, ...), from another start
    shape   by the token's text: leading space, capitals, digits, punctuation, suffix

Rare tokens lean to the class of those that look like them, and tokens never seen in the text go
there (without the tokens' texts: into a class of their own).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from clso.counting import TokenStream, count_targets
from clso.errors import ConfigError
from clso.mixture.clustering import (
    NeighbourCounts,
    cluster,
    count_neighbours,
    neighbour_vectors,
)
from clso.mixture.exchange import ShapePrior, exchange
from clso.mixture.shapes import COARSE, token_shapes
from clso.scoring import Int64Array

__all__ = ["ClassMapName", "fit_class_maps"]

ClassArray = npt.NDArray[np.unsignedinteger[Any]]

_NAME: Final = re.compile(r"([ksp])([0-9]{1,5})(?:\.([0-9]{1,3}))?")
_REMEDY: Final = "name class maps as k128, s64, p64, k128.1 or shape"
_OFFSETS: Final[Mapping[str, tuple[int, ...]]] = {
    "k": (-2, -1, 1, 2),
    "s": (1,),
    "p": (-1,),
}


@dataclass(frozen=True)
class ClassMapName:
    """A class map's name, parsed.

    Args:
        kind: `k`, `s`, `p` or `shape`.
        n_classes: how many classes; 0 for `shape`, which has as many as there are shapes.
        replicate: which of several clusterings of the kind.

    Raises:
        ConfigError: a setting is out of range.
    """

    kind: str
    n_classes: int = 0
    replicate: int = 0

    def __post_init__(self) -> None:
        if self.kind != "shape" and not 2 <= self.n_classes <= 65_535:
            raise ConfigError(
                f"class map {self} has {self.n_classes} classes, expected 2 to 65,535",
                remedy=_REMEDY,
            )

    def __str__(self) -> str:
        if self.kind == "shape":
            return "shape"
        return f"{self.kind}{self.n_classes}" + (f".{self.replicate}" if self.replicate else "")

    @classmethod
    def parse(cls, name: str) -> ClassMapName:
        """Read a name.

        Raises:
            ConfigError: it is not written as this module says.
        """
        if name == "shape":
            return cls("shape")
        written = _NAME.fullmatch(name)
        if written is None:
            raise ConfigError(f"{name!r} is no class map", remedy=_REMEDY)
        return cls(written[1], int(written[2]), int(written[3] or 0))


def fit_class_maps(
    streams: Sequence[TokenStream],
    vocab_size: int,
    names: Sequence[str],
    *,
    seed: int,
    token_texts: Sequence[bytes] | None = None,
) -> dict[str, ClassArray]:
    """Sort the tokens into classes, once per name.

    The same text, seed and names give the same maps; a map does not depend on the other names.

    Args:
        streams: the text whose neighbours are counted.
        vocab_size: V.
        names: which maps, as this module's text says.
        seed: of the clusterings' starts.
        token_texts: the bytes that each token stands for, `V` of them; `shape` needs them.

    Returns:
        The maps by name, `(V,)` in the smallest unsigned type.

    Raises:
        ConfigError: a name is wrong, or `shape` is asked for without texts, or there are not V.
    """
    parsed = {name: ClassMapName.parse(name) for name in names}
    if token_texts is None and any(map_name.kind == "shape" for map_name in parsed.values()):
        raise ConfigError("the class map shape needs the texts of the tokens")
    if token_texts is not None and len(token_texts) != vocab_size:
        raise ConfigError(f"there are {len(token_texts):,} token texts, expected {vocab_size:,}")
    shapes = None if token_texts is None else token_shapes(token_texts)
    text = _Text(streams, vocab_size, shapes, seed)
    maps: dict[str, ClassArray] = {}
    for name, wanted in parsed.items():
        if shapes is not None and wanted.kind == "shape":
            classes = shapes[COARSE]
        else:
            classes = text.classes(wanted)
        _, dense = np.unique(classes, return_inverse=True)
        maps[name] = dense.astype(np.min_scalar_type(int(dense.max(initial=0))))
    return maps


class _Text:
    """What the clusterings of one text share: counts, neighbours, vectors."""

    def __init__(
        self,
        streams: Sequence[TokenStream],
        vocab_size: int,
        shapes: Sequence[Int64Array] | None,
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
        self._prior = None if shapes is None else ShapePrior(shapes, self._seen)
        self._neighbours: dict[int, NeighbourCounts] = {}
        self._vectors: dict[str, npt.NDArray[np.float32]] = {}

    def classes(self, name: ClassMapName) -> Int64Array:
        """Return a clustering, `(V,)`; some numbers up to its number of classes may be unused."""
        if not len(self._seen):
            return np.zeros(self._vocab_size, dtype=np.int64)
        kind = ord(name.kind)
        if name.kind not in self._vectors:
            beside = [self._beside(offset) for offset in _OFFSETS[name.kind]]
            rng = np.random.default_rng([self._seed, kind])
            self._vectors[name.kind] = neighbour_vectors(beside, self._counts, rng)
        rng = np.random.default_rng([self._seed, kind, name.n_classes, name.replicate])
        labels = cluster(self._vectors[name.kind], self._counts, name.n_classes, rng)
        sides = [self._beside(offset) for offset in _OFFSETS[name.kind] if abs(offset) == 1]
        labels = exchange(labels, name.n_classes, sides, self._prior)
        if self._prior is None:
            classes = np.full(self._vocab_size, name.n_classes)
        else:
            classes = self._prior.unseen_classes(labels, name.n_classes)
        classes[self._seen] = labels
        return classes

    def _beside(self, offset: int) -> NeighbourCounts:
        """Return the pairs of each seen token with its neighbours at an offset."""
        if offset not in self._neighbours:
            if offset > 0:
                pairs = count_neighbours(self._streams, self._seen, self._vocab_size, offset)
            else:
                pairs = self._beside(-offset).turned()
            self._neighbours[offset] = pairs
        return self._neighbours[offset]
