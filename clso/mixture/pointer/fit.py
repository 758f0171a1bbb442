"""Pointers by name: fitted together, stored apart, scored with shared look-ups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from clso.analysis.floors import TokenStream
from clso.errors import ConfigError
from clso.mixture.function import FloatArray
from clso.mixture.pointer.base import Pointer, views
from clso.mixture.pointer.cache import Cache, ClassArray, Float32Array, Gated, class_lift
from clso.mixture.pointer.induction import Induction
from clso.mixture.pointer.names import CacheName, GatedName, PointerName, parse
from clso.scoring import Int64Array

__all__ = ["fit_pointers", "load_pointer", "pointer_probabilities"]

_CHUNK: Final = 1 << 22


def fit_pointers(
    names: Sequence[str | PointerName],
    streams: Sequence[TokenStream],
    unigram: FloatArray,
    class_maps: Mapping[str, ClassArray],
) -> list[Pointer]:
    """Make pointers, in the order of their names; those of a class map share its counts.

    Args:
        names: as `parse` reads them.
        streams: text that the class pairs are counted in; no pair spans two streams.
        unigram: p(y), `(V,)`; kept, not copied.
        class_maps: the class of each token, `(V,)` integers per name.

    Raises:
        ConfigError: a name is wrong, or its class map is missing or not `(V,)`.
    """
    lifts: dict[str, Float32Array] = {}

    def made(settings: PointerName) -> Pointer:
        if isinstance(settings, CacheName):
            return Cache(settings, unigram)
        if not isinstance(settings, GatedName):
            return Induction(settings, unigram)
        classes = _class_map(class_maps, settings.classes, len(unigram))
        if settings.classes not in lifts:
            lifts[settings.classes] = class_lift(count_class_pairs(streams, classes))
        return Gated(settings, unigram, classes, lifts[settings.classes])

    return [made(parse(name) if isinstance(name, str) else name) for name in names]


def count_class_pairs(streams: Sequence[TokenStream], classes: ClassArray) -> Int64Array:
    """Return how often each class follows each class, `(C, C)`."""
    n_classes = int(classes.max()) + 1
    pairs = np.zeros(n_classes * n_classes, dtype=np.int64)
    for stream in streams:
        for start in range(0, stream.n_tokens, _CHUNK):
            stop = min(start + _CHUNK, stream.n_tokens)
            seen = classes[stream.tokens(start, stop + 1)].astype(np.int64)
            pairs += np.bincount(seen[:-1] * n_classes + seen[1:], minlength=len(pairs))
    return pairs.reshape(n_classes, n_classes)


def load_pointer(spec: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> Pointer:
    """Make a stored pointer of any kind again.

    Raises:
        ConfigError: its name is no pointer's.
        ArtifactError: an array is missing or does not fit.
    """
    settings = parse(str(spec["name"]))
    if isinstance(settings, CacheName):
        return Cache.from_arrays(spec, arrays)
    if isinstance(settings, GatedName):
        return Gated.from_arrays(spec, arrays)
    return Induction.from_arrays(spec, arrays)


def pointer_probabilities(
    pointers: Sequence[Pointer], inputs: Int64Array, targets: Int64Array
) -> FloatArray:
    """Return p(target) of several pointers, `(n_pointers, B, T)`.

    The same as each pointer's `target_probabilities`, in less time.
    """
    probabilities = np.empty((len(pointers), *inputs.shape))
    for blocks, view in views(inputs, targets):
        for row, pointer in zip(probabilities, pointers, strict=True):
            row[blocks] = pointer.view_probabilities(view)
    return probabilities


def _class_map(class_maps: Mapping[str, ClassArray], name: str, vocab_size: int) -> ClassArray:
    if name not in class_maps:
        raise ConfigError(
            f"there is no class map {name!r}, expected one of {sorted(class_maps)}",
            remedy="add the classes to the library, or leave the pointer out",
        )
    classes = class_maps[name]
    if classes.shape != (vocab_size,):
        raise ConfigError(
            f"class map {name!r} is {classes.shape}, expected ({vocab_size},)",
            remedy="fit the classes with the same vocabulary",
        )
    return classes
