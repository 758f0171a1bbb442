"""The settings of a library: its families, and its entries that follow from the data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import BeforeValidator, Field, SerializeAsAny, field_validator, model_validator

from clso.errors import ConfigError
from clso.library.block_sparse import BlockSparse
from clso.library.entry import FamilySettings
from clso.library.quantized_low_rank import QuantizedLowRank
from clso.library.registry import FAMILIES
from clso.section import Count, Positive, Section, validate_as

__all__ = ["LibrarySettings", "MemorySettings", "ReweightedSettings", "SpectralSettings"]


def _of_its_family(values: object) -> object:
    """Return the settings of the family that is named in the values."""
    if not isinstance(values, Mapping):
        return values
    if "family" not in values:
        raise ValueError(f"family is missing; add one of {', '.join(FAMILIES.names())}")
    name = str(values["family"])
    try:
        settings = FAMILIES.get(name).Settings
    except ConfigError as error:
        raise ValueError(error.message) from error
    return validate_as(settings, values, name)


_Family = Annotated[SerializeAsAny[FamilySettings], BeforeValidator(_of_its_family)]


class LibrarySettings(Section):
    """N entries per slot, divided among the families in order by their shares.

    Attributes:
        gain: standard deviation of a matrix's outputs for inputs of unit variance.
    """

    size: Annotated[int, Field(ge=2)] = 64
    gain: Positive = 1.0
    families: Annotated[tuple[_Family, ...], Field(min_length=1)] = (
        BlockSparse.Settings(),
        QuantizedLowRank.Settings(),
    )

    @model_validator(mode="after")
    def _check_size(self) -> LibrarySettings:
        if self.size < len(self.families):
            raise ValueError(f"size {self.size} is fewer than the {len(self.families)} families")
        return self


_Reach = Annotated[int, Field(ge=2, le=128)]
_Bounds = tuple[Positive, Positive]


class _Ranges(Section):
    """Settings whose lists are ranges."""

    @field_validator("*")
    @classmethod
    def _lists_repeat_nothing(cls, value: object) -> object:
        # instead of the base class's check: the ends of a range may be equal
        if isinstance(value, tuple) and value[0] > value[1]:
            raise ValueError(f"the range {list(value)} has its larger end first")
        return value


class ReweightedSettings(_Ranges):
    """Factors by reweighted least squares (`clso.library.reweighted`), beside the decompositions.

    Attributes:
        rounds: of the fit of each table; 0: no such entries.
        rare: tokens that are counted less often are fitted after the others, which takes much less
            time (`clso.library.rare_rows`); 1: all tokens at once.
        embeddings: further entries of the slot `embedding`.
        readouts: further entries of the slot `readout`.
        recent_reach: largest distance of the pairs that are counted for recent.
        topic_reach: the same for topic.
        shrinkage: range of the shrinkage of rare tokens' embeddings, in counts.
        near_gain: range of the factor on the current token's coordinates.
        recent_gain: range of the factor on the weighted mean of the recent tokens.
        topic_gain: range of the factor on the weighted mean of the longer stretch.
    """

    rounds: Annotated[int, Field(ge=0, le=100)] = 0
    rare: Count = 4
    embeddings: Count = 4
    readouts: Count = 16
    recent_reach: _Reach = 8
    topic_reach: _Reach = 24
    shrinkage: _Bounds = (0.01, 1.0)
    near_gain: _Bounds = (0.9, 1.05)
    recent_gain: _Bounds = (0.3, 2.0)
    topic_gain: _Bounds = (0.1, 1.0)


class MemorySettings(_Ranges):
    """Memories of token pairs in the slots of the MLP (`clso.library.pair_memory`).

    Attributes:
        sets: of 4 n_embd pairs each, the pairs that gain most first; 0: no memories.
        detectors: entries of `mlp_up` for each set, of different strengths.
        strength: range of the factor on what a memory adds.
    """

    sets: Annotated[int, Field(ge=0, le=1000)] = 0
    detectors: Count = 2
    strength: _Bounds = (0.8, 1.1)


class SpectralSettings(_Ranges):
    """Embeddings and readouts from co-occurrence, and attention that reads earlier tokens.

    Attributes:
        enabled: adds the genes `embedding` and `readout`, and derived entries to all body slots.
        size: derived entries per body slot, after the `library.size` drawn ones.
        embeddings: entries of the slot `embedding`.
        readouts: entries of the slot `readout`.
        near_width: most coordinates for the current token; `None`: all that are left. The time of
            reweighted factors and memories grows with it, and they gain little beyond 128.
        recent_width: coordinates for the last few tokens.
        topic_width: coordinates for a longer stretch of tokens.
        recent_reach: largest distance of the pairs that are counted for recent.
        topic_reach: the same for topic.
        shrinkage: range of the shrinkage of rare tokens' embeddings, in counts.
        near_gain: range of the factor on the current token's coordinates.
        recent_gain: range of the factor on the weighted mean of the recent tokens.
        topic_gain: range of the factor on the weighted mean of the longer stretch.
        recent_rate: range of the decay per position of the first head.
        topic_rate: range of the decay per position of the second head.
        merge_gain: range of the factor on the outputs of both heads.
        reweighted: further entries of `embedding` and `readout`, of better factors.
        memory: entries of the MLP, for `n_head` of 3 or more; they take coordinates from near.
    """

    enabled: bool = False
    size: Count = 8
    embeddings: Count = 4
    readouts: Count = 16
    near_width: Count | None = None
    recent_width: Count = 24
    topic_width: Count = 24
    recent_reach: _Reach = 4
    topic_reach: _Reach = 12
    shrinkage: _Bounds = (0.05, 3.0)
    near_gain: _Bounds = (0.8, 1.1)
    recent_gain: _Bounds = (0.3, 0.9)
    topic_gain: _Bounds = (1.0, 4.0)
    recent_rate: _Bounds = (0.3, 0.9)
    topic_rate: _Bounds = (0.02, 0.12)
    merge_gain: _Bounds = (0.95, 1.05)
    reweighted: ReweightedSettings = ReweightedSettings()
    memory: MemorySettings = MemorySettings()

    @model_validator(mode="after")
    def _zeros_fit(self) -> SpectralSettings:
        if self.reweighted.rounds and self.size < 2:
            raise ValueError(
                "reweighted.rounds asks for genomes whose other layers add nothing, and with size "
                f"{self.size} there is no zero matrix for them; raise size to 2, or set "
                "reweighted.rounds to 0"
            )
        return self

    @model_validator(mode="after")
    def _memories_fit(self) -> SpectralSettings:
        memory = self.memory
        if memory.sets and not self.reweighted.rounds:
            raise ValueError(
                "memory.sets asks for memories, which are fitted beside reweighted factors; set "
                "reweighted.rounds to 3, or memory.sets to 0"
            )
        if memory.sets and memory.sets * memory.detectors >= self.size:
            raise ValueError(
                f"memory has {memory.sets} sets of {memory.detectors} detectors, and a slot has "
                f"{self.size} derived entries, one of them zero; raise size to "
                f"{memory.sets * memory.detectors + 1} or more"
            )
        return self
