"""The steps of a training run: batches, learning rates, evaluations. No tensors here.

Notation: N blocks, batches of B blocks, S = passes * ceil(N / B) steps numbered from 1. Every
pass reads every block once; its last batch is smaller if B does not divide N.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, get_args

import numpy as np

from clso.baseline.settings import Schedule, SweepSettings
from clso.errors import ConfigError
from clso.scoring import Int64Array

__all__ = ["TrainingPlan", "Trial", "check_batch"]

# Separates the random order of blocks from all other random streams of the same seed.
_ORDER_STREAM = int.from_bytes(b"ordr")
_LOGGED_ROWS = 100
# The settings that decide the steps of a trial; all other settings choose the trials.
_SHARED = {
    "passes",
    "warmup_fraction",
    "weight_decay",
    "grad_clip",
    "eval_points",
    "patience",
    "beta2",
}


def check_batch(batch_size: int, n_blocks: int) -> None:
    """Check that the training text fills a batch.

    Raises:
        ConfigError: a batch has more blocks than the training text.
    """
    if batch_size > n_blocks:
        raise ConfigError(
            f"a batch has {batch_size} blocks, the training text only {n_blocks}",
            remedy="give a smaller batch size, more training tokens or a smaller data.block_size",
        )


@dataclass(frozen=True, slots=True)
class Trial:
    """The settings that a sweep varies.

    Attributes:
        lr: the learning rate after the warm-up.
        schedule: of the rate after the warm-up: `constant`, or a cosine down to 0.
        batch_size: blocks per step.
        dropout: on embeddings, attention and residuals alike, or on what an LSTM reads and gives.
        weight_decay: of matrices and embeddings; `None`: that of the settings.
        passes: how often each token is seen; `None`: as the settings say.

    Raises:
        ConfigError: a value out of range.
    """

    lr: float
    schedule: Schedule = "cosine"
    batch_size: int = 4
    dropout: float = 0.0
    weight_decay: float | None = None
    passes: int | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.lr) and self.lr > 0):
            raise ConfigError(f"learning rate is {self.lr}, expected a positive number")
        if self.schedule not in get_args(Schedule):
            raise ConfigError(
                f"schedule is {self.schedule!r}, expected one of {', '.join(get_args(Schedule))}"
            )
        if self.batch_size < 1:
            raise ConfigError(f"batch size is {self.batch_size}, expected at least 1")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout is {self.dropout}, expected 0 up to, not including, 1")
        if self.weight_decay is not None and self.weight_decay < 0:
            raise ConfigError(f"weight decay is {self.weight_decay}, expected 0 or more")
        if self.passes is not None and self.passes < 1:
            raise ConfigError(f"passes is {self.passes}, expected at least 1")

    def __str__(self) -> str:
        decay = "" if self.weight_decay is None else f", weight decay {self.weight_decay:g}"
        passes = "" if self.passes is None else f", passes {self.passes}"
        return (
            f"rate {self.lr:g}, {self.schedule}, batch {self.batch_size}, dropout "
            f"{self.dropout}{decay}{passes}"
        )

    def to_record(self) -> dict[str, Any]:
        """Return the settings that the trial has of its own, as plain JSON values."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class TrainingPlan:
    """The steps of one trial; a pure function of the fields. `seed` orders the blocks."""

    trial: Trial
    settings: SweepSettings
    n_blocks: int
    seed: int

    @property
    def passes(self) -> int:
        """How often every block is read."""
        return self.trial.passes or self.settings.usual_passes

    @property
    def weight_decay(self) -> float:
        """The weight decay of matrices and embeddings."""
        decay = self.trial.weight_decay
        return self.settings.usual_weight_decay if decay is None else decay

    @property
    def steps_per_pass(self) -> int:
        """ceil(N / B)."""
        return -(-self.n_blocks // self.trial.batch_size)

    @property
    def n_steps(self) -> int:
        """S."""
        return self.passes * self.steps_per_pass

    @cached_property
    def eval_steps(self) -> frozenset[int]:
        """The steps after which the validation loss is computed; S is one of them."""
        points = self.settings.validations(self.passes)
        return frozenset(-(-self.n_steps * k // points) for k in range(1, points + 1))

    def is_logged(self, step: int) -> bool:
        """Return whether a step gets a row: about 100 in a run, and every evaluated step."""
        return step % max(1, self.n_steps // _LOGGED_ROWS) == 0 or step in self.eval_steps

    def lr(self, step: int) -> float:
        r"""Return the rate of step s in 1 .. S.

        With w warm-up steps, lr * s / w while s <= w, then lr, or for a cosine
        :math:`\mathrm{lr} (1 + \cos(\pi (s - w) / (S - w + 1))) / 2`, which would be 0 at S + 1.
        """
        warmup = math.ceil(self.settings.warmup_fraction * self.n_steps)
        if step <= warmup:
            return self.trial.lr * (step / warmup)
        if self.trial.schedule == "constant":
            return self.trial.lr
        progress = (step - warmup) / (self.n_steps - warmup + 1)
        return self.trial.lr * (1 + math.cos(math.pi * progress)) / 2

    def batches(self, after: int = 0) -> Iterator[tuple[int, Int64Array]]:
        """Yield (step, block numbers) for all steps later than `after`."""
        size = self.trial.batch_size
        for pass_number in range(after // self.steps_per_pass, self.passes):
            rng = np.random.default_rng([self.seed, _ORDER_STREAM, pass_number])
            order = rng.permutation(self.n_blocks)
            first = pass_number * self.steps_per_pass
            for batch in range(max(after - first, 0), self.steps_per_pass):
                yield first + batch + 1, order[batch * size : (batch + 1) * size]

    def dropout_seed(self, step: int) -> int:
        """Return the seed of the dropout of a step, the same in a resumed run."""
        return int(np.random.SeedSequence([self.seed, step]).generate_state(1)[0])

    def to_record(self) -> dict[str, object]:
        """Return all values that decide the steps, as plain JSON values."""
        trial = self.trial.to_record()
        return {
            "trial": trial,
            "settings": self.settings.model_dump(mode="json", include=_SHARED - set(trial)),
            "n_blocks": self.n_blocks,
            "seed": self.seed,
        }
