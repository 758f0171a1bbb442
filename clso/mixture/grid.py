"""From a grid of settings to the names of a library's basis functions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

from clso.errors import ConfigError
from clso.mixture.counts import Element, Pattern
from clso.mixture.pointer import CacheName, GatedName, InductionName, parse

__all__ = ["UNIGRAM", "canonical_name", "class_maps_of", "function_names"]

UNIGRAM = "unigram"


def function_names(grid: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the canonical names of all combinations, each once, in a fixed order.

    Args:
        grid: as the configuration's `mixture.library` section has it.

    Raises:
        ConfigError: a function spelled out in `functions` is none.
    """
    names = [
        UNIGRAM,
        *_patterns(grid),
        *(
            str(CacheName(float(half_life), idf))
            for half_life, idf in product(grid["cache_half_lives"], grid["cache_idf"])
        ),
        *(
            str(GatedName(classes, float(half_life), idf, power))
            for classes, half_life, idf, power in product(
                grid["gated_maps"],
                grid["gated_half_lives"],
                grid["gated_idf"],
                grid["gated_powers"],
            )
        ),
        *(
            str(InductionName(length, decay))
            for length, decay in product(grid["induction_lengths"], grid["induction_decays"])
        ),
        *(canonical_name(name) for name in grid["functions"]),
    ]
    return tuple(dict.fromkeys(names))


def canonical_name(name: str) -> str:
    """Return a function's name as it is recorded.

    Raises:
        ConfigError: it is no count, pointer or unigram.
    """
    compact = name.replace(" ", "")
    if compact == UNIGRAM:
        return UNIGRAM
    if compact.startswith("kn("):
        return Pattern.parse(compact).name
    try:
        return str(parse(compact))
    except ConfigError as error:
        raise ConfigError(
            f"mixture.library.functions: {error.message}",
            remedy="write kn(1,2), kn(1:k64->k64), cache(32), gated(k64), induction(2) or unigram",
        ) from error


def class_maps_of(names: Sequence[str]) -> tuple[str, ...]:
    """Return the class maps that functions need, sorted."""
    needed: set[str] = set()
    for name in names:
        if name.startswith("kn("):
            needed |= Pattern.parse(name).class_names
        elif name != UNIGRAM:
            needed |= parse(name).class_names
    return tuple(sorted(needed))


def _patterns(grid: Mapping[str, Any]) -> Iterator[str]:
    for offsets in grid["patterns"]:
        yield Pattern(tuple(Element(offset) for offset in offsets)).name
    targets = [(classes, None) for classes in grid["class_maps"]]
    targets += [(classes, classes) for classes in grid["class_targets"]]
    for (classes, target), offsets, exact in product(
        targets, grid["class_patterns"], grid["exact"]
    ):
        # all places exact and no class to predict would be a pattern over tokens
        if exact < len(offsets) + (target is not None):
            elements = (
                Element(offset, None if place < exact else classes)
                for place, offset in enumerate(offsets)
            )
            yield Pattern(tuple(elements), target).name
