"""One trial as a task: a function of what all trials share and of the trial's own settings.

Nothing here reads a folder of the sweep, unless the sweep's own machine trains. So a trial can be
trained wherever the shared inputs are sent to.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import torch
from safetensors.torch import load, save

from clso.artifacts import check_folder
from clso.baseline.model import AdamwGpt2
from clso.baseline.optimizers import OptimizerKind
from clso.baseline.plan import TrainingPlan, Trial
from clso.baseline.settings import SweepSettings
from clso.baseline.train import TrialResult, train_trial
from clso.baseline.trainable import Blocks, Trainable
from clso.digest import digest_of
from clso.energy import EnergyMonitor
from clso.gpt import GptShape
from clso.progress import SILENT, Reporter
from clso.threads import torch_threads

__all__ = [
    "FromCheckpoint",
    "FromScratch",
    "FromTrained",
    "Start",
    "TrainedTrial",
    "TrainingInputs",
    "TrialTask",
    "load_weights",
    "set_weights",
    "train_task",
]

_CHECKPOINT_FILES = ("config.json", "model.safetensors")

# the random numbers of dropout and the number of threads belong to the whole process
_one_at_a_time = threading.Lock()


class Start(Protocol):
    """The weights that all trials of a sweep begin with; picklable."""

    @property
    def fingerprint(self) -> str:
        """Names the weights."""

    def model(self, dropout: float) -> Trainable:
        """Return a model of its own for one trial."""


@dataclass(frozen=True)
class FromScratch:
    """GPT-2's own initialisation; see `AdamwGpt2.new`."""

    shape: GptShape
    end_token_id: int
    seed: int
    device: str

    @property
    def fingerprint(self) -> str:
        """Names the weights: shape, end token, seed and device."""
        return digest_of(asdict(self))

    def model(self, dropout: float) -> AdamwGpt2:
        """Return an untrained model."""
        return AdamwGpt2.new(
            self.shape,
            dropout=dropout,
            end_token_id=self.end_token_id,
            seed=self.seed,
            device=self.device,
        )


@dataclass(frozen=True)
class FromCheckpoint:
    """A crystalline GPT whose branches are made trainable; see `AdamwGpt2.trainable`.

    Attributes:
        found: the folder of its checkpoint; `None` in a pickled copy, which has the files instead.
        files: the contents of the files by name.
    """

    found: Path | None
    seed: int
    device: str
    files: tuple[tuple[str, bytes], ...] = ()

    def __reduce__(self) -> tuple[Any, ...]:
        files = self.files
        if self.found is not None:
            self._check(self.found)
            files = tuple((name, (self.found / name).read_bytes()) for name in _CHECKPOINT_FILES)
        return type(self), (None, self.seed, self.device, files)

    @property
    def fingerprint(self) -> str:
        """Names the weights: the checkpoint, seed and device."""
        digest = hashlib.sha256(f"{self.seed} {self.device}".encode())
        with self._folder() as found:
            self._check(found)
            for name in _CHECKPOINT_FILES:
                digest.update((found / name).read_bytes())
        return digest.hexdigest()

    def model(self, dropout: float) -> AdamwGpt2:
        """Return the model of the checkpoint.

        Raises:
            ArtifactError: there is no GPT-2 checkpoint, or it is damaged.
            ValueError: its head is tied.
        """
        with self._folder() as found:
            return AdamwGpt2.trainable(found, dropout=dropout, seed=self.seed, device=self.device)

    @staticmethod
    def _check(found: Path) -> None:
        check_folder(found, remedy="make it again with the command that made the run")

    @contextmanager
    def _folder(self) -> Iterator[Path]:
        if self.found is not None:
            yield self.found
            return
        with TemporaryDirectory(prefix="clso-") as temporary:
            for name, content in self.files:
                (Path(temporary) / name).write_bytes(content)
            yield Path(temporary)


class FromTrained(FromCheckpoint):
    """A GPT-2 that gradients have trained, to train it further on another text or task."""

    def model(self, dropout: float) -> AdamwGpt2:
        """Return the model of the checkpoint.

        Raises:
            ArtifactError: there is no GPT-2 checkpoint, or it is damaged.
        """
        with self._folder() as found:
            return AdamwGpt2.further(found, dropout=dropout, device=self.device)


@dataclass(frozen=True)
class TrainingInputs:
    """What all trials of a sweep share.

    Attributes:
        train: the splits to train on.
        validation: chooses the step whose weights are kept.
        settings: those that the trials share.
        seed: of order and dropout.
        start: the weights that training begins with.
        threads: cores of a trial. The last digits of a loss depend on their number.
        monitor: measures steps and validations.
        reporter: shows the progress; stays behind when the inputs are pickled.
        optimizer: trains the network.
        title: names the network where the progress is shown.
    """

    train: Sequence[Blocks]
    validation: Blocks
    settings: SweepSettings
    seed: int
    start: Start
    threads: int
    monitor: EnergyMonitor
    reporter: Reporter = SILENT
    optimizer: OptimizerKind = "adamw"
    title: str = "AdamW"

    def __reduce__(self) -> tuple[Any, ...]:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return type(self), tuple({**values, "reporter": SILENT}.values())

    def plan(self, trial: Trial) -> TrainingPlan:
        """Return the steps of a trial."""
        n_blocks = sum(split.n_blocks for split in self.train)
        return TrainingPlan(trial, self.settings, n_blocks, self.seed)


@dataclass(frozen=True)
class TrialTask:
    """A trial to train.

    Attributes:
        state: a file that it resumes from; `None` where there is no disk.
        snapshots: a folder for the weights of every evaluation; `None`: they are not kept.
    """

    trial: Trial
    state: Path | None = None
    snapshots: Path | None = None


@dataclass(frozen=True)
class TrainedTrial:
    """The result of a trial, and the weights of its best step.

    Attributes:
        weights: the parameters as safetensors; empty if training diverged.
    """

    result: TrialResult
    weights: bytes


def train_task(inputs: TrainingInputs, task: TrialTask) -> TrainedTrial:
    """Train one trial.

    Raises:
        ArtifactError: the state is damaged or cannot be written.
        DataError: there is nothing to train on or to validate with.
    """
    with _one_at_a_time, torch_threads(inputs.threads):
        network = inputs.start.model(task.trial.dropout)
        result = train_trial(
            network,
            inputs.plan(task.trial),
            inputs.train,
            inputs.validation,
            state=task.state,
            monitor=inputs.monitor,
            reporter=inputs.reporter,
            optimizer=inputs.optimizer,
            title=inputs.title,
            snapshots=task.snapshots,
        )
    if result.loss is None:
        return TrainedTrial(result, b"")
    parameters = network.model.named_parameters()
    named = {name: value.detach().contiguous() for name, value in parameters}
    return TrainedTrial(result, save(named))


def load_weights(model: torch.nn.Module, weights: bytes) -> None:
    """Give a model the weights of a trained trial."""
    set_weights(model, load(weights))


def set_weights(model: torch.nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
    """Give a model other parameters, by their names."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(tensors[name])
