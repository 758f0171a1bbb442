"""The section `gpt.spectral`: library entries that follow from the training tokens."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from clso.section import Count, Positive, Section

__all__ = ["SpectralConfig"]

Reach = Annotated[int, Field(ge=2, le=128)]
Bounds = tuple[Positive, Positive]


class SpectralConfig(Section):
    """Embeddings and readouts from co-occurrence, and attention that reads earlier tokens.

    Attributes:
        enabled: adds the genes `embedding` and `readout`, and derived entries to all body slots.
        size: derived entries per body slot, after the `library.size` drawn ones.
        embeddings: entries of the slot `embedding`.
        readouts: entries of the slot `readout`.
        recent_width: coordinates for what the last few tokens say.
        topic_width: coordinates for what a longer stretch says.
        recent_reach: pairs up to so many places apart are counted for recent.
        topic_reach: the same for topic.
        shrinkage: range of the shrinkage of rare tokens' embeddings, in counts.
        near_gain: range of the factor on what the current token says.
        recent_gain: on the weighted mean of the recent tokens.
        topic_gain: on that of the longer stretch.
        recent_rate: range of the decay per position of the first head.
        topic_rate: of the second head.
        merge_gain: range of the factor on what both heads bring.
    """

    enabled: bool = False
    size: Count = 8
    embeddings: Count = 4
    readouts: Count = 16
    recent_width: Count = 24
    topic_width: Count = 24
    recent_reach: Reach = 4
    topic_reach: Reach = 12
    shrinkage: Bounds = (0.05, 3.0)
    near_gain: Bounds = (0.8, 1.1)
    recent_gain: Bounds = (0.3, 0.9)
    topic_gain: Bounds = (1.0, 4.0)
    recent_rate: Bounds = (0.3, 0.9)
    topic_rate: Bounds = (0.02, 0.12)
    merge_gain: Bounds = (0.95, 1.05)

    @field_validator(
        "shrinkage",
        "near_gain",
        "recent_gain",
        "topic_gain",
        "recent_rate",
        "topic_rate",
        "merge_gain",
    )
    @classmethod
    def _in_order(cls, value: tuple[float, float]) -> tuple[float, float]:
        if value[0] > value[1]:
            raise ValueError(f"the range {list(value)} is the wrong way round")
        return value
