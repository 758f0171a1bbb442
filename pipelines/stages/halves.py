"""A family's problem on the two halves of validation.

A study's searches see the first half of the validation blocks that genomes are scored on; what
they found is judged by the second. The test split is not read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from clso.data import Dataset, TokenSplit
from clso.data.batches import fixed_batches
from clso.gpt import GptProblem
from clso.library import BasisLibrary
from clso.mixture.all_at_once import halves
from clso.mixture.evaluator import MixtureProblem, Scored
from clso.scoring import Int64Array
from pipelines.context import RunContext
from pipelines.stages.problems import gpt_frame, mixture_problem

__all__ = ["gpt_halves", "mixture_halves"]


def mixture_halves(
    context: RunContext, dataset: Dataset, columns: Mapping[str, Scored]
) -> tuple[MixtureProblem, MixtureProblem]:
    """Return the mixture's problem as searched and as held back.

    Args:
        context: of the study, with the configuration that is searched.
        dataset: its data set.
        columns: of tune and validation.
    """
    first, second = halves(columns["validation"])
    return (
        mixture_problem(context, dataset, {"tune": columns["tune"], "validation": first}),
        mixture_problem(context, dataset, {"tune": columns["tune"], "validation": second}),
    )


def gpt_halves(
    context: RunContext, dataset: Dataset, library: BasisLibrary
) -> tuple[GptProblem, GptProblem]:
    """Return the crystalline GPT's problem as searched and as held back, on batches of each half.

    Args:
        context: of the study, with the configuration that is searched.
        dataset: its data set.
        library: the matrices.

    Raises:
        DataError: a half has too few blocks for the batches.
    """
    config, validation = context.config, dataset.splits["validation"]
    frame = gpt_frame(config, dataset)
    middle = validation.n_blocks // 2

    def problem(half: _Half) -> GptProblem:
        inputs, targets = fixed_batches(
            half,
            batch_size=config.evaluation.batch_size,
            batches=config.evaluation.batches,
            seed=config.seed,
        )
        return GptProblem(
            library,
            frame,
            inputs,
            targets,
            share_layers=config.gpt.share_layers,
            monitor=context.monitor,
            workers=context.workers,
        )

    return (
        problem(_Half("the first half of validation", validation, 0, middle)),
        problem(
            _Half("the second half of validation", validation, middle, validation.n_blocks - middle)
        ),
    )


@dataclass(frozen=True)
class _Half:
    """Some blocks of a split in a row, as `fixed_batches` draws from them."""

    name: str
    split: TokenSplit
    start: int
    n_blocks: int

    def blocks(self, index: Int64Array) -> tuple[Int64Array, Int64Array]:
        return self.split.blocks(self.start + index)
