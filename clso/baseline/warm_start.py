"""AdamW from a checkpoint that was found without gradients.

A branch is a layer's attention or MLP: an inner matrix, something between, an outer matrix. Where
either is zero the branch adds nothing, and neither would ever get a gradient from the other.
`wake` leaves the model the same function and every branch trainable.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import GPT2LMHeadModel

from clso.artifacts import atomic_write_json
from clso.baseline.model import AdamwGpt2
from clso.baseline.plan import TrainingPlan, Trial
from clso.baseline.settings import BaselineSettings
from clso.baseline.train import Blocks, TrialResult, train_trial
from clso.checkpoint import load_gpt2, save_gpt2
from clso.data.tokenizer import Tokenizer
from clso.digest import digest_of
from clso.energy import EnergyMonitor, Measurement
from clso.errors import WorkError
from clso.progress import SILENT, Reporter

__all__ = ["WarmStartResult", "run_warm_start", "wake"]

_BLOCKS_AT_ONCE = 64
# As GPT-2 starts.
_INITIAL_STD = 0.02
# Sets the waking of matrices apart from every other use of the same seed.
_STREAM = int.from_bytes(b"wake")
# AdamW moves every weight by about the rate; a residual stream so much larger makes that little
# beside a spectral embedding, as it is beside a trained one.
_LOUDNESS = 16.0


@dataclass(frozen=True)
class WarmStartResult:
    """What training on came to.

    Attributes:
        best: the trial with the lowest validation loss.
        trials: all of them, in the order of the rates.
        start_loss: validation loss before the first step.
        before: what that took.
    """

    best: TrialResult
    trials: tuple[TrialResult, ...]
    start_loss: float
    before: Measurement

    def steps_to(self, loss: float) -> int | None:
        """Return the first measured step of any trial that has a validation loss so low."""
        if self.start_loss <= loss:
            return 0
        steps = [
            row["step"]
            for trial in self.trials
            for row in trial.rows
            if row["validation_loss"] is not None and row["validation_loss"] <= loss
        ]
        return min(steps, default=None)

    @property
    def total(self) -> Measurement:
        """What all of it took."""
        return Measurement.total([self.before, *(trial.measurement for trial in self.trials)])


@torch.no_grad()
def wake(model: GPT2LMHeadModel, seed: int) -> None:
    """Make every branch of a model trainable without changing what it computes.

    A silent branch gets inner weights as GPT-2 starts and a zero outer matrix. The residual
    stream becomes 16 times as large throughout, which LayerNorm divides out again (up to its
    epsilon).

    Args:
        model: changed in place; its head must not be tied to its embedding, or the logits would
            grow with the stream.
        seed: draws the inner weights.
    """
    if model.config.tie_word_embeddings:
        raise ValueError("the head is tied to the embedding, expected a head of its own")
    rng = np.random.default_rng([seed, _STREAM])
    for name in ("wte.weight", "wpe.weight"):
        model.transformer.get_parameter(name).mul_(_LOUDNESS)
    for block in model.transformer.h:
        for inner, outer in (("attn.c_attn", "attn.c_proj"), ("mlp.c_fc", "mlp.c_proj")):
            inner_weight = block.get_parameter(f"{inner}.weight")
            outer_weight = block.get_parameter(f"{outer}.weight")
            if not (inner_weight.any() and outer_weight.any()):
                drawn = rng.normal(0.0, _INITIAL_STD, tuple(inner_weight.shape))
                inner_weight.copy_(torch.from_numpy(drawn.astype(np.float32)))
                outer_weight.zero_()
            outer_weight.mul_(_LOUDNESS)
            block.get_parameter(f"{outer}.bias").mul_(_LOUDNESS)


def run_warm_start(
    found: Path,
    train: Sequence[Blocks],
    validation: Blocks,
    *,
    like: Trial,
    settings: BaselineSettings,
    tokenizer: Tokenizer,
    seed: int,
    fingerprint: str,
    state: Path,
    checkpoint: Path,
    monitor: EnergyMonitor,
    device: str = "cpu",
    reporter: Reporter = SILENT,
) -> WarmStartResult:
    """Train a found checkpoint at each rate, keep the best.

    Finished trials are reused, and an interrupted one goes on from its last evaluation.

    Args:
        found: the folder with the GPT-2 to start from, its head untied.
        train: the splits that make up the budget.
        validation: chooses step and rate.
        like: schedule, batch size and dropout are this trial's.
        settings: those of `warm_start` instead of the sweep's rates and evaluation points.
        tokenizer: goes into the checkpoint.
        seed: of the order of blocks, dropout, and the woken weights.
        fingerprint: names data and start, so that no state of others is resumed.
        state: a folder for results and unfinished trials.
        checkpoint: the folder that gets the best.
        monitor: measures each trial's steps and validation.
        device: `cpu` or `cuda`.
        reporter: told of every logged step.

    Raises:
        ArtifactError: the checkpoint or a state is damaged, or something cannot be written.
        DataError: there is nothing to train on or to validate with.
        WorkError: every trial diverged.
    """
    n_blocks = sum(split.n_blocks for split in train)

    def woken() -> GPT2LMHeadModel:
        model = load_gpt2(found, remedy="run `clso search CONFIG` to find it")
        for name in ("resid_pdrop", "embd_pdrop", "attn_pdrop"):
            setattr(model.config, name, like.dropout)
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = like.dropout
        wake(model, seed)
        return torch.nn.Module.to(model, device)

    with monitor.window() as window:
        start_loss = _mean_nll(AdamwGpt2(woken()), validation)
    results: list[TrialResult] = []
    shared = settings.replaced(eval_points=settings.warm_start.eval_points)
    for lr in settings.warm_start.learning_rates:
        trial = Trial(lr, like.schedule, like.batch_size, like.dropout)
        plan = TrainingPlan(trial, shared, n_blocks, seed)
        digest = digest_of({**plan.to_record(), "data": fingerprint})[:16]
        stored, unfinished = state / f"{digest}.json", state / f"{digest}.safetensors"
        if stored.exists():
            results.append(TrialResult.read(stored))
            continue
        model = woken()
        result = train_trial(
            model,
            plan,
            train,
            validation,
            state=unfinished,
            monitor=monitor,
            reporter=reporter,
        )
        if result.score < min((result.score for result in results), default=math.inf):
            described: Mapping[str, Any] = {"training.json": plan.to_record()}
            save_gpt2(model, tokenizer, checkpoint, described)
        atomic_write_json(stored, result.to_record())
        unfinished.unlink(missing_ok=True)
        results.append(result)
    best = min(results, key=lambda result: result.score)
    if best.loss is None:
        raise WorkError(
            f"all {len(results)} trials from the found model diverged",
            remedy="lower baseline.warm_start.learning_rates",
        )
    return WarmStartResult(best, tuple(results), start_loss, window.measurement)


def _mean_nll(model: AdamwGpt2, split: Blocks) -> float:
    sums = []
    for start in range(0, split.n_blocks, _BLOCKS_AT_ONCE):
        index = np.arange(start, min(start + _BLOCKS_AT_ONCE, split.n_blocks))
        sums.append(float(model.token_nll(*split.blocks(index)).sum()))
    return math.fsum(sums) / (split.n_blocks * split.block_size)
