"""From a grid of settings to the names of a library's basis functions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

from clso.floors import Unigram
from clso.mixture.counts import Element, Pattern
from clso.mixture.pointer import CacheName, GatedName, InductionName
from clso.mixture.specification import parse

__all__ = ["function_names"]


def function_names(grid: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the canonical names of all combinations, each once, in a fixed order.

    Args:
        grid: as the configuration's `mixture.library` section has it.

    Raises:
        ConfigError: a function spelled out in `functions` is none.
    """
    names = [
        Unigram.name,
        *_patterns(grid),
        *(
            CacheName(float(half_life), idf).name
            for half_life, idf in product(grid["cache_half_lives"], grid["cache_idf"])
        ),
        *(
            GatedName(classes, float(half_life), idf, power).name
            for classes, half_life, idf, power in product(
                grid["gated_maps"],
                grid["gated_half_lives"],
                grid["gated_idf"],
                grid["gated_powers"],
            )
        ),
        *(
            InductionName(length, decay).name
            for length, decay in product(grid["induction_lengths"], grid["induction_decays"])
        ),
        *(parse(name).name for name in grid["functions"]),
    ]
    return tuple(dict.fromkeys(names))


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
