"""The section `mixture`: a grid of basis functions, and how genomes pick from it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from clso.errors import ConfigError
from clso.floors import Unigram
from clso.mixture.buckets import BUCKETINGS, Bucketing, BucketingName, DeepBucketingName
from clso.mixture.classes import check_class_map
from clso.mixture.counts import Element, Pattern
from clso.mixture.pointer import CacheName, GatedName, InductionName
from clso.mixture.specification import FunctionSpec
from clso.section import Count, NotNegative, Positive, Section

__all__ = ["FunctionGridSettings", "MixtureSettings"]

_Offsets = Annotated[
    tuple[Annotated[int, Field(ge=1, le=64)], ...], Field(min_length=1, max_length=16)
]
_ClassMap = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.]*$")]
_HalfLife = Positive | Literal["inf"]


class FunctionGridSettings(Section):
    """The grid of basis functions of a library; every combination is one function.

    Attributes:
        patterns: context offsets of Kneser-Ney counts over tokens, most important first.
        class_maps: token classes, such as `k64`: 64 clusters by the neighbours of tokens.
        class_patterns: context offsets of counts over classes, combined with every class map.
        exact: numbers of leading offsets of a class pattern that are seen as tokens, not classes.
            All offsets may be tokens only if the next token is predicted by its class.
        class_targets: class maps whose patterns also exist in a version that predicts the class
            of the next token first.
        cache_half_lives: tokens after which the weight in a recency cache has halved; `inf`: never.
        cache_idf: powers of the frequency of a token by which its weight in a cache is divided.
        gated_maps: class maps of caches that are gated by class.
        gated_half_lives: as `cache_half_lives`, for gated caches.
        gated_idf: as `cache_idf`, for gated caches.
        gated_powers: powers of the gate.
        induction_lengths: numbers of last tokens that must occur together earlier in the block.
        induction_decays: weights of an occurrence relative to the next later occurrence.
        functions: names of further functions, such as `kn(1,2:k64,3:k32)` or `product(k64)`.
    """

    patterns: tuple[_Offsets, ...] = (
        (1,),
        (1, 2),
        (1, 2, 3),
        (1, 2, 3, 4),
        (2,),
        (3,),
        (4,),
        (5,),
        (1, 3),
        (1, 4),
        (1, 5),
        (2, 3),
        (2, 1),
        (3, 1),
        (1, 2, 4),
        (1, 3, 2),
        (1, 3, 4),
        (2, 3, 4),
        (2, 3, 1),
    )
    class_maps: tuple[_ClassMap, ...] = ("k32", "k64", "k128", "k128.1", "k256", "s64", "s128")
    class_patterns: tuple[_Offsets, ...] = ((1,), (1, 2), (1, 2, 3), (1, 2, 3, 4))
    exact: tuple[Annotated[int, Field(ge=0, le=8)], ...] = (0, 1, 2)
    class_targets: tuple[_ClassMap, ...] = ("k32", "k64", "k128", "k128.1", "k256", "s64", "s128")
    cache_half_lives: tuple[_HalfLife, ...] = (4.0, 8.0, 16.0, 32.0, 64.0, 128.0, "inf")
    cache_idf: tuple[NotNegative, ...] = (0.0, 0.3, 0.6)
    gated_maps: tuple[_ClassMap, ...] = ("k64", "k128", "k256", "s128")
    gated_half_lives: tuple[_HalfLife, ...] = ("inf",)
    gated_idf: tuple[NotNegative, ...] = (0.0,)
    gated_powers: tuple[Positive, ...] = (0.7, 1.0)
    induction_lengths: tuple[Annotated[int, Field(ge=1, le=16)], ...] = (1, 2, 3)
    induction_decays: tuple[Annotated[float, Field(gt=0.0, le=1.0)], ...] = (0.8, 0.9, 0.98, 1.0)
    functions: tuple[str, ...] = (
        "product(k256,via=k128)",
        "product(k128.1)",
        "product(k64)",
        "product(s128)",
        "loglinear(k128)",
    )

    @field_validator("functions")
    @classmethod
    def _functions_known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        wrong = []
        for name in names:
            try:
                FunctionSpec.parse(name)
            except ConfigError as error:
                wrong.append(error.message)
        if wrong:
            raise ValueError("; ".join(wrong))
        return names

    def function_names(self) -> tuple[str, ...]:
        """Return the canonical names of all combinations, each once, in a fixed order."""
        names = [
            Unigram.name,
            *self._pattern_names(),
            *(
                CacheName(float(half_life), idf).name
                for half_life, idf in product(self.cache_half_lives, self.cache_idf)
            ),
            *(
                GatedName(classes, float(half_life), idf, power).name
                for classes, half_life, idf, power in product(
                    self.gated_maps, self.gated_half_lives, self.gated_idf, self.gated_powers
                )
            ),
            *(
                InductionName(length, decay).name
                for length, decay in product(self.induction_lengths, self.induction_decays)
            ),
            *(FunctionSpec.parse(name).name for name in self.functions),
        ]
        return tuple(dict.fromkeys(names))

    def needed_class_maps(self) -> tuple[str, ...]:
        """Return the class maps that the functions need, sorted."""
        specs = map(FunctionSpec.parse, self.function_names())
        return tuple(sorted({name for spec in specs for name in spec.class_names}))

    def _pattern_names(self) -> Iterator[str]:
        for offsets in self.patterns:
            yield Pattern(tuple(Element(offset) for offset in offsets)).name
        targets: list[tuple[str, str | None]] = [(classes, None) for classes in self.class_maps]
        targets += [(classes, classes) for classes in self.class_targets]
        for (classes, target), offsets, exact in product(targets, self.class_patterns, self.exact):
            # with all offsets exact and no class to predict it is a pattern over tokens
            if exact < len(offsets) + (target is not None):
                elements = (
                    Element(offset, None if index < exact else classes)
                    for index, offset in enumerate(offsets)
                )
                yield Pattern(tuple(elements), target).name


class MixtureSettings(Section):
    """The crystalline mixture family.

    Attributes:
        slots: functions that a genome may pick, besides the uniform one.
        bucketings: divisions of contexts that a genome may pick, features joined by `*`; each
            bucket has weights of its own. `longest7` and `match7` need a vocabulary of at most 500
            tokens, and are no defaults.
        search_tokens: targets of tune, and as many of validation, that genomes are scored on, in
            blocks spread over the split; `None`: all. The weights of the found model are fitted
            on all of tune.
        folds: parts of the budget for the weights of the found model: those of each part are fitted
            with functions that were fitted on the other parts; 0: on tune, with functions of train.
        weight_tokens: targets of the folds that weights are fitted on, in blocks spread over them;
            `None`: all.
        trees: with folds: bucketings, or trees of them, that are tried for the weights of the
            found model, beside the bucketing of its genome; the loss on the searched blocks of
            validation decides.
        smoothing: alpha of the EM; the shared weights count as so many contexts in every bucket.
        steps: EM steps of an evaluation.
        final_steps: EM steps for the weights of the found model.
        crystalline_gpt: whether mixtures may pick the found crystalline GPT, if its family is
            searched too.
        hybrid: whether the strongest gradient model is added to the functions of the found model.
        hybrid_tokens: targets of validation that the weight of the network in the hybrid is fitted
            on, in blocks spread over the split.
    """

    slots: Annotated[int, Field(ge=1, le=256)] = 16
    bucketings: Annotated[tuple[BucketingName | DeepBucketingName, ...], Field(min_length=1)] = (
        BUCKETINGS
    )
    search_tokens: Count | None = 24_576
    folds: Annotated[int, Field(ge=0, le=64)] = 0
    weight_tokens: Count | None = 262_144
    trees: tuple[str, ...] = ()
    smoothing: Positive = 10.0
    steps: Count = 8
    final_steps: Count = 60
    crystalline_gpt: bool = False
    hybrid: bool = True
    hybrid_tokens: Count = 4096
    library: FunctionGridSettings = FunctionGridSettings()

    @field_validator("trees")
    @classmethod
    def _trees_known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            try:
                Bucketing(name)
            except ConfigError as error:
                raise ValueError(f"the tree {name!r}: {error.message}; {error.remedy}") from error
        return names

    @model_validator(mode="after")
    def _folds_fit(self) -> MixtureSettings:
        if self.folds == 1:
            raise ValueError("folds is 1, expected 0, or 2 and more")
        if self.trees and not self.folds:
            raise ValueError("trees are given, but folds is 0; trees need folds, such as folds: 6")
        if self.folds and self.crystalline_gpt:
            raise ValueError("crystalline_gpt needs folds: 0; a network is not made for each fold")
        return self

    @model_validator(mode="after")
    def _maps_known(self) -> MixtureSettings:
        grid = self.library
        unknown = {*grid.class_targets, *grid.gated_maps} - set(grid.class_maps)
        if unknown:
            raise ValueError(f"class maps {sorted(unknown)} are used but not in class_maps")
        needed = grid.needed_class_maps()
        for name in needed:
            try:
                check_class_map(name)
            except ConfigError as error:
                raise ValueError(f"{error.message}; {error.remedy}") from error
        for tree in self.trees:
            if missing := sorted(Bucketing(tree).class_names - set(needed)):
                raise ValueError(
                    f"the tree {tree!r} has the class map {missing[0]}, which no function needs, "
                    f"expected one of {', '.join(needed)}"
                )
        return self
