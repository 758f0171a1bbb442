"""The hybrid: a found mixture with AdamW's GPT-2 as one more basis function."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar

from clso.artifacts import remove
from clso.energy import Measurement
from clso.mixture.function import Neural
from clso.mixture.model import CrystallineMixture
from pipelines.context import RunContext
from pipelines.ledger import StageOutcome
from pipelines.stage import ModelAndCost, Stage
from pipelines.stages.baseline import winner

__all__ = ["best_share", "hybrid_stage"]

_NAME = "hybrid"

Probabilities = npt.NDArray[np.float64]


def hybrid_stage(family: str, foundations: Sequence[Stage]) -> Stage:
    """Return the stage that adds AdamW's network to the mixture that a family's search has found.

    The foundations are the stages that the family's problem is built on.
    """
    return Stage(
        name=_NAME,
        command="analyze",
        work=partial(_work, family),
        needs=("prepare", *(stage.name for stage in foundations), family, "baseline"),
        wanted=lambda config: config.baseline.enabled and config.mixture.hybrid,
        clear=lambda folder: remove(folder.model(_NAME)),
        model=partial(_model, family),
    )


def _work(family: str, run: RunContext) -> StageOutcome:
    """Fit the network's share, give the mixture the rest, and save the model.

    The share is one number, fitted on blocks of validation, on which AdamW's rate is chosen too.
    On tune, which the network was trained on, the share would be too large.
    """
    dataset = run.experiment.dataset
    network, _ = winner(run)
    mixture = CrystallineMixture.load(run.folder.model(family))
    validation = dataset.splits["validation"]
    inputs, targets = validation.spread_blocks(run.config.mixture.hybrid_tokens)
    with run.reporter.task(_NAME, total=2) as task:
        mixed = np.exp(-mixture.token_nll(inputs, targets))
        task.update(1, family)
        trained = np.exp(-network.token_nll(inputs, targets))
        share = best_share(mixed.ravel(), trained.ravel())
        task.update(2, f"share {share:.1%}")
    model = CrystallineMixture(
        _NAME,
        [*mixture.functions[1:], Neural(network)],
        mixture.weights.with_share(share),
        mixture.bucketing,
        mixture.history,
        dataset.vocab_size,
    )
    path = run.folder.model(_NAME)
    model.save(path, dataset.tokenizer, block_size=run.config.data.block_size)
    notes: dict[str, Any] = {
        _NAME: {
            "family": family,
            "functions": [function.name for function in model.functions[1:]],
            "network_weight": share,
        }
    }
    return StageOutcome((path / "model.safetensors",), notes)


def _model(family: str, run: RunContext) -> ModelAndCost:
    _, trained = winner(run)
    parts = [run.spent(family), run.records[_NAME].measurement, trained]
    return CrystallineMixture.load(run.folder.model(_NAME)), Measurement.total(parts)


def best_share(mixture: Probabilities, network: Probabilities) -> float:
    r"""Return the network's share that gives the targets the highest likelihood.

    .. math:: \arg\max_{0 \le s \le 1} \sum_i \log((1 - s) \, p_i + s \, q_i)

    Args:
        mixture: p, the targets' probabilities without the network, `(n,)`, above 0.
        network: q, those of the network alone, `(n,)`.
    """

    def mean_nll(share: float) -> float:
        return -float(np.log((1.0 - share) * mixture + share * network).mean())

    # the likelihood is concave in s; the bounded search is open, so its ends are tried apart
    inside = float(minimize_scalar(mean_nll, bounds=(0.0, 1.0), method="bounded").x)
    return min((0.0, inside, 1.0 if network.all() else inside), key=mean_nll)
