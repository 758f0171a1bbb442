"""The section `baseline.warm_start`: AdamW from the crystalline GPT that the search found."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from clso.section import Count, Positive, Section

__all__ = ["WarmStartConfig"]


class WarmStartConfig(Section):
    """A small grid of rates, all else as the sweep's winner has it.

    Attributes:
        enabled: trains on from the found model, once the sweep is done.
        learning_rates: rates to try.
        eval_points: validation losses taken along a run, besides the one before its first step.
    """

    enabled: bool = False
    learning_rates: Annotated[tuple[Positive, ...], Field(min_length=1)] = (5e-4, 1e-3, 2e-3)
    eval_points: Count = 10
