"""The hybrid: the found mixture with AdamW's GPT-2 as one more function, weights fitted anew."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from clso.artifacts import remove
from clso.data import TokenSplit
from clso.mixture.buckets import assign, n_buckets
from clso.mixture.checkpoint import load_mixture, save_mixture
from clso.mixture.columns import Columns
from clso.mixture.function import BasisFunction
from clso.mixture.history import HistoryCounts
from clso.mixture.library import compute_columns
from clso.mixture.model import CrystallineMixture
from clso.mixture.neural import Neural
from clso.mixture.weights import Bucketed, fit_weights, group
from clso.progress import Reporter
from clso.threads import one_thread
from pipelines.context import RunContext
from pipelines.ledger import StageOutcome
from pipelines.stages.baseline import winner
from pipelines.stages.mixture import FAMILY, tune_columns
from pipelines.stages.shared import open_dataset

__all__ = ["NAME", "clear", "run"]

NAME = "hybrid"

# What the network's probabilities on tune may be discounted by, in nats.
_DISCOUNTS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.5)
# The share of validation that chooses among them.
_VALIDATION_PART = 4


def clear(context: RunContext) -> None:
    """Delete what an earlier hybrid left."""
    remove(context.folder.model(NAME))


def run(context: RunContext, reporter: Reporter) -> StageOutcome:
    """Fit the weights of the mixture's functions and the network's, then save the model.

    The network was trained on tune, where the weights are fitted, and is too sure of itself
    there: its probabilities on tune count e^-h times. The discount h is one number, chosen on
    the first part of validation, as AdamW's rate is chosen on all of it.
    """
    config = context.config
    dataset = open_dataset(context)
    splits = dataset.budget(config.data.train_tokens)
    network, _ = winner(context)
    mixture = load_mixture(context.folder.model(FAMILY))
    functions = [*mixture.functions[1:], Neural(network)]
    names = [function.name for function in functions]
    asked = _columns(functions[-1:], splits["tune"], dataset.vocab_size, reporter)
    columns = Columns.load(tune_columns(context.folder)).joined(asked).with_uniform
    seen = HistoryCounts.fit([splits["train"]], dataset.vocab_size)
    part = splits["validation"].head(
        max(splits["validation"].n_tokens // _VALIDATION_PART, config.data.block_size)
    )
    held_back = _columns(functions, part, dataset.vocab_size, reporter).with_uniform
    rows = range(1 + len(functions))
    bucketing = mixture.bucketing
    with one_thread():
        history = seen.of(splits["tune"].blocks(slice(None))[0])
        order = Bucketed.of(assign(bucketing, history).ravel())
        features = mixture.history.of(part.blocks(slice(None))[0])
        check = group(held_back, rows, Bucketed.of(assign(bucketing, features).ravel()))
        fits = []
        for discount in _DISCOUNTS:
            discounted = columns.copy()
            discounted[-1] *= np.float32(math.exp(-discount))
            weights = fit_weights(
                group(discounted, rows, order),
                n_buckets(bucketing),
                smoothing=config.mixture.smoothing,
                steps=config.mixture.final_steps,
            )
            fits.append((check.mean_nll(weights), discount, weights))
    _, discount, weights = min(fits, key=lambda fit: fit[0])
    model = CrystallineMixture(
        NAME, functions, weights, bucketing, mixture.history, dataset.vocab_size
    )
    path = context.folder.model(NAME)
    save_mixture(model, dataset.tokenizer, path, block_size=config.data.block_size)
    notes: dict[str, Any] = {
        NAME: {
            "functions": names,
            "discount": discount,
            "network_weight": float(weights.shared[-1]),
        }
    }
    return StageOutcome((path / "model.safetensors",), notes)


def _columns(
    functions: Sequence[BasisFunction], split: TokenSplit, vocab_size: int, reporter: Reporter
) -> Columns:
    inputs, targets = split.blocks(slice(None))
    return compute_columns(
        functions, inputs, targets, vocab_size, name=split.name, reporter=reporter
    )
