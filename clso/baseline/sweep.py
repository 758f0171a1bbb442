"""A sweep: trials of a network from the same weights on the same tokens; the best model is kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from clso.artifacts import check_folder, read_json, remove
from clso.baseline.grids import best_of, trial_groups
from clso.baseline.optimizers import OptimizerKind
from clso.baseline.plan import Trial
from clso.baseline.settings import BaselineSettings, SweepSettings
from clso.baseline.task import (
    FromCheckpoint,
    FromScratch,
    Start,
    TrainedTrial,
    TrainingInputs,
    TrialTask,
    load_weights,
    train_task,
)
from clso.baseline.train import TrialResult
from clso.baseline.trainable import Blocks, mean_nll
from clso.cores import available_cores
from clso.data.tokenizer import Tokenizer
from clso.digest import digest_of
from clso.energy import EnergyMonitor, Measurement
from clso.engine import Engine, Shared
from clso.errors import ArtifactError, ConfigError, WorkError
from clso.gpt import GptShape
from clso.progress import SILENT, Reporter
from clso.threads import torch_threads

__all__ = ["Sweep", "SweepResult", "trial_of"]

_STATE_VERSION = 3
_DESCRIPTION = "training.json"


def trial_of(checkpoint: Path) -> str:
    """Return the name that the files of a checkpoint's trial belong to.

    Raises:
        ArtifactError: the checkpoint is missing or damaged.
    """
    check_folder(checkpoint, remedy="delete it; the trial is trained again")
    return str(read_json(checkpoint / _DESCRIPTION)["digest"])


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
        return best_of(self.trials)

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
    """Trials of one network that share data, settings and seed.

    Results are stored: finished trials are reused, and an interrupted trial resumes from its last
    evaluation. Trials that do not depend on one another may run at once on an engine; the results
    are the same. On the workers of a cluster an interrupted trial begins again.

    Attributes:
        validation: chooses step and trial.
        settings: the grids, and the settings that all trials share.
        tokenizer: saved with the checkpoint; its end token begins and ends texts.
        seed: of weights, order and dropout.
        fingerprint: of the data and the start; results of another fingerprint are not reused.
        belongs_to: the `uid` of the run; results of another run are not reused.
        state: a folder for results and unfinished trials.
        checkpoint: the folder for the best model.
        monitor: measures steps and validation of each trial.
        device: `cpu` or `cuda`.
        threads: cores of a trial; `None`: PyTorch's number.
        engine: trains the trials; `None`: this process does.
        optimizer: trains the network.
        title: names the network where the progress is shown.
        snapshots: a folder for the best trial's weights at every evaluation, if the trials have the
            sweep's disk; `None`: only the best weights stay.
    """

    train: Sequence[Blocks]
    validation: Blocks
    settings: SweepSettings
    tokenizer: Tokenizer
    seed: int
    fingerprint: str
    state: Path
    checkpoint: Path
    monitor: EnergyMonitor
    device: str = "cpu"
    threads: int | None = None
    engine: Engine | None = None
    reporter: Reporter = SILENT
    optimizer: OptimizerKind = "adamw"
    title: str = "AdamW"
    snapshots: Path | None = None
    belongs_to: str = ""

    def from_scratch(
        self, shape: GptShape, *, on_result: Callable[[int, TrialResult], None] | None = None
    ) -> SweepResult:
        """Train every trial of the grids; extend them where the best rate lies at an edge.

        All trials start from the same weights. Trials of equal batch size see the blocks in the
        same order. `on_result` gets number and result of each trial, in the order of the trials.

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
        start = FromScratch(shape, self.tokenizer.end_token_id, self.seed, self.device)
        return self.of(start, {"shape": asdict(shape)}, "baseline", on_result=on_result)

    def of(
        self,
        start: Start,
        identity: Mapping[str, Any],
        section: str,
        *,
        on_result: Callable[[int, TrialResult], None] | None = None,
    ) -> SweepResult:
        """Train every trial of the grids from one start, as `from_scratch` does.

        `identity` names the start, as JSON values. `section` is that of the settings in a
        configuration.

        Raises:
            ArtifactError: a stored result is damaged, or a file cannot be written.
            ConfigError: a batch is larger than the training text, or PyTorch lacks the optimizer.
            DataError: there are no blocks to train on or to validate with.
            WorkError: every trial diverged.
        """
        trials = _Trials(self, self._inputs(start, self.settings), self._identity(identity))
        for group in trial_groups(self.settings, trials.results):
            for number, result in trials.run(group):
                if on_result is not None:
                    on_result(number, result)
        trials.keep_best(f"lower {section}.learning_rates or {section}.grad_clip")
        return SweepResult(tuple(trials.results))

    def from_checkpoint(self, found: Path, like: Trial) -> SweepResult:
        """Train a crystalline GPT further, once per rate of `settings.warm_start`.

        `found` is the folder of a GPT-2 whose head is not tied. `like` gives schedule, batch size
        and dropout.

        Raises:
            ArtifactError: checkpoint or stored result is damaged, or a file cannot be written.
            DataError: there are no blocks to train on or to validate with.
            WorkError: every trial diverged.
        """
        assert isinstance(self.settings, BaselineSettings)
        warm_start = self.settings.warm_start
        start = FromCheckpoint(found, self.seed, self.device)
        inputs = self._inputs(start, self.settings.replaced(eval_points=warm_start.eval_points))
        with self.monitor.window() as window, torch_threads(inputs.threads):
            start_loss = mean_nll(start.model(like.dropout), self.validation)
        trials = _Trials(self, inputs, {"data": self.fingerprint})
        for _ in trials.run([replace(like, lr=lr) for lr in warm_start.learning_rates]):
            pass
        trials.keep_best("lower baseline.warm_start.learning_rates")
        return SweepResult(tuple(trials.results), start_loss, window.measurement)

    def _inputs(self, start: Start, settings: SweepSettings) -> TrainingInputs:
        return TrainingInputs(
            self.train,
            self.validation,
            settings,
            self.seed,
            start,
            threads=self.threads or torch.get_num_threads(),
            monitor=self.monitor,
            reporter=self.reporter,
            optimizer=self.optimizer,
            title=self.title,
        )

    def _identity(self, start: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values that trials from random weights depend on, besides their plan."""
        return {
            "version": _STATE_VERSION,
            **start,
            "data": self.fingerprint,
            "train": [[split.name, split.n_blocks, split.block_size] for split in self.train],
            "validation": self.validation.n_blocks,
        }


@dataclass(frozen=True)
class _Trials:
    """The trials of a sweep from one start.

    Results depend on the plan of the trial and on `identity`, JSON values.
    """

    sweep: Sweep
    inputs: TrainingInputs
    identity: Mapping[str, Any]
    results: list[TrialResult] = field(default_factory=list)

    def run(self, group: Sequence[Trial]) -> Iterator[tuple[int, TrialResult]]:
        """Add the results, stored or new, of trials that do not depend on one another.

        Yields number and result in the order of the group, each as soon as those before it are
        there. The lowest loss so far, the first of equals, becomes the checkpoint.
        """
        first = len(self.results)
        number_of = {trial: first + index for index, trial in reversed([*enumerate(group)])}
        known = {trial: TrialResult.read(path) for trial, path in self._stored(group)}
        missing = [trial for trial in number_of if trial not in known]
        with closing(self._trained(sorted(missing, key=number_of.__getitem__))) as finished:
            for number, trial in enumerate(group, first):
                while trial not in known:
                    new = next(finished)
                    ranks = [(result.score, index) for index, result in enumerate(self.results)]
                    ranks += [(result.score, number_of[other]) for other, result in known.items()]
                    rank = (new.result.score, number_of[new.result.trial])
                    is_best = rank < min(ranks, default=(math.inf, 0))
                    self._store(new, as_checkpoint=is_best and new.result.loss is not None)
                    known[new.result.trial] = new.result
                self.results.append(known[trial])
                yield number, known[trial]

    def keep_best(self, remedy: str) -> None:
        """Train the best trial again if the checkpoint is not, or no longer, its own.

        Raises:
            WorkError: every trial diverged.
        """
        best = best_of(self.results)
        if best.loss is None:
            raise WorkError(
                f"all {len(self.results)} {self.sweep.title} trials diverged: no loss stayed "
                "finite",
                remedy=remedy,
            )
        try:
            check_folder(self.sweep.checkpoint, remedy="")
            if read_json(self.sweep.checkpoint / _DESCRIPTION) == self._describe(best):
                return
        except ArtifactError:
            pass  # removed or damaged
        self._file(best.trial, "json").unlink(missing_ok=True)
        for trained in self._trained([best.trial]):
            self._store(trained, as_checkpoint=True)

    def _stored(self, group: Sequence[Trial]) -> Iterator[tuple[Trial, Path]]:
        for trial in dict.fromkeys(group):
            if (path := self._file(trial, "json")).exists():
                yield trial, path

    def _trained(self, trials: Sequence[Trial]) -> Generator[TrainedTrial]:
        """Train trials; give each as soon as it has ended."""
        engine, resumable = (
            self.sweep.engine,
            [
                TrialTask(trial, self._file(trial, "safetensors"), self._snapshots(trial))
                for trial in trials
            ],
        )
        if engine is None or (engine.is_local and not self._leaves_cores(engine)):
            for task in resumable:
                yield train_task(self.inputs, task)
            return
        tasks = resumable if engine.is_local else [TrialTask(trial) for trial in trials]
        with self.sweep.reporter.task(f"{self.sweep.title} trials", len(tasks)) as progress:
            finished = engine.map(train_task, self._shared, tasks)
            for completed, (_, trained) in enumerate(finished, 1):
                progress.update(completed, str(trained.result.trial))
                yield trained

    def _leaves_cores(self, engine: Engine) -> bool:
        """Return whether every worker of this machine can have the threads of a trial."""
        cores = available_cores()
        return self.sweep.device == "cpu" and engine.n_workers * self.inputs.threads <= cores

    @property
    def _shared(self) -> Shared[TrainingInputs]:
        inputs = self.inputs
        values = {
            "start": inputs.start.fingerprint,
            "data": self.sweep.fingerprint,
            "splits": [
                [split.name, split.n_blocks, split.block_size]
                for split in (*inputs.train, inputs.validation)
            ],
            "settings": inputs.settings.model_dump(mode="json"),
            "seed": inputs.seed,
            "threads": inputs.threads,
            "optimizer": inputs.optimizer,
        }
        return Shared(f"trials {digest_of(values)}", inputs)

    def _store(self, trained: TrainedTrial, *, as_checkpoint: bool) -> None:
        """Keep a result, and the weights as the sweep's checkpoint.

        The checkpoint is written before the result, and the state is removed after it. So a trial
        that is interrupted anywhere resumes from its last state, with the same result.
        """
        sweep, trial = self.sweep, trained.result.trial
        if as_checkpoint:
            network = self.inputs.start.model(trial.dropout)
            load_weights(network.model, trained.weights)
            descriptions = {_DESCRIPTION: self._describe(trained.result)}
            network.save(sweep.checkpoint, sweep.tokenizer, descriptions)
        if (own := self._snapshots(trial)) is not None and own.exists():
            assert sweep.snapshots is not None
            if as_checkpoint:
                remove(sweep.snapshots)
                own.rename(sweep.snapshots)
            else:
                remove(own)
        trained.result.write(self._file(trial, "json"))
        self._file(trial, "safetensors").unlink(missing_ok=True)

    def _snapshots(self, trial: Trial) -> Path | None:
        return None if self.sweep.snapshots is None else self._file(trial, "snapshots")

    def _file(self, trial: Trial, kind: str) -> Path:
        return self.sweep.state / f"{self._digest(trial)}.{kind}"

    def _digest(self, trial: Trial) -> str:
        """Return the name of the run and of everything that the result of a trial depends on."""
        plan = self.inputs.plan(trial).to_record()
        return digest_of({"run": self.sweep.belongs_to, **plan, **self.identity})[:16]

    def _describe(self, result: TrialResult) -> dict[str, Any]:
        return {
            "digest": self._digest(result.trial),
            "data": self.sweep.fingerprint,
            **self.inputs.plan(result.trial).to_record(),
            "validation_loss": result.loss,
            "best_step": result.best_step,
            "n_steps": result.n_steps,
        }
