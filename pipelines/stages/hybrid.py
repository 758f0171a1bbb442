"""The hybrid: the found mixture with AdamW's GPT-2 as one more function."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar

from clso.artifacts import remove
from clso.energy import Measurement
from clso.mixture.function import Neural
from clso.mixture.model import CrystallineMixture
from clso.mixture.weights import MixtureWeights
from pipelines.context import RunContext
from pipelines.ledger import StageOutcome
from pipelines.stage import ModelAndCost, Stage
from pipelines.stages.baseline import winner
from pipelines.stages.mixture_functions import spread_blocks

__all__ = ["HYBRID", "best_share", "with_share"]

_NAME = "hybrid"
_FOUND = "mixture"

Probabilities = npt.NDArray[np.float64]


def _work(run: RunContext) -> StageOutcome:
    """Fit the network's share, leave the rest to the mixture, and save the model.

    The share is one number, fitted on blocks of validation, as AdamW's rate is chosen on all of
    it: the network was trained on tune, where it would be trusted too much.
    """
    dataset = run.experiment.dataset
    network, _ = winner(run)
    mixture = CrystallineMixture.load(run.folder.model(_FOUND))
    split = dataset.splits["validation"]
    inputs, targets = split.blocks(spread_blocks(split, run.config.mixture.hybrid_tokens))
    with run.reporter.task(_NAME, total=2) as task:
        counted = np.exp(-mixture.token_nll(inputs, targets))
        task.update(1, _FOUND)
        asked = np.exp(-network.token_nll(inputs, targets))
        share = best_share(counted.ravel(), asked.ravel())
        task.update(2, f"share {share:.1%}")
    model = CrystallineMixture(
        _NAME,
        [*mixture.functions[1:], Neural(network)],
        with_share(mixture.weights, share),
        mixture.bucketing,
        mixture.history,
        dataset.vocab_size,
    )
    path = run.folder.model(_NAME)
    model.save(path, dataset.tokenizer, block_size=run.config.data.block_size)
    notes: dict[str, Any] = {
        _NAME: {
            "functions": [function.name for function in model.functions[1:]],
            "network_weight": share,
        }
    }
    return StageOutcome((path / "model.safetensors",), notes)


def _model(run: RunContext) -> ModelAndCost:
    _, trained = winner(run)
    parts = [run.spent(_FOUND), run.records[_NAME].measurement, trained]
    return CrystallineMixture.load(run.folder.model(_NAME)), Measurement.total(parts)


HYBRID = Stage(
    name=_NAME,
    command="analyze",
    work=_work,
    needs=("prepare", "functions", "mixture", "baseline"),
    wanted=lambda config: config.baseline.enabled and config.mixture.hybrid,
    clear=lambda folder: remove(folder.model(_NAME)),
    model=_model,
)


def best_share(mixture: Probabilities, network: Probabilities) -> float:
    r"""Return the share of a network that gives targets the highest likelihood.

    .. math:: \arg\max_{0 \le s \le 1} \sum_i \log((1 - s) \, p_i + s \, q_i)

    Args:
        mixture: p, the targets' probabilities without the network, `(n,)`, above 0.
        network: q, those of the network alone, `(n,)`.
    """

    def mean_nll(share: float) -> float:
        return -float(np.log((1.0 - share) * mixture + share * network).mean())

    # concave in s; the bounds of the search are open, so that its ends are tried by themselves
    inside = float(minimize_scalar(mean_nll, bounds=(0.0, 1.0), method="bounded").x)
    return min((0.0, inside, 1.0 if network.all() else inside), key=mean_nll)


def with_share(weights: MixtureWeights, share: float) -> MixtureWeights:
    """Return a mixture's weights times what the network leaves, and the network's share last.

    Args:
        weights: of the uniform function and the mixture's functions, K + 1 per bucket.
        share: of the network, 0 to 1.
    """

    def joined(own: Probabilities) -> Probabilities:
        last = np.full((*own.shape[:-1], 1), share)
        return np.concatenate([own * (1.0 - share), last], axis=-1)

    return MixtureWeights(joined(weights.shared), joined(weights.table))
