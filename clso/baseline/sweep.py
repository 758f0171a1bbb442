"""A sweep: trials of AdamW from the same weights on the same tokens; the best model is kept."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from clso.artifacts import atomic_write_json, read_json
from clso.baseline.model import AdamwGpt2, Blocks
from clso.baseline.plan import TrainingPlan, Trial
from clso.baseline.settings import BaselineSettings
from clso.baseline.train import TrialResult, train_trial
from clso.checkpoint import save_gpt2
from clso.data.tokenizer import Tokenizer
from clso.digest import digest_of
from clso.energy import EnergyMonitor, Measurement
from clso.errors import ArtifactError, ConfigError, WorkError
from clso.gpt import GptShape
from clso.progress import SILENT, Reporter

__all__ = ["Sweep", "SweepResult"]

_STATE_VERSION = 1
# A round over all grids that gains less, in nats per token, is the last.
_SMALLEST_GAIN = 1e-3
_DESCRIPTION = "training.json"


@dataclass(frozen=True)
class SweepResult:
    """The result of a sweep.

    Attributes:
        trials: the results of all trials, in the order of training.
        start_loss: validation loss of a warm start before its first step, nats per token.
        before: time and energy of `start_loss`.
    """

    trials: tuple[TrialResult, ...]
    start_loss: float | None = None
    before: Measurement | None = None

    @property
    def best(self) -> TrialResult:
        """The trial with the lowest validation loss."""
        return min(self.trials, key=lambda trial: trial.score)

    @property
    def total(self) -> Measurement:
        """Time and energy of everything."""
        before = [self.before] if self.before else []
        return Measurement.total([*before, *(trial.measurement for trial in self.trials)])

    def steps_to(self, loss: float) -> int | None:
        """Return the first evaluated step of any trial with a validation loss of at most `loss`."""
        if self.start_loss is not None and self.start_loss <= loss:
            return 0
        steps = [
            row["step"]
            for trial in self.trials
            for row in trial.rows
            if row["validation_loss"] is not None and row["validation_loss"] <= loss
        ]
        return min(steps, default=None)


@dataclass(frozen=True)
class Sweep:
    """Trials of AdamW that share data, settings and seed.

    Results are stored: finished trials are reused, and an interrupted trial resumes from its last
    evaluation.

    Attributes:
        validation: chooses step and trial.
        settings: the grids, and the settings that all trials share.
        tokenizer: saved with the checkpoint; its end token begins and ends texts.
        seed: of weights, order and dropout.
        fingerprint: of the data and the start; results of another fingerprint are not reused.
        state: a folder for results and unfinished trials.
        checkpoint: the folder for the best model.
        monitor: measures steps and validation of each trial.
        device: `cpu` or `cuda`.
    """

    train: Sequence[Blocks]
    validation: Blocks
    settings: BaselineSettings
    tokenizer: Tokenizer
    seed: int
    fingerprint: str
    state: Path
    checkpoint: Path
    monitor: EnergyMonitor
    device: str = "cpu"
    reporter: Reporter = SILENT

    def from_scratch(
        self,
        shape: GptShape,
        *,
        threads: int | None = None,
        on_result: Callable[[int, TrialResult], None] | None = None,
    ) -> SweepResult:
        """Train every trial of the grids; extend them where the best rate lies at an edge.

        All trials start from the same weights. Trials of equal batch size see the blocks in the
        same order. `threads`: `None` leaves PyTorch's number. `on_result` gets number and result
        of each trial.

        Raises:
            ArtifactError: a stored result is damaged, or a file cannot be written.
            ConfigError: the tokenizer's vocabulary is not the shape's.
            DataError: there are no blocks to train on or to validate with.
            WorkError: every trial diverged.
        """
        if self.tokenizer.vocab_size != shape.vocab_size:
            raise ConfigError(
                f"the tokenizer has {self.tokenizer.vocab_size} tokens, the model "
                f"{shape.vocab_size}",
                remedy="train with the tokenizer of the data",
            )

        def new_model(trial: Trial) -> AdamwGpt2:
            return AdamwGpt2.new(
                shape,
                dropout=trial.dropout,
                end_token_id=self.tokenizer.end_token_id,
                seed=self.seed,
                device=self.device,
            )

        trials = _Trials(self, self.settings, self._identity(shape), new_model)
        with _threads(threads):
            for number, trial in enumerate(_grid_trials(self.settings, trials.results)):
                result = trials.run(trial)
                if on_result is not None:
                    on_result(number, result)
            trials.keep_best("lower baseline.learning_rates or baseline.grad_clip")
        return SweepResult(tuple(trials.results))

    def _identity(self, shape: GptShape) -> dict[str, Any]:
        """Return the values that trials from random weights depend on, besides their plan."""
        return {
            "version": _STATE_VERSION,
            "shape": asdict(shape),
            "data": self.fingerprint,
            "train": [[split.name, split.n_blocks, split.block_size] for split in self.train],
            "validation": self.validation.n_blocks,
        }

    def from_checkpoint(self, found: Path, like: Trial) -> SweepResult:
        """Train a crystalline GPT further, once per rate of `settings.warm_start`.

        `found` is the folder of a GPT-2 whose head is not tied. `like` gives schedule, batch size
        and dropout.

        Raises:
            ArtifactError: checkpoint or stored result is damaged, or a file cannot be written.
            DataError: there are no blocks to train on or to validate with.
            WorkError: every trial diverged.
        """

        def new_model(trial: Trial) -> AdamwGpt2:
            return AdamwGpt2.trainable(
                found, dropout=trial.dropout, seed=self.seed, device=self.device
            )

        warm_start = self.settings.warm_start
        settings = self.settings.replaced(eval_points=warm_start.eval_points)
        with self.monitor.window() as window:
            start_loss = new_model(like).mean_nll(self.validation)
        trials = _Trials(self, settings, {"data": self.fingerprint}, new_model)
        for lr in warm_start.learning_rates:
            trials.run(replace(like, lr=lr))
        trials.keep_best("lower baseline.warm_start.learning_rates")
        return SweepResult(tuple(trials.results), start_loss, window.measurement)


@dataclass(frozen=True)
class _Trials:
    """The trials of a sweep from one start.

    Results depend on the plan of the trial and on `identity`, JSON values.
    """

    sweep: Sweep
    settings: BaselineSettings
    identity: Mapping[str, Any]
    new_model: Callable[[Trial], AdamwGpt2]
    results: list[TrialResult] = field(default_factory=list)

    def run(self, trial: Trial) -> TrialResult:
        """Add a trial's result, stored or new; a new lowest loss becomes the checkpoint."""
        result = self._result(trial, min((done.score for done in self.results), default=math.inf))
        self.results.append(result)
        return result

    def keep_best(self, remedy: str) -> None:
        """Train the best trial again if the checkpoint is not, or no longer, its own.

        Raises:
            WorkError: every trial diverged.
        """
        best = _best(self.results)
        if best.loss is None:
            raise WorkError(
                f"all {len(self.results)} AdamW trials diverged: no loss stayed finite",
                remedy=remedy,
            )
        try:
            if read_json(self.sweep.checkpoint / _DESCRIPTION) == self._describe(best):
                return
        except ArtifactError:
            pass  # removed or damaged
        (self.sweep.state / f"{self._digest(best.trial)}.json").unlink(missing_ok=True)
        self._result(best.trial, math.inf)

    def _result(self, trial: Trial, best_loss: float) -> TrialResult:
        """Return the stored result of a trial, or train it.

        The checkpoint is written before the result, and the state is removed after it. So a trial
        that is interrupted anywhere resumes from its last state, with the same result.
        """
        sweep, digest = self.sweep, self._digest(trial)
        stored, unfinished = sweep.state / f"{digest}.json", sweep.state / f"{digest}.safetensors"
        if stored.exists():
            return TrialResult.read(stored)
        model = self.new_model(trial).model
        result = train_trial(
            model,
            self._plan(trial),
            sweep.train,
            sweep.validation,
            state=unfinished,
            monitor=sweep.monitor,
            reporter=sweep.reporter,
        )
        if result.score < best_loss:
            descriptions = {_DESCRIPTION: self._describe(result)}
            save_gpt2(model, sweep.tokenizer, sweep.checkpoint, descriptions)
        atomic_write_json(stored, result.to_record())
        unfinished.unlink(missing_ok=True)
        return result

    def _plan(self, trial: Trial) -> TrainingPlan:
        n_blocks = sum(split.n_blocks for split in self.sweep.train)
        return TrainingPlan(trial, self.settings, n_blocks, self.sweep.seed)

    def _digest(self, trial: Trial) -> str:
        """Return the name of everything that the result of a trial depends on."""
        return digest_of({**self._plan(trial).to_record(), **self.identity})[:16]

    def _describe(self, result: TrialResult) -> dict[str, Any]:
        return {
            "digest": self._digest(result.trial),
            "data": self.sweep.fingerprint,
            **self._plan(result.trial).to_record(),
            "validation_loss": result.loss,
            "best_step": result.best_step,
            "n_steps": result.n_steps,
        }


def _grid_trials(settings: BaselineSettings, results: Sequence[TrialResult]) -> Iterator[Trial]:
    """Yield the trials to train, each chosen from the results so far."""
    if settings.strategy == "one_at_a_time":
        yield from _one_at_a_time(settings, results)
        return
    # rates vary fastest
    for schedule, batch_size, dropout, lr in itertools.product(
        settings.schedules, settings.batch_sizes, settings.dropouts, settings.learning_rates
    ):
        yield Trial(lr, schedule, batch_size, dropout)
    yield from _beyond(settings, results)


def _one_at_a_time(settings: BaselineSettings, results: Sequence[TrialResult]) -> Iterator[Trial]:
    grids: dict[str, Sequence[Any]] = {
        "lr": settings.learning_rates,
        "batch_size": settings.batch_sizes,
        "schedule": settings.schedules,
        "dropout": settings.dropouts,
    }
    yield Trial(**{name: values[0] for name, values in grids.items()})
    before = math.inf
    while (best := _best(results)).loss is not None and best.loss < before - _SMALLEST_GAIN:
        before = best.loss
        for name, values in grids.items():
            around = [replace(_best(results).trial, **{name: value}) for value in values]
            done = {result.trial for result in results}
            yield from (trial for trial in around if trial not in done)
            if name == "lr":
                yield from _beyond(settings, results)


def _beyond(settings: BaselineSettings, results: Sequence[TrialResult]) -> Iterator[Trial]:
    """Yield trials with rates beyond the tried ones while the best rate lies at their edge."""
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


@contextmanager
def _threads(threads: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
