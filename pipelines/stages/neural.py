"""The found crystalline GPT as a basis function that mixtures may pick.

Like every other function it is asked on tune and validation as it follows from train alone, so
that its weight is not fitted on text that it has seen, and kept as it follows from train and tune.
"""

from __future__ import annotations

from clso.baseline import AdamwGpt2
from clso.data import Dataset
from clso.gpt import CrystallineGpt
from clso.gpt.export import to_gpt2
from clso.mixture.columns import Columns
from clso.mixture.evaluator import Scored
from clso.mixture.library import compute_columns
from clso.mixture.neural import Neural
from clso.progress import Reporter
from clso.threads import one_thread
from pipelines.context import RunContext
from pipelines.stages.functions import searched_blocks
from pipelines.stages.problems import gpt_frame
from pipelines.stages.shared import generate_library

__all__ = ["asked_gpt", "kept_gpt", "with_gpt"]

_NAME = "gpt"


def asked_gpt(context: RunContext, dataset: Dataset) -> Neural:
    """Return the found genome's model with matrices, and unigram, that follow from train alone."""
    config = context.config
    model = CrystallineGpt(
        generate_library(context, ("train",)),
        context.manifest["best"]["gpt"]["genome"],
        gpt_frame(config, dataset, ("train",)),
        share_layers=config.gpt.share_layers,
    )
    network = to_gpt2(model, end_token_id=dataset.tokenizer.end_token_id)
    return Neural(AdamwGpt2(network, _NAME))


def kept_gpt(context: RunContext) -> Neural:
    """Return the found model itself."""
    return Neural(AdamwGpt2.load(context.folder.model("gpt"), name=_NAME))


def with_gpt(
    context: RunContext,
    dataset: Dataset,
    columns: dict[str, Scored],
    function: Neural,
    reporter: Reporter,
) -> dict[str, Scored]:
    """Return columns of tune and validation with those of the network after them."""
    splits = dataset.budget(context.config.data.train_tokens)

    def asked(split: str) -> Columns:
        inputs, targets = splits[split].blocks(searched_blocks(splits[split], context))
        # its sums decide on genomes, so they must not depend on the number of cores
        with one_thread():
            return compute_columns(
                [function], inputs, targets, dataset.vocab_size, name=split, reporter=reporter
            )

    return {
        split: Scored(found.columns.joined(asked(split)), found.history)
        for split, found in columns.items()
    }
