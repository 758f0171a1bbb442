"""The hybrid: the found mixture with AdamW's GPT-2 as one more function, weights fitted anew."""

from __future__ import annotations

from typing import Any

from clso.artifacts import remove
from clso.mixture.buckets import assign, n_buckets
from clso.mixture.checkpoint import load_mixture, save_mixture
from clso.mixture.library import compute_columns
from clso.mixture.model import CrystallineMixture
from clso.mixture.neural import Neural
from clso.mixture.weights import Bucketed, fit_weights, group
from clso.progress import Reporter
from clso.threads import one_thread
from pipelines.context import RunContext
from pipelines.ledger import StageOutcome
from pipelines.stages.baseline import winner
from pipelines.stages.functions import scored
from pipelines.stages.mixture import FAMILY
from pipelines.stages.shared import open_dataset

__all__ = ["NAME", "clear", "run"]

NAME = "hybrid"


def clear(context: RunContext) -> None:
    """Delete what an earlier hybrid left."""
    remove(context.folder.model(NAME))


def run(context: RunContext, reporter: Reporter) -> StageOutcome:
    """Fit the weights of the mixture's functions and the network's on tune, then save."""
    config = context.config
    dataset = open_dataset(context)
    splits = dataset.budget(config.data.train_tokens)
    network, _ = winner(context)
    neural = Neural(network)
    mixture = load_mixture(context.folder.model(FAMILY))
    picked = [function.name for function in mixture.functions[1:]]
    tune = scored(context, dataset)["tune"]
    inputs, targets = splits["tune"].blocks(slice(None))
    asked = compute_columns(
        [neural], inputs, targets, dataset.vocab_size, name="tune", reporter=reporter
    )
    columns = tune.columns.chosen(picked).joined(asked)
    order = Bucketed.of(assign(mixture.bucketing, tune.history).ravel())
    with one_thread():
        weights = fit_weights(
            group(columns.with_uniform, range(1 + len(columns.names)), order),
            n_buckets(mixture.bucketing),
            smoothing=config.mixture.smoothing,
            steps=config.mixture.final_steps,
        )
    model = CrystallineMixture(
        NAME,
        [*mixture.functions[1:], neural],
        weights,
        mixture.bucketing,
        mixture.history,
        dataset.vocab_size,
    )
    path = context.folder.model(NAME)
    save_mixture(model, dataset.tokenizer, path, block_size=config.data.block_size)
    notes: dict[str, Any] = {
        "hybrid": {"functions": [*picked, neural.name], "weight": float(weights.shared[-1])}
    }
    return StageOutcome((path / "model.safetensors",), notes)
