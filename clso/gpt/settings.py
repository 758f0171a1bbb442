"""The settings of the crystalline GPT: its shape and its library."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from clso.library.settings import LibrarySettings, SpectralSettings
from clso.section import Count, Section

__all__ = ["GptSettings", "ModelSettings"]


class ModelSettings(Section):
    """The GPT-2 shape shared by the crystalline GPT and the AdamW baseline."""

    n_layer: Count = 2
    n_head: Count = 2
    n_embd: Annotated[int, Field(ge=2)] = 128

    @model_validator(mode="after")
    def _heads_divide(self) -> ModelSettings:
        if self.n_embd % self.n_head:
            raise ValueError(
                f"n_embd {self.n_embd} is not divisible by n_head {self.n_head}; "
                "choose n_embd as a multiple of n_head"
            )
        return self


class GptSettings(Section):
    """The crystalline GPT family.

    Attributes:
        share_layers: one gene per slot for all layers, or one per layer and slot.
        unigram_bias: an untied head that adds the log unigram; spectral readouts always do.
    """

    share_layers: bool = False
    unigram_bias: bool = True
    library: LibrarySettings = LibrarySettings()
    spectral: SpectralSettings = SpectralSettings()
