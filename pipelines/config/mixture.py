"""The section `mixture`: the library's grid of basis functions, and how genomes pick from it."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field, model_validator

from clso.section import Count, NotNegative, Positive, Section
from search.settings import SearchSettings

__all__ = ["FunctionGridConfig", "MixtureConfig"]

Offsets = Annotated[
    tuple[Annotated[int, Field(ge=1, le=64)], ...], Field(min_length=1, max_length=8)
]
ClassMap = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.]*$")]
HalfLife = Positive | Literal["inf"]
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


class FunctionGridConfig(Section):
    """The basis functions of a library; every combination is an entry.

    Attributes:
        patterns: context offsets of Kneser-Ney counts over tokens, most important first.
        class_maps: token classes, `k64`: 64 clusters of the tokens' neighbours.
        class_patterns: offsets of patterns over classes, for every map ...
        exact: ... with so many of their first places seen as tokens (as many as they have only
            where the next token is seen through the map).
        class_targets: maps for which all these also predict the next token's class first.
        cache_half_lives: tokens after which a recency cache's weight has halved; `inf`: never.
        cache_idf: caches divide a token's weight by its frequency to this power.
        gated_maps: maps of caches gated by class; every half-life, idf and power below.
        gated_half_lives: of gated caches.
        gated_idf: of gated caches.
        gated_powers: of the gate.
        induction_lengths: last tokens that must have stood together before.
        induction_decays: weight of an occurrence against the next later one.
        functions: more entries, spelled out, such as `kn(1,2:k64,3:k32)` or `product(k64)`.
    """

    patterns: tuple[Offsets, ...] = (
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
    class_maps: tuple[ClassMap, ...] = ("k32", "k64", "k128", "k128.1", "k256", "s64", "s128")
    class_patterns: tuple[Offsets, ...] = ((1,), (1, 2), (1, 2, 3), (1, 2, 3, 4))
    exact: tuple[Annotated[int, Field(ge=0, le=8)], ...] = (0, 1, 2)
    class_targets: tuple[ClassMap, ...] = ("k32", "k64", "k128", "k128.1", "k256", "s64", "s128")
    cache_half_lives: tuple[HalfLife, ...] = (4.0, 8.0, 16.0, 32.0, 64.0, 128.0, "inf")
    cache_idf: tuple[NotNegative, ...] = (0.0, 0.3, 0.6)
    gated_maps: tuple[ClassMap, ...] = ("k64", "k128", "k256", "s128")
    gated_half_lives: tuple[HalfLife, ...] = ("inf",)
    gated_idf: tuple[NotNegative, ...] = (0.0,)
    gated_powers: tuple[Positive, ...] = (0.7, 1.0)
    induction_lengths: tuple[Annotated[int, Field(ge=1, le=16)], ...] = (1, 2, 3)
    induction_decays: tuple[Annotated[float, Field(gt=0.0, le=1.0)], ...] = (0.8, 0.9, 0.98, 1.0)
    functions: tuple[str, ...] = (
        "product(k256,via=k128)",
        "product(k128.1)",
        "product(k64)",
        "product(s128)",
    )


class MixtureConfig(Section):
    """The crystalline mixture family.

    Attributes:
        slots: functions that a genome may pick, besides the uniform one.
        bucketings: divisions of contexts, each bucket with weights of its own, that a genome
            may pick; features joined by `*`.
        search_tokens: targets of tune, and as many of validation, that genomes are scored on,
            in blocks spread over the split; `None`: all. The found model's weights are fitted
            on all of tune.
        smoothing: contexts that the shared weights count for in every bucket.
        steps: EM steps of a genome's evaluation.
        final_steps: EM steps of the found model's weights.
        crystalline_gpt: whether the found crystalline GPT is one more function to pick, where
            its family is searched too.
        hybrid: whether AdamW's GPT-2, once trained, joins the found model's functions.
        hybrid_tokens: targets of validation that the network's weight in the hybrid is fitted on,
            in blocks spread over the split.
        search: the genetic algorithm for this family; `None`: the run's `search`.
    """

    slots: Annotated[int, Field(ge=1, le=256)] = 16
    bucketings: Annotated[tuple[Bucketing, ...], Field(min_length=1)] = get_args(Bucketing)
    search_tokens: Count | None = 24_576
    smoothing: Positive = 10.0
    steps: Count = 8
    final_steps: Count = 60
    crystalline_gpt: bool = False
    hybrid: bool = True
    hybrid_tokens: Count = 4096
    library: FunctionGridConfig = FunctionGridConfig()
    search: SearchSettings | None = None

    @model_validator(mode="after")
    def _maps_known(self) -> MixtureConfig:
        grid = self.library
        unknown = {*grid.class_targets, *grid.gated_maps} - set(grid.class_maps)
        if unknown:
            raise ValueError(f"class maps {sorted(unknown)} are used but not in class_maps")
        return self
