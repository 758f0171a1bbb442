"""One trial: a network is trained on packed blocks and resumes from the last evaluation."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from clso.artifacts import read_sealed, write_sealed
from clso.baseline.optimizers import OptimizerKind
from clso.baseline.plan import TrainingPlan, Trial, check_batch
from clso.baseline.state import Progress, write_tensors
from clso.baseline.step import TrainingStep, seed_dropout
from clso.baseline.trainable import Blocks, Trainable, mean_nll
from clso.energy import EnergyMonitor, Measurement, Window
from clso.errors import DamageError, DataError
from clso.progress import SILENT, ProgressTask, Reporter
from clso.scoring import Int64Array
from clso.threads import torch_threads

__all__ = ["TrialResult", "train_trial"]


@dataclass(frozen=True)
class TrialResult:
    """The result of a trial.

    Attributes:
        trial: its settings.
        loss: the lowest validation loss, nats per token; `None` if training diverged.
        best_step: the step with this loss, whose weights are kept.
        n_steps: number of planned steps.
        rows: its rows of the table `baseline`, without the columns that name run and trial.
        training: time and energy of the steps.
        validation: time and energy of the validation losses.
        threads: cores that it was trained with; the last digits of a loss depend on them.
    """

    trial: Trial
    loss: float | None
    best_step: int | None
    n_steps: int
    rows: tuple[dict[str, Any], ...]
    training: Measurement
    validation: Measurement
    threads: int

    @property
    def score(self) -> float:
        """The loss by which trials are ranked, infinite if training diverged."""
        return math.inf if self.loss is None else self.loss

    @property
    def measurement(self) -> Measurement:
        """Time and energy of steps and validation, without the writing of states."""
        return Measurement.total([self.training, self.validation])

    def table_rows(self, **columns: object) -> list[dict[str, Any]]:
        """Return the rows with the trial's settings and further columns."""
        return [{**columns, **self.trial.to_record(), **row} for row in self.rows]

    def to_record(self) -> dict[str, Any]:
        """Return plain JSON values."""
        measured = {name: getattr(self, name).to_record() for name in ("training", "validation")}
        return {**asdict(self), **measured}

    def write(self, path: Path) -> None:
        """Write a file that `read` reads; it is named after the trial.

        Raises:
            ArtifactError: it cannot be written.
        """
        write_sealed(path, self.to_record(), belongs_to=path.stem)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what `write` wrote.

        Raises:
            ArtifactError: the file is missing, damaged or another trial's.
        """
        remedy = "delete it; the trial is trained again"
        record = read_sealed(path, belongs_to=path.stem, remedy=remedy)
        try:
            measured = {
                name: Measurement.from_record(record[name]) for name in ("training", "validation")
            }
            trial, rows = Trial(**record["trial"]), tuple(record["rows"])
            return cls(**{**record, **measured, "trial": trial, "rows": rows})
        except (KeyError, TypeError, ValueError) as error:
            raise DamageError(f"{path} is damaged: {error!r}", remedy=remedy) from error


def train_trial(
    network: Trainable,
    plan: TrainingPlan,
    train: Sequence[Blocks],
    validation: Blocks,
    *,
    state: Path | None,
    monitor: EnergyMonitor,
    reporter: Reporter = SILENT,
    optimizer: OptimizerKind = "adamw",
    title: str = "AdamW",
    snapshots: Path | None = None,
) -> TrialResult:
    """Train a network by a plan; it ends with the weights of the best evaluation.

    The file `state` is written at every evaluation. If it exists, training resumes from it, with
    the number of threads that it began with: on one kind of processor the final weights are the
    same, bit for bit. A trial ends when its loss is not finite, and then has no losses on record.

    Args:
        network: as initialised; a resumed trial overwrites its weights.
        train: the splits to train on, `plan.n_blocks` blocks together.
        state: a file of this trial alone; `None`: an interrupted trial starts again.
        title: names the network where the progress is shown.
        snapshots: a folder that gets the weights of every evaluation; `None`: only the best stay.

    Raises:
        ArtifactError: the state is damaged or cannot be written.
        ConfigError: PyTorch lacks the optimizer, or a batch is larger than the training text.
        DataError: there is nothing to train on or to validate with.
    """
    for split in (*train, validation):
        if split.n_blocks < 1:
            raise DataError(
                f"{split.name} has no blocks of {split.block_size} tokens",
                remedy="give more text, a smaller data.block_size, or a larger share to the split",
            )
    check_batch(plan.trial.batch_size, plan.n_blocks)
    device = network.device
    with (
        torch_threads(torch.get_num_threads()),
        torch.random.fork_rng(devices=[device] if device.type == "cuda" else []),
        reporter.task(f"{title} {plan.trial}", plan.n_steps) as task,
    ):
        training = _Training(network, plan, train, validation, state, monitor, optimizer, snapshots)
        return training.run(task)


@dataclass
class _Training:
    """A trial in progress; the arguments are those of `train_trial`."""

    network: Trainable
    plan: TrainingPlan
    train: Sequence[Blocks]
    validation: Blocks
    state: Path | None
    monitor: EnergyMonitor
    optimizer: OptimizerKind
    snapshots: Path | None

    def __post_init__(self) -> None:
        self.starts = np.cumsum([0, *(split.n_blocks for split in self.train)])
        assert self.starts[-1] == self.plan.n_blocks
        self.model, self.device = self.network.model, self.network.device
        self.step = TrainingStep(
            self.network,
            weight_decay=self.plan.weight_decay,
            grad_clip=self.plan.settings.grad_clip,
            optimizer=self.optimizer,
            betas=self.plan.settings.betas,
        )
        self.best: dict[str, torch.Tensor] = {}
        self.progress = Progress()

    def run(self, task: ProgressTask) -> TrialResult:
        self._resume()
        progress, plan = self.progress, self.plan
        if progress.step < plan.n_steps:
            batches = plan.batches(after=progress.step)
            for stop in sorted(step for step in plan.eval_steps if step > progress.step):
                if self._is_over():
                    break
                self._train_until(stop, batches, task)
                if not progress.diverged:
                    self._evaluate(task)
                    self._write_snapshot()
                self._write_state()
        if progress.diverged:
            for row in progress.rows:
                row["train_loss"] = row["validation_loss"] = None
            progress.best_loss = progress.best_step = None
        else:
            self._load(self.best)
        return TrialResult(
            trial=plan.trial,
            loss=progress.best_loss,
            best_step=progress.best_step,
            n_steps=plan.n_steps,
            rows=tuple(progress.rows),
            training=progress.training,
            validation=progress.validation,
            threads=progress.threads,
        )

    def _is_over(self) -> bool:
        """Return whether the trial has diverged, or gains nothing any more.

        In the first half of a cosine the rate is high, and losses that rise there fall again.
        """
        progress, patience = self.progress, self.plan.settings.stop_after
        if progress.diverged or patience is None or progress.best_step is None:
            return progress.diverged
        half = self.plan.n_steps / 2 if self.plan.trial.schedule == "cosine" else 0
        later = [
            row
            for row in progress.rows
            if row["validation_loss"] is not None and row["step"] > max(progress.best_step, half)
        ]
        return len(later) >= patience

    def _train_until(
        self, stop: int, batches: Iterator[tuple[int, Int64Array]], task: ProgressTask
    ) -> None:
        progress, plan = self.progress, self.plan
        losses: list[float] = []
        self.model.train()
        with self._window("training") as window:
            for step, index in batches:
                if plan.trial.dropout:
                    seed_dropout(plan.dropout_seed(step), self.device)
                loss = self.step(*self._read(index), plan.lr(step))
                progress.step = step
                progress.diverged = not math.isfinite(loss)
                losses.append(loss)
                if progress.diverged or plan.is_logged(step):
                    mean = None if progress.diverged else math.fsum(losses) / len(losses)
                    self._log(window, mean)
                    losses.clear()
                    task.update(step, "diverged" if mean is None else f"loss {mean:.3f}")
                if progress.diverged or step == stop:
                    return

    def _evaluate(self, task: ProgressTask) -> None:
        progress = self.progress
        with self._window("validation"):
            self.model.eval()
            loss = mean_nll(self.network, self.validation)
        total = Measurement.total([progress.training, progress.validation])
        row = progress.rows[-1]
        row.update(_measured(total))
        if not math.isfinite(loss):
            progress.diverged = True
            return
        row["validation_loss"] = loss
        if progress.best_loss is None or loss < progress.best_loss:
            progress.best_loss, progress.best_step = loss, progress.step
            self.best = {
                name: parameter.detach().clone()
                for name, parameter in self.model.named_parameters()
            }
        task.update(progress.step, f"validation {loss:.3f}")

    @contextmanager
    def _window(self, part: str) -> Iterator[Window]:
        """Add time and energy of the block to one part of the progress, when it ends."""
        with self.monitor.window() as window:
            yield window
        before = getattr(self.progress, part)
        setattr(self.progress, part, Measurement.total([before, window.measurement]))

    def _log(self, window: Window, train_loss: float | None) -> None:
        """Add a row; duration and energy are those of the trial so far, with validation."""
        progress, plan = self.progress, self.plan
        parts = (progress.training, progress.validation, window.so_far())
        passes, within = divmod(progress.step, plan.steps_per_pass)
        seen = passes * plan.n_blocks + min(within * plan.trial.batch_size, plan.n_blocks)
        progress.rows.append(
            {
                "threads": progress.threads,
                "step": progress.step,
                "tokens": seen * self.validation.block_size,
                "train_loss": train_loss,
                "validation_loss": None,
                **_measured(Measurement.total(parts)),
            }
        )

    def _read(self, index: Int64Array) -> tuple[torch.Tensor, torch.Tensor]:
        """Return inputs and targets of blocks, numbered over all training splits, `(B, T)`."""
        split_of_block = np.searchsorted(self.starts, index, side="right") - 1
        shape = (len(index), self.validation.block_size)
        inputs, targets = np.empty(shape, np.int64), np.empty(shape, np.int64)
        for split in np.unique(split_of_block):
            rows = split_of_block == split
            local_index = index[rows] - self.starts[split]
            inputs[rows], targets[rows] = self.train[split].blocks(local_index)
        return torch.from_numpy(inputs).to(self.device), torch.from_numpy(targets).to(self.device)

    def _load(self, weights: dict[str, torch.Tensor]) -> None:
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                parameter.copy_(weights[name])

    def _write_snapshot(self) -> None:
        if self.snapshots is None:
            return
        weights = {name: value.detach() for name, value in self.model.named_parameters()}
        path = self.snapshots / f"{self.progress.step:08d}.safetensors"
        write_tensors(path, weights, belongs_to=self.snapshots.stem)

    def _write_state(self) -> None:
        if self.state is None:
            return
        tensors = {f"best.{name}": tensor for name, tensor in self.best.items()}
        for name, parameter in self.model.named_parameters():
            tensors[f"model.{name}"] = parameter
        for kind, optimizer in self.step.optimizers.items():
            for index, moments in optimizer.state_dict()["state"].items():
                for name, tensor in moments.items():
                    tensors[f"{kind}.{index}.{name}"] = tensor
        self.progress.save(self.state, tensors)

    def _resume(self) -> None:
        stored = None if self.state is None else Progress.load(self.state, self.device)
        if stored is None:
            return
        self.progress, tensors = stored
        torch.set_num_threads(self.progress.threads)
        groups: defaultdict[str, dict[str, torch.Tensor]] = defaultdict(dict)
        for name, tensor in tensors.items():
            group, _, name_in_group = name.partition(".")
            groups[group][name_in_group] = tensor
        self.best = groups["best"]
        self._load(groups["model"])
        for kind, optimizer in self.step.optimizers.items():
            moments: defaultdict[int, dict[str, torch.Tensor]] = defaultdict(dict)
            for name, tensor in groups[kind].items():
                index, _, moment = name.partition(".")
                moments[int(index)][moment] = tensor
            parameters = optimizer.state_dict()["param_groups"]
            optimizer.load_state_dict({"state": dict(moments), "param_groups": parameters})


def _measured(measurement: Measurement) -> dict[str, Any]:
    return {
        "duration_s": measurement.duration_s,
        "energy_j": measurement.energy_j,
        "energy_source": measurement.energy_source,
        "estimated": measurement.estimated,
    }
