"""Pointers by name: fitted together, stored apart, scored with shared look-ups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from clso.counting import TokenStream
from clso.errors import ConfigError
from clso.mixture.function import FloatArray
from clso.mixture.pointer.base import BlockFunction, views
from clso.mixture.pointer.cache import Cache, Gated
from clso.mixture.pointer.class_counts import (
    ClassArray,
    Float32Array,
    class_lift,
    count_class_pairs,
    count_successors,
)
from clso.mixture.pointer.induction import Induction
from clso.mixture.pointer.names import (
    CacheName,
    GatedName,
    InductionName,
    PointerName,
    ProductName,
    parse,
)
from clso.mixture.pointer.product import EXPONENTS, Product
from clso.scoring import Int64Array

__all__ = ["fit_pointers", "load_pointer", "pointer_probabilities"]


def fit_pointers(
    names: Sequence[str | PointerName],
    streams: Sequence[TokenStream],
    unigram: FloatArray,
    class_maps: Mapping[str, ClassArray],
) -> list[BlockFunction]:
    """Make functions of the block, in the order of their names; they share what they count.

    Args:
        names: as `parse` reads them.
        streams: text that classes are counted in; no pair spans two streams.
        unigram: p(y), `(V,)`; kept, not copied.
        class_maps: the class of each token, `(V,)` integers per name.

    Raises:
        ConfigError: a name is wrong, or its class map is missing or not `(V,)`.
    """
    counts = _Counts(streams, class_maps, len(unigram))

    def made(settings: PointerName) -> BlockFunction:
        if isinstance(settings, CacheName):
            return Cache(settings, unigram)
        if isinstance(settings, InductionName):
            return Induction(settings, unigram)
        classes = counts.class_map(settings.classes)
        if isinstance(settings, GatedName):
            lift = counts.lift(settings.classes, settings.classes, 1)
            return Gated(settings, unigram, classes, lift)
        via = counts.class_map(settings.via)
        lifts = [counts.lift(settings.via, settings.classes, offset) for offset in EXPONENTS]
        successors = counts.successors(settings.classes)
        return Product(settings, unigram, classes, via, successors, lifts)

    return [made(parse(name) if isinstance(name, str) else name) for name in names]


class _Counts:
    """What is counted once for several functions."""

    def __init__(
        self, streams: Sequence[TokenStream], class_maps: Mapping[str, ClassArray], vocab_size: int
    ) -> None:
        self._streams = streams
        self._class_maps = class_maps
        self._vocab_size = vocab_size
        self._lifts: dict[tuple[str, str, int], Float32Array] = {}
        self._successors: dict[str, tuple[Int64Array, npt.NDArray[np.uint32]]] = {}

    def class_map(self, name: str) -> ClassArray:
        if name not in self._class_maps:
            raise ConfigError(
                f"there is no class map {name!r}, expected one of {sorted(self._class_maps)}",
                remedy="add the classes to the library, or leave the pointer out",
            )
        classes = self._class_maps[name]
        if classes.shape != (self._vocab_size,):
            raise ConfigError(
                f"class map {name!r} is {classes.shape}, expected ({self._vocab_size},)",
                remedy="fit the classes with the same vocabulary",
            )
        return classes

    def lift(self, first: str, second: str, offset: int) -> Float32Array:
        key = first, second, offset
        if key not in self._lifts:
            maps = self.class_map(first), self.class_map(second)
            self._lifts[key] = class_lift(count_class_pairs(self._streams, *maps, offset))
        return self._lifts[key]

    def successors(self, name: str) -> tuple[Int64Array, npt.NDArray[np.uint32]]:
        if name not in self._successors:
            self._successors[name] = count_successors(self._streams, self.class_map(name))
        return self._successors[name]


def load_pointer(spec: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> BlockFunction:
    """Make a stored function of any kind again.

    Raises:
        ConfigError: its name is no pointer's.
        ArtifactError: an array is missing or does not fit.
    """
    settings = parse(str(spec["name"]))
    if isinstance(settings, CacheName):
        return Cache.from_arrays(spec, arrays)
    if isinstance(settings, GatedName):
        return Gated.from_arrays(spec, arrays)
    if isinstance(settings, ProductName):
        return Product.from_arrays(spec, arrays)
    return Induction.from_arrays(spec, arrays)


def pointer_probabilities(
    pointers: Sequence[BlockFunction], inputs: Int64Array, targets: Int64Array
) -> FloatArray:
    """Return p(target) of several functions, `(n_functions, B, T)`.

    The same as each one's `target_probabilities`, in less time.
    """
    probabilities = np.empty((len(pointers), *inputs.shape))
    for blocks, view in views(inputs, targets):
        for row, pointer in zip(probabilities, pointers, strict=True):
            row[blocks] = pointer.view_probabilities(view)
    return probabilities
