"""The sections of the models: their shape, the GPT's library, AdamW."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from clso.section import Count, NotNegative, Positive, Probability, Section
from pipelines.config.families import BlockSparseConfig, FamilyConfig, QuantizedLowRankConfig
from pipelines.config.spectral import SpectralConfig
from pipelines.config.warm_start import WarmStartConfig


class ModelConfig(Section):
    """The GPT-2 shape shared by the crystalline GPT and the AdamW baseline."""

    n_layer: Count = 2
    n_head: Count = 2
    n_embd: Annotated[int, Field(ge=2)] = 128

    @model_validator(mode="after")
    def _heads_divide(self) -> ModelConfig:
        if self.n_embd % self.n_head:
            raise ValueError(
                f"n_embd {self.n_embd} is not divisible by n_head {self.n_head}; "
                "choose n_embd as a multiple of n_head"
            )
        return self


class LibraryConfig(Section):
    """N entries per slot, divided among the families in order by their shares.

    Attributes:
        gain: standard deviation of a matrix's outputs for inputs of unit variance.
    """

    size: Annotated[int, Field(ge=2)] = 64
    gain: Positive = 1.0
    families: Annotated[tuple[FamilyConfig, ...], Field(min_length=1)] = (
        BlockSparseConfig(),
        QuantizedLowRankConfig(),
    )

    @model_validator(mode="after")
    def _every_family_gets_one(self) -> LibraryConfig:
        if self.size < len(self.families):
            raise ValueError(f"size {self.size} is fewer than the {len(self.families)} families")
        return self


class GptConfig(Section):
    """The crystalline GPT family.

    Attributes:
        unigram_bias: an untied head with the unigram in it; a spectral readout has one anyway.
    """

    share_layers: bool = False
    unigram_bias: bool = True
    library: LibraryConfig = LibraryConfig()
    spectral: SpectralConfig = SpectralConfig()


class BaselineConfig(Section):
    """AdamW on the same shape and tokens, swept over four grids.

    Attributes:
        strategy: `product`: every combination; `one_at_a_time`: one grid after the other varies
            around the best trial so far, starting from the first of each.
        passes: times that AdamW sees each distinct token.
        eval_points: validation losses taken along a run; the best one's weights are kept.
        extend: times that a best learning rate at the grid's edge may extend the grid by 2.
        warm_start: AdamW from the found crystalline GPT, beside the sweep.
    """

    enabled: bool = True
    strategy: Literal["product", "one_at_a_time"] = "product"
    learning_rates: Annotated[tuple[Positive, ...], Field(min_length=1)] = (1e-3, 2e-3, 4e-3)
    schedules: Annotated[tuple[Literal["constant", "cosine"], ...], Field(min_length=1)] = (
        "cosine",
    )
    batch_sizes: Annotated[tuple[Count, ...], Field(min_length=1)] = (4,)
    dropouts: Annotated[
        tuple[Annotated[float, Field(ge=0.0, lt=1.0)], ...], Field(min_length=1)
    ] = (0.0,)
    passes: Count = 1
    warmup_fraction: Probability = 0.05
    weight_decay: NotNegative = 0.1
    grad_clip: Positive = 1.0
    eval_points: Count = 5
    extend: Annotated[int, Field(ge=0, le=8)] = 2
    warm_start: WarmStartConfig = WarmStartConfig()
