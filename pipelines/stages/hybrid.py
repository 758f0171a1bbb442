"""The hybrid: the found mixture with AdamW's GPT-2 as one more function."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from clso.artifacts import remove
from clso.data import TokenSplit
from clso.mixture.buckets import assign, n_buckets
from clso.mixture.checkpoint import load_mixture, save_mixture
from clso.mixture.model import CrystallineMixture
from clso.mixture.neural import Neural
from clso.mixture.weights import Bucketed, Grouped, MixtureWeights, fit_weights, group
from clso.progress import Reporter
from clso.scoring import LanguageModel
from clso.threads import one_thread
from pipelines.context import RunContext
from pipelines.ledger import StageOutcome
from pipelines.stages.baseline import winner
from pipelines.stages.functions import scored, searched_blocks
from pipelines.stages.mixture import FAMILY
from pipelines.stages.shared import open_dataset

__all__ = ["NAME", "clear", "joined_weights", "run"]

NAME = "hybrid"

# What the network's probabilities on tune may be discounted by, in nats.
_DISCOUNTS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.5)

Probabilities = npt.NDArray[np.float64]


def clear(context: RunContext) -> None:
    """Delete what an earlier hybrid left."""
    remove(context.folder.model(NAME))


def run(context: RunContext, reporter: Reporter) -> StageOutcome:
    """Fit what each bucket gives to the network and leaves to the mixture, then save the model.

    Weights are fitted on the blocks of tune that genomes were scored on, where the mixture's
    functions are asked as fitted on train. The network was trained on them and is too sure of
    itself there: its probabilities count e^-h times. The discount h is one number, chosen on the
    searched blocks of validation, as AdamW's rate is chosen on all of it.
    """
    config = context.config.mixture
    dataset = open_dataset(context)
    splits = dataset.budget(context.config.data.train_tokens)
    network, _ = winner(context)
    mixture = load_mixture(context.folder.model(FAMILY))
    buckets = n_buckets(mixture.bucketing)
    with reporter.task(NAME, total=2) as task:
        tune = scored(context, dataset)["tune"]
        names = [function.name for function in mixture.functions[1:]]
        columns = tune.columns.chosen(names).with_uniform.astype(np.float64)
        assigned = assign(mixture.bucketing, tune.history).ravel()
        found = (mixture.weights.table[assigned] * columns.T).sum(axis=1)
        asked = _asked(network, context, splits["tune"])
        task.update(1, "tune")
        inputs, targets = splits["validation"].blocks(
            searched_blocks(splits["validation"], context)
        )
        features = mixture.history.of(inputs)
        check = _grouped(
            np.exp(-mixture.token_nll(inputs, targets)).ravel(),
            _asked(network, context, splits["validation"]),
            assign(mixture.bucketing, features).ravel(),
            dataset.vocab_size,
        )
        task.update(2, "validation")
    fits = []
    with one_thread():
        for discount in _DISCOUNTS:
            shares = fit_weights(
                _grouped(found, asked * math.exp(-discount), assigned, dataset.vocab_size),
                buckets,
                smoothing=config.smoothing,
                steps=config.final_steps,
            )
            fits.append((check.mean_nll(shares), discount, shares))
    _, discount, shares = min(fits, key=lambda fit: fit[0])
    model = CrystallineMixture(
        NAME,
        [*mixture.functions[1:], Neural(network)],
        joined_weights(mixture.weights, shares),
        mixture.bucketing,
        mixture.history,
        dataset.vocab_size,
    )
    path = context.folder.model(NAME)
    save_mixture(model, dataset.tokenizer, path, block_size=context.config.data.block_size)
    notes: dict[str, Any] = {
        NAME: {
            "functions": [function.name for function in model.functions[1:]],
            "discount": discount,
            "network_weight": float(shares.shared[-1]),
        }
    }
    return StageOutcome((path / "model.safetensors",), notes)


def joined_weights(mixture: MixtureWeights, shares: MixtureWeights) -> MixtureWeights:
    """Return the weights of uniform, functions and network from a mixture's and the shares.

    Args:
        mixture: of the uniform function and the mixture's functions, K + 1 per bucket.
        shares: of the uniform function, the mixture as a whole, and the network.

    Returns:
        K + 2 weights per bucket: the mixture's times its share, and the network's share.
    """

    def join(own: Probabilities, share: Probabilities) -> Probabilities:
        rows = np.concatenate([own * share[..., 1:2], share[..., 2:]], axis=-1)
        rows[..., 0] += share[..., 0]
        return rows

    return MixtureWeights(join(mixture.shared, shares.shared), join(mixture.table, shares.table))


def _asked(network: LanguageModel, context: RunContext, split: TokenSplit) -> Probabilities:
    inputs, targets = split.blocks(searched_blocks(split, context))
    return np.asarray(np.exp(-network.token_nll(inputs, targets)).ravel())


def _grouped(
    mixture: Probabilities,
    network: Probabilities,
    buckets: npt.NDArray[np.int64],
    vocab_size: int,
) -> Grouped:
    uniform = np.full_like(mixture, 1.0 / vocab_size)
    columns = np.stack([uniform, mixture, network]).astype(np.float32)
    return group(columns, range(3), Bucketed.of(buckets))
