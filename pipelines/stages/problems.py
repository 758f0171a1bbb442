"""What a run's searches solve, made from its configuration, data set and libraries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch

from clso.counting import count_targets, log_unigram
from clso.data import Dataset
from clso.data.batches import fixed_batches
from clso.errors import ConfigError
from clso.gpt import GptFrame, GptProblem, GptShape
from clso.mixture.evaluator import MixtureProblem, Scored
from pipelines.config import RunConfig
from pipelines.context import RunContext
from pipelines.stages.functions import scored
from pipelines.stages.shared import open_library, residual_layout
from search.settings import SearchSettings

__all__ = [
    "STAGES_BEFORE",
    "Family",
    "device",
    "gpt_frame",
    "gpt_problem",
    "gpt_shape",
    "mixture_problem",
    "open_problem",
    "search_settings",
]

Family = Literal["gpt", "mixture"]

STAGES_BEFORE: Mapping[Family, tuple[str, ...]] = {
    "gpt": ("prepare", "library"),
    "mixture": ("prepare", "functions"),
}
"""What must be there before a family's problem can be opened."""


def open_problem(
    context: RunContext, dataset: Dataset, family: Family
) -> GptProblem | MixtureProblem:
    """Return a family's problem; data set and library (or functions) must be there."""
    return (gpt_problem if family == "gpt" else mixture_problem)(context, dataset)


def search_settings(config: RunConfig, family: Family) -> SearchSettings:
    """Return a family's genetic algorithm; the mixture may have one of its own."""
    own = config.mixture.search if family == "mixture" else None
    return own or config.search


def gpt_problem(context: RunContext, dataset: Dataset) -> GptProblem:
    """Return the crystalline GPT's problem: the loss on fixed batches of validation."""
    config = context.config
    inputs, targets = fixed_batches(
        dataset.splits["validation"],
        batch_size=config.evaluation.batch_size,
        batches=config.evaluation.batches,
        seed=config.seed,
    )
    return GptProblem(
        open_library(context),
        gpt_frame(config, dataset),
        inputs,
        targets,
        share_layers=config.gpt.share_layers,
        monitor=context.monitor,
        workers=context.workers,
    )


def mixture_problem(
    context: RunContext, dataset: Dataset, columns: Mapping[str, Scored] | None = None
) -> MixtureProblem:
    """Return the mixture's problem: weights on tune, the loss on validation.

    Args:
        context: of the run.
        dataset: its data set.
        columns: of tune and validation; `None`: those of the library of functions.
    """
    config = context.config.mixture
    columns = scored(context, dataset) if columns is None else columns
    return MixtureProblem(
        columns["tune"],
        columns["validation"],
        slots=config.slots,
        bucketings=config.bucketings,
        smoothing=config.smoothing,
        steps=config.steps,
        monitor=context.monitor,
    )


def gpt_shape(config: RunConfig, dataset: Dataset) -> GptShape:
    """Return the shape that crystalline GPT and AdamW's GPT-2 share."""
    return GptShape(
        **config.model.model_dump(),
        block_size=config.data.block_size,
        vocab_size=dataset.vocab_size,
    )


def gpt_frame(
    config: RunConfig, dataset: Dataset, counted: Sequence[str] = ("train", "tune")
) -> GptFrame:
    """Return what a crystalline GPT has besides its genome's matrices.

    Args:
        config: of the run.
        dataset: its data set.
        counted: the splits that its unigram, if it has one, is counted on.
    """
    bias = positions = None
    if config.gpt.spectral.enabled:
        positions = residual_layout(config).positions()
    elif config.gpt.unigram_bias:
        splits = dataset.budget(config.data.train_tokens)
        bias = log_unigram(count_targets([splits[split] for split in counted], dataset.vocab_size))
    return GptFrame(
        gpt_shape(config, dataset),
        seed=config.seed,
        log_unigram=bias,
        positions=positions,
        device=device(config),
    )


def device(config: RunConfig) -> str:
    """Return where models live: a GPU if one is there and not declined.

    Raises:
        ConfigError: a GPU is asked for, and torch finds none.
    """
    if config.runtime.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "runtime.device is cuda, but torch finds no GPU that it can use",
            remedy="set runtime.device to auto or cpu, or install a CUDA build of torch",
        )
    if config.runtime.device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return config.runtime.device
