"""One fit: a classifier is trained from a start on a part of a task, and scored on another.

The training is that of the baseline: its plan of steps (order by seed, warm-up, cosine) and its
step (AdamW, decay of matrices only, clipped gradient). `transformers.Trainer` would bring a second
loop, and `accelerate`. A fit takes seconds to minutes, so it is stored when it has ended, and an
interrupted one begins again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from transformers import GPT2LMHeadModel

from clso.baseline.plan import TrainingPlan, Trial
from clso.baseline.settings import BaselineSettings
from clso.baseline.step import TrainingStep, seed_dropout
from clso.baseline.task import Start
from clso.energy import EnergyMonitor, Measurement
from clso.errors import ConfigError
from clso.finetune.classifier import Classifier, EncodedTexts
from clso.finetune.metrics import Predictions
from clso.finetune.settings import FinetuneSettings
from clso.finetune.task import Task
from clso.scoring import Int64Array
from clso.threads import one_thread

__all__ = ["Fit", "FitInputs", "Fitted"]


@dataclass(frozen=True)
class Fit:
    """Which fit: the name of its start, its rate, its seed, and whether it chooses the rate."""

    start: str
    lr: float
    seed: int
    chooses: bool


@dataclass(frozen=True, eq=False)
class Fitted:
    """The outcome of a fit.

    Attributes:
        predictions: on what is held out or reported; `None`: training diverged.
        train_loss: mean over the steps of the last epoch, nats; `None`: training diverged.
        n_examples: learned from.
        n_tokens: tokens read, padding left out.
        training: time and energy of the steps.
    """

    predictions: Predictions | None
    train_loss: float | None
    n_examples: int
    n_tokens: int
    training: Measurement


@dataclass(frozen=True, eq=False)
class FitInputs:
    """What all fits of a task share.

    Attributes:
        starts: the weights that fine-tuning starts from, by name and seed.
        train, reported: the task's examples as tokens.
        monitor: measures the steps.
    """

    task: Task
    settings: FinetuneSettings
    starts: Mapping[tuple[str, int], Start]
    train: EncodedTexts
    reported: EncodedTexts
    monitor: EnergyMonitor

    def check(self) -> None:
        """Check that the examples fill a batch, also while a part of them is held out.

        Raises:
            ConfigError: a batch is larger.
        """
        n_learned = int((~self.task.held_out).sum())
        if self.settings.batch_size > n_learned:
            raise ConfigError(
                f"task {self.task.name} has {n_learned} examples to learn from while the rate is "
                f"chosen, and finetune.batch_size is {self.settings.batch_size}",
                remedy="give a smaller batch size, or more examples",
            )

    def fitted(self, fit: Fit) -> Fitted:
        """Train a classifier and score it; a function of the task, the settings and the fit.

        Raises:
            ArtifactError: the checkpoint of the start is missing or damaged.
        """
        with one_thread(), torch.random.fork_rng(devices=[]):
            return self._fitted(fit)

    def _fitted(self, fit: Fit) -> Fitted:
        settings, held_out = self.settings, self.task.held_out
        learned = np.flatnonzero(~held_out) if fit.chooses else np.arange(len(self.train))
        plan = self._plan(fit, len(learned))
        body = self.starts[fit.start, fit.seed].model(settings.dropout).model
        assert isinstance(body, GPT2LMHeadModel)
        classifier = Classifier.of(
            body,
            self.task.labels,
            end_token_id=self.train.end_token_id,
            dropout=settings.dropout,
            seed=fit.seed,
        )
        with self.monitor.window() as window:
            classifier.standardize(self.train, learned)
            train_loss = self._trained(classifier, plan, learned)
        predictions = None
        if train_loss is not None:
            if fit.chooses:
                texts, scored = self.train, np.flatnonzero(held_out)
                examples = self.task.train.take(scored)
            else:
                texts, scored = self.reported, np.arange(len(self.reported))
                examples = self.task.reported
            predictions = Predictions.of(classifier.log_probabilities(texts, scored), examples)
        n_tokens = settings.epochs * int(self.train.lengths[learned].sum())
        return Fitted(predictions, train_loss, len(learned), n_tokens, window.measurement)

    def _plan(self, fit: Fit, n_examples: int) -> TrainingPlan:
        settings = self.settings
        return TrainingPlan(
            Trial(fit.lr, "cosine", settings.batch_size, settings.dropout),
            BaselineSettings(
                passes=settings.epochs,
                weight_decay=settings.weight_decay,
                warmup_fraction=settings.warmup_fraction,
                grad_clip=settings.grad_clip,
            ),
            n_examples,
            fit.seed,
        )

    def _trained(
        self, classifier: Classifier, plan: TrainingPlan, learned: Int64Array
    ) -> float | None:
        """Take all steps; return the mean loss of the last epoch, `None` if it is not finite."""
        step = TrainingStep(
            classifier, weight_decay=plan.weight_decay, grad_clip=plan.settings.grad_clip
        )
        classifier.model.train()
        losses = []
        for number, index in plan.batches():
            seed_dropout(plan.dropout_seed(number), classifier.device)
            rows = learned[index]
            labels = torch.from_numpy(self.train.labels[rows])
            batch = self.train.batch(rows).to(classifier.device)
            loss = step(batch, labels.to(classifier.device), plan.lr(number))
            if not math.isfinite(loss):
                return None
            losses.append(loss)
        last = losses[-plan.steps_per_pass :]
        return math.fsum(last) / len(last)
