"""The settings of AdamW: the sweep, its trials, and the warm start."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from clso.section import Count, NotNegative, Positive, Probability, Section

__all__ = ["BaselineSettings", "Schedule", "WarmStartSettings"]

Schedule = Literal["constant", "cosine"]


class WarmStartSettings(Section):
    """AdamW from the crystalline GPT: a small grid of rates, other settings from the best trial.

    Attributes:
        enabled: run a warm start after the sweep.
        learning_rates: rates to try.
        eval_points: number of validation losses per trial, besides the loss before its first step.
    """

    enabled: bool = False
    learning_rates: Annotated[tuple[Positive, ...], Field(min_length=1)] = (5e-4, 1e-3, 2e-3)
    eval_points: Count = 10


class BaselineSettings(Section):
    """AdamW on the same shape and tokens, swept over four grids.

    Attributes:
        strategy: `product` tries every combination. `one_at_a_time` starts from the first value
            of each grid and varies one grid after another around the best trial so far, rates
            first, until a round over all grids gains less than 0.001 nats (coordinate descent).
        learning_rates: rates after the warm-up.
        schedules: of the rate after the warm-up: `constant`, or a cosine down to 0.
        batch_sizes: blocks per step.
        dropouts: probabilities, on embeddings, attention and residuals alike.
        passes: how often AdamW sees each distinct token.
        warmup_fraction: share of the steps over which the rate rises linearly.
        weight_decay: of matrices and embeddings, not of biases and LayerNorms.
        grad_clip: largest norm of the whole gradient.
        eval_points: number of validation losses per trial, evenly spaced, the last of them after
            the last step; the weights with the lowest loss are kept.
        extend: how often a best learning rate at the edge of the grid extends the grid by a
            factor of 2.
        warm_start: AdamW from the crystalline GPT of the search, beside the sweep.
    """

    enabled: bool = True
    strategy: Literal["product", "one_at_a_time"] = "product"
    learning_rates: Annotated[tuple[Positive, ...], Field(min_length=1)] = (1e-3, 2e-3, 4e-3)
    schedules: Annotated[tuple[Schedule, ...], Field(min_length=1)] = ("cosine",)
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
    warm_start: WarmStartSettings = WarmStartSettings()
