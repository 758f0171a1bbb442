"""Trials over a grid, the best of them kept: AdamW given its best at equal tokens."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch

from clso.artifacts import atomic_write_json, read_json
from clso.baseline.model import new_gpt2
from clso.baseline.plan import TrainingPlan, Trial
from clso.baseline.settings import BaselineSettings
from clso.baseline.train import Blocks, TrialResult, train_trial
from clso.checkpoint import save_gpt2
from clso.data.tokenizer import Tokenizer
from clso.digest import digest_of
from clso.energy import EnergyMonitor, Measurement
from clso.errors import ArtifactError, ConfigError, WorkError
from clso.gpt import GptShape
from clso.progress import SILENT, Reporter

__all__ = ["RowSink", "SweepResult", "run_sweep"]

_STATE_VERSION = 1
# A round over all lists that gains less, in nats per token, is the last.
_WORTHWHILE = 1e-3
_DESCRIPTION = "training.json"


class RowSink(Protocol):
    """Takes rows of a growing table; the same part again replaces it."""

    def append(self, table: str, part: int, rows: Iterable[Mapping[str, Any]]) -> None:
        """Store part number `part` of a table."""


@dataclass(frozen=True)
class SweepResult:
    """What a sweep came to.

    Attributes:
        best: the winning trial.
        trials: all of them in the order they ran, the winner among them.
        checkpoint: the folder with the winner's best weights.
        n_tokens: distinct targets that every trial trained on.
    """

    best: TrialResult
    trials: tuple[TrialResult, ...]
    checkpoint: Path
    n_tokens: int

    @property
    def loss(self) -> float:
        """The winner's lowest validation loss, nats per token."""
        assert self.best.loss is not None
        return self.best.loss

    @property
    def winner(self) -> Measurement:
        """What the winning trial took, alone."""
        return self.best.measurement

    @property
    def total(self) -> Measurement:
        """What all trials took together."""
        return Measurement.total(trial.measurement for trial in self.trials)


def run_sweep(
    train: Sequence[Blocks],
    validation: Blocks,
    *,
    shape: GptShape,
    settings: BaselineSettings,
    tokenizer: Tokenizer,
    seed: int,
    run_id: str,
    fingerprint: str,
    state: Path,
    checkpoint: Path,
    sink: RowSink,
    monitor: EnergyMonitor,
    threads: int | None = None,
    device: str = "cpu",
    reporter: Reporter = SILENT,
) -> SweepResult:
    """Train every trial of a grid, extend it where the best rate lies at an edge, keep the best.

    All trials start from the same weights and see the blocks in the same order per batch size.
    Finished trials are reused and an interrupted one goes on from its last evaluation.

    Args:
        train: the splits that make up the budget, train and tune.
        validation: chooses step and trial.
        shape: of the GPT-2, the same as the crystalline one's.
        settings: the grids, and what all trials share.
        tokenizer: goes into the checkpoint; its end token begins and ends texts.
        seed: of weights, order and dropout.
        run_id: for the rows.
        fingerprint: names the data, so that no state of other data is resumed.
        state: a folder for results and unfinished trials.
        checkpoint: the folder that gets the winner.
        sink: takes the rows of `baseline`, a part per trial.
        monitor: measures each trial's steps and validation.
        threads: cores in use; `None`: as PyTorch finds them.
        device: `cpu` or `cuda`.
        reporter: told of every logged step.

    Raises:
        ArtifactError: a state is damaged, or something cannot be written.
        ConfigError: the tokenizer's vocabulary is not the shape's.
        DataError: there is nothing to train on or to validate with.
        WorkError: every trial diverged.
    """
    if tokenizer.vocab_size != shape.vocab_size:
        raise ConfigError(
            f"the tokenizer has {tokenizer.vocab_size} tokens, the model {shape.vocab_size}",
            remedy="train with the tokenizer of the data",
        )
    sweep = _Sweep(
        train=train,
        validation=validation,
        shape=shape,
        settings=settings,
        tokenizer=tokenizer,
        seed=seed,
        fingerprint=fingerprint,
        state=state,
        checkpoint=checkpoint,
        monitor=monitor,
        device=device,
        reporter=reporter,
    )
    results: list[TrialResult] = []
    with _threads(threads):
        for part, trial in enumerate(_trials(settings, results)):
            best_loss = min((result.score for result in results), default=math.inf)
            results.append(sweep.run(trial, best_loss))
            sink.append("baseline", part, _rows(results[-1], settings, run_id, seed))
        best = _best(results)
        if best.loss is None:
            raise WorkError(
                f"all {len(results)} AdamW trials diverged: no loss stayed finite",
                remedy="lower baseline.learning_rates or baseline.grad_clip",
            )
        sweep.ensure_checkpoint(best)
    n_tokens = sum(split.n_blocks * split.block_size for split in train)
    return SweepResult(best, tuple(results), checkpoint, n_tokens)


@dataclass(frozen=True)
class _Sweep:
    """What the trials of a sweep share; the attributes are arguments of `run_sweep`."""

    train: Sequence[Blocks]
    validation: Blocks
    shape: GptShape
    settings: BaselineSettings
    tokenizer: Tokenizer
    seed: int
    fingerprint: str
    state: Path
    checkpoint: Path
    monitor: EnergyMonitor
    device: str
    reporter: Reporter

    def run(self, trial: Trial, best_loss: float) -> TrialResult:
        """Return a trial's result, stored or new; one below `best_loss` becomes the checkpoint.

        The checkpoint is written before the result, the state removed after it: interrupted
        anywhere, the trial ends again from its last state with the same outcome.
        """
        digest = self._digest(trial)
        stored = self.state / f"{digest}.json"
        if stored.exists():
            return TrialResult.read(stored)
        unfinished = self.state / f"{digest}.safetensors"
        model = new_gpt2(
            self.shape,
            dropout=trial.dropout,
            end_token_id=self.tokenizer.end_token_id,
            seed=self.seed,
            device=self.device,
        )
        result = train_trial(
            model,
            self._plan(trial),
            self.train,
            self.validation,
            state=unfinished,
            monitor=self.monitor,
            reporter=self.reporter,
        )
        if result.score < best_loss:
            save_gpt2(
                model, self.tokenizer, self.checkpoint, {_DESCRIPTION: self._describe(result)}
            )
        atomic_write_json(stored, result.to_record())
        unfinished.unlink(missing_ok=True)
        return result

    def ensure_checkpoint(self, best: TrialResult) -> None:
        """Train the winner again if the checkpoint is not, or no longer, its own."""
        description = self.checkpoint / _DESCRIPTION
        try:
            if read_json(description) == self._describe(best):
                return
        except ArtifactError:
            pass  # removed or damaged: as good as another's
        (self.state / f"{self._digest(best.trial)}.json").unlink(missing_ok=True)
        self.run(best.trial, math.inf)

    def _plan(self, trial: Trial) -> TrainingPlan:
        n_blocks = sum(split.n_blocks for split in self.train)
        return TrainingPlan(trial, self.settings, n_blocks, self.seed)

    def _digest(self, trial: Trial) -> str:
        """Name everything that a trial's outcome depends on."""
        return digest_of(
            {
                **self._plan(trial).to_record(),
                "version": _STATE_VERSION,
                "shape": asdict(self.shape),
                "data": self.fingerprint,
                "train": [[split.name, split.n_blocks, split.block_size] for split in self.train],
                "validation": self.validation.n_blocks,
            }
        )[:16]

    def _describe(self, result: TrialResult) -> dict[str, Any]:
        return {
            "digest": self._digest(result.trial),
            "data": self.fingerprint,
            **self._plan(result.trial).to_record(),
            "validation_loss": result.loss,
            "best_step": result.best_step,
            "n_steps": result.n_steps,
        }


def _trials(settings: BaselineSettings, results: Sequence[TrialResult]) -> Iterator[Trial]:
    """Yield the trials to train, each chosen from the results so far."""
    if settings.strategy == "product":
        yield from _product(settings)
        yield from _beyond(settings, results)
    else:
        yield from _one_at_a_time(settings, results)


def _product(settings: BaselineSettings) -> Iterator[Trial]:
    """Yield every combination of the grids' values, rates varying fastest."""
    for schedule, batch_size, dropout, lr in itertools.product(
        settings.schedules, settings.batch_sizes, settings.dropouts, settings.learning_rates
    ):
        yield Trial(lr, schedule, batch_size, dropout)


def _one_at_a_time(settings: BaselineSettings, results: Sequence[TrialResult]) -> Iterator[Trial]:
    grids: dict[str, Sequence[Any]] = {
        "lr": settings.learning_rates,
        "batch_size": settings.batch_sizes,
        "schedule": settings.schedules,
        "dropout": settings.dropouts,
    }
    yield Trial(**{name: values[0] for name, values in grids.items()})
    before = math.inf
    while (best := _best(results)).loss is not None and best.loss < before - _WORTHWHILE:
        before = best.loss
        for name, values in grids.items():
            around = [replace(_best(results).trial, **{name: value}) for value in values]
            done = {result.trial for result in results}
            yield from (trial for trial in around if trial not in done)
            if name == "lr":
                yield from _beyond(settings, results)


def _beyond(settings: BaselineSettings, results: Sequence[TrialResult]) -> Iterator[Trial]:
    """Yield rates beyond the edge of those tried while the best of `results` lies on it."""
    for _ in range(settings.extend):
        best = _best(results)
        if best.loss is None:
            return
        tried = [result.trial for result in results]
        rates = [trial.lr for trial in tried if replace(trial, lr=best.trial.lr) == best.trial]
        if best.trial.lr == max(rates):
            beyond = best.trial.lr * 2
        elif best.trial.lr == min(rates):
            beyond = best.trial.lr / 2
        else:
            return
        yield replace(best.trial, lr=beyond)


def _best(results: Sequence[TrialResult]) -> TrialResult:
    return min(results, key=lambda result: result.score)


def _rows(
    result: TrialResult, settings: BaselineSettings, run_id: str, seed: int
) -> list[dict[str, Any]]:
    named = {"run_id": run_id, "seed": seed, **asdict(result.trial), "passes": settings.passes}
    return [{**named, **row} for row in result.rows]


@contextmanager
def _threads(threads: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
