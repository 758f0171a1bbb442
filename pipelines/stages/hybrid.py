"""The hybrid: a found mixture with the strongest gradient model as one more basis function."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from clso.artifacts import CHECKSUMS, remove
from clso.baseline import AdamwGpt2
from clso.baseline.network_model import NetworkModel
from clso.energy import Measurement
from clso.interpolation import best_share, mixed_nll
from clso.mixture.function import Neural
from clso.mixture.model import CrystallineMixture
from pipelines.context import RunContext
from pipelines.ledger import StageOutcome
from pipelines.stage import ModelAndCost, Stage
from pipelines.stages.baseline import winner
from pipelines.stages.opponents import networks, strongest

__all__ = ["hybrid_stage"]

_NAME = "hybrid"


def hybrid_stage(family: str, foundations: Sequence[Stage]) -> Stage:
    """Return the stage that adds a network to the mixture that a family's search has found.

    The network is the strongest gradient model, or AdamW's GPT-2 where no others are trained. The
    foundations are the stages that the family's problem is built on.
    """
    return Stage(
        name=_NAME,
        command="analyze",
        work=partial(_work, family),
        needs=lambda config: (
            *("prepare", *(stage.name for stage in foundations), family),
            "opponents" if config.opponents.models else "baseline",
        ),
        wanted=lambda config: (
            config.mixture.hybrid and (config.baseline.enabled or bool(config.opponents.models))
        ),
        clear=lambda folder: remove(folder.model(_NAME)),
        model=partial(_model, family),
    )


def _work(family: str, run: RunContext) -> StageOutcome:
    """Fit the network's share, give the mixture the rest, and save the model.

    The share is one number, fitted on blocks of validation, on which the network's settings are
    chosen too. On tune, which the network was trained on, the share would be too large. Of the
    network at its evaluations, the one is taken with which the hybrid is best: it can go on to gain
    from training when the network alone does not.
    """
    dataset = run.experiment.dataset
    mixture = CrystallineMixture.load(run.folder.model(family))
    validation = dataset.splits["validation"]
    inputs, targets = validation.spread_blocks(run.config.mixture.hybrid_tokens)
    fits = []
    with run.reporter.task(_NAME) as task:
        mixed = np.exp(-mixture.token_nll(inputs, targets)).ravel()
        task.update(0, family)
        best = None
        for done, (step, network) in enumerate(_networks(run), 1):
            trained = np.exp(-network.token_nll(inputs, targets)).ravel()
            share = best_share(mixed, trained)
            loss = mixed_nll(mixed, trained, share)
            fits.append({"step": step, "share": share, "loss": loss})
            if best is None or loss < best[0]:
                best = (loss, share, network, step)
            task.update(done, f"share {share:.1%}, validation {loss:.3f}")
    assert best is not None
    _, share, network, step = best
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
            "network": network.name,
            "network_step": step,
            "network_weight": share,
            "fits": fits,
        }
    }
    return StageOutcome((path / CHECKSUMS,), notes, (path / "model.safetensors",))


def _model(family: str, run: RunContext) -> ModelAndCost:
    _, trained = (strongest if run.config.opponents.models else winner)(run)
    parts = [run.spent(family), run.records[_NAME].measurement, trained]
    return CrystallineMixture.load(run.folder.model(_NAME)), Measurement.total(parts)


def _networks(run: RunContext) -> Iterator[tuple[int | None, AdamwGpt2 | NetworkModel]]:
    if run.config.opponents.models:
        return networks(run)
    return iter([(None, winner(run)[0])])
