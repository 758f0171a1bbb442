"""Trials over a grid, the best of them kept: AdamW given its best at equal tokens."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import torch

from clso.artifacts import atomic_write_json, read_json
from clso.baseline.model import new_gpt2
from clso.baseline.plan import Schedule, TrainingPlan, TrainingSettings, Trial
from clso.baseline.train import Blocks, TrialResult, train_trial
from clso.checkpoint import save_gpt2
from clso.data.tokenizer import Tokenizer
from clso.digest import digest_of
from clso.energy import EnergyMonitor, Measurement
from clso.errors import ArtifactError, ConfigError, WorkError
from clso.gpt import GptShape
from clso.progress import SILENT, Reporter

__all__ = ["RowSink", "SweepGrid", "SweepResult", "run_sweep"]

_STATE_VERSION = 1
# A round over all lists that gains less, in nats per token, is the last.
_WORTHWHILE = 1e-3
_DESCRIPTION = "training.json"


class RowSink(Protocol):
    """Takes rows of a growing table; the same part again replaces it."""

    def append(self, table: str, part: int, rows: Iterable[Mapping[str, Any]]) -> None:
        """Store part number `part` of a table."""


@dataclass(frozen=True, slots=True)
class SweepGrid:
    """The trials to make: the product of the four lists, or one list after the other.

    Attributes:
        learning_rates: rates after the warm-up.
        schedules: `constant`, `cosine`.
        batch_sizes: blocks per step.
        dropouts: probabilities.
        extend: times that a best rate at an edge adds one beyond it, by a factor of 2.
        strategy: `product`: every combination; `one_at_a_time`: from the first of each list, one
            list after the other varies around the best trial so far, rates first, until a round
            over all lists gains less than 0.001 nats (coordinate descent).

    Raises:
        ConfigError: an empty list, a negative `extend` or an unknown strategy.
    """

    learning_rates: tuple[float, ...]
    schedules: tuple[Schedule, ...] = ("cosine",)
    batch_sizes: tuple[int, ...] = (4,)
    dropouts: tuple[float, ...] = (0.0,)
    extend: int = 2
    strategy: Literal["product", "one_at_a_time"] = "product"

    def __post_init__(self) -> None:
        if self.strategy not in ("product", "one_at_a_time"):
            raise ConfigError(
                f"baseline.strategy is {self.strategy!r}, expected product or one_at_a_time"
            )
        for name in ("learning_rates", "schedules", "batch_sizes", "dropouts"):
            if not getattr(self, name):
                raise ConfigError(f"baseline.{name} is empty, expected at least one value")
        if self.extend < 0:
            raise ConfigError(f"baseline.extend is {self.extend}, expected 0 or more")

    @property
    def first(self) -> Trial:
        """The first of each list together."""
        return Trial(
            self.learning_rates[0], self.schedules[0], self.batch_sizes[0], self.dropouts[0]
        )

    def around(self, trial: Trial) -> list[list[Trial]]:
        """Return, list by list, a trial with each of the list's values in the place of its own."""
        return [
            [replace(trial, lr=lr) for lr in self.learning_rates],
            [replace(trial, batch_size=size) for size in self.batch_sizes],
            [replace(trial, schedule=schedule) for schedule in self.schedules],
            [replace(trial, dropout=dropout) for dropout in self.dropouts],
        ]

    def trials(self) -> list[Trial]:
        """Return the grid's trials, each once, rates varying fastest."""
        product = itertools.product(
            self.schedules, self.batch_sizes, self.dropouts, self.learning_rates
        )
        return list(
            dict.fromkeys(
                Trial(lr, schedule, batch_size, dropout)
                for schedule, batch_size, dropout, lr in product
            )
        )


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
    grid: SweepGrid,
    settings: TrainingSettings,
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
        grid: what varies.
        settings: what does not.
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
        for number, trial in enumerate(_trials(grid, results)):
            best_loss = min((result.score for result in results), default=math.inf)
            results.append(sweep.run(trial, best_loss))
            sink.append("baseline", number, _rows(results[-1], settings, run_id, seed))
        best = min(results, key=lambda result: result.score)
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
    settings: TrainingSettings
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


def _trials(grid: SweepGrid, results: Sequence[TrialResult]) -> Iterator[Trial]:
    """Yield what is to be trained next, given the results so far."""
    if grid.strategy == "product":
        yield from grid.trials()
        yield from _beyond(grid, results)
    else:
        yield from _one_at_a_time(grid, results)


def _one_at_a_time(grid: SweepGrid, results: Sequence[TrialResult]) -> Iterator[Trial]:
    yield grid.first
    before = math.inf
    while (
        best := min(results, key=lambda result: result.score)
    ).loss is not None and best.loss < before - _WORTHWHILE:
        before = best.loss
        for place in range(len(grid.around(best.trial))):
            around = grid.around(min(results, key=lambda result: result.score).trial)[place]
            done = {result.trial for result in results}
            yield from (trial for trial in dict.fromkeys(around) if trial not in done)
            if place == 0:
                yield from _beyond(grid, results)


def _beyond(grid: SweepGrid, results: Sequence[TrialResult]) -> Iterator[Trial]:
    """Yield rates beyond the edge of those tried while the best of `results` lies on it."""
    for _ in range(grid.extend):
        best = min(results, key=lambda result: result.score)
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


def _rows(
    result: TrialResult, settings: TrainingSettings, run_id: str, seed: int
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
