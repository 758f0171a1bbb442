"""Sweeps of several gradient models on the same tokens, and the best of all by validation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from clso.baseline.cache import NO_CACHE, Cache
from clso.baseline.network import NetworkShape
from clso.baseline.network_model import FromNetwork, NetworkModel
from clso.baseline.optimizers import check_optimizer
from clso.baseline.plan import Trial
from clso.baseline.seen_tokens import SeenTokens
from clso.baseline.settings import NetworkSettings
from clso.baseline.sweep import Sweep, trial_of
from clso.baseline.train import TrialResult
from clso.baseline.trainable import mean_nll
from clso.energy import Measurement
from clso.gpt import GptShape

__all__ = ["Opponent", "Opponents", "TrainedOpponent", "only"]

_NAMES = {"gpt": "GPT", "lstm": "LSTM", "adamw": "AdamW", "muon": "Muon"}

# Two numbers need no more targets of validation.
_CACHE_TOKENS = 32_768

OnResult = Callable[[dict[str, Any], TrialResult], None]


@dataclass(frozen=True)
class Opponent:
    """A model of the configuration in the shape of its run.

    Attributes:
        index: its number in `opponents.models`.
    """

    index: int
    settings: NetworkSettings
    shape: NetworkShape

    @classmethod
    def of(cls, index: int, settings: NetworkSettings, shape: GptShape) -> Opponent:
        """Fill what the settings leave to the run's model.

        Raises:
            ConfigError: PyTorch lacks the optimizer.
        """
        check_optimizer(settings.optimizer)
        network = NetworkShape(
            settings.network,
            settings.head,
            n_layer=settings.n_layer or shape.n_layer,
            n_head=settings.n_head or shape.n_head,
            n_embd=settings.n_embd or shape.n_embd,
            n_positions=shape.block_size,
            tied=settings.tied,
            classes=settings.classes,
        )
        return cls(index, settings, network)

    @property
    def title(self) -> str:
        """Network and optimizer in words, such as `LSTM, AdamW`, and what is not the usual."""
        settings = self.settings
        width = "" if settings.n_embd is None else f" of {settings.n_embd}"
        n_layer = settings.n_layer or 1
        special = f", {n_layer} layers" * (n_layer > 1) + ", tied" * settings.tied
        special += ", full softmax" * (settings.head == "full")
        special += "" if settings.classes is None else f", {settings.classes} classes"
        return f"{_NAMES[self.shape.network]}{width}{special}, {_NAMES[settings.optimizer]}"

    def columns(self, seed: int) -> dict[str, Any]:
        """Return the columns that name the model in the table `opponents`."""
        return {
            "model_index": self.index,
            "network": self.shape.network,
            "head": self.shape.head,
            "optimizer": self.settings.optimizer,
            "n_layer": self.shape.n_layer,
            "n_embd": self.shape.n_embd,
            "tied": self.shape.tied,
            "training_seed": seed,
        }


@dataclass(frozen=True)
class TrainedOpponent:
    """A trained model: the best trial of a sweep, or an average over seeds with its settings.

    Attributes:
        members: the result of each network.
        checkpoints: the folder of each.
        cache: what is added to the networks.
        loss: of the model on validation, nats per token.
    """

    opponent: Opponent
    members: tuple[TrialResult, ...]
    checkpoints: tuple[Path, ...]
    cache: Cache
    loss: float

    @property
    def trial(self) -> Trial:
        """The settings of the training."""
        return self.members[0].trial

    @property
    def kind(self) -> str:
        """The model in a short phrase, such as `LSTM, AdamW, 4 passes`."""
        passes = self.trial.passes or 1
        times = "1 pass" if passes == 1 else f"{passes} passes"
        several = len(self.members)
        average = f", average of {several}" * (several > 1)
        return f"{self.opponent.title}, {times}{average}" + ", cache" * (self.cache.share > 0)

    @property
    def training(self) -> Measurement:
        """Time and energy of the training steps of all members."""
        return Measurement.total([member.training for member in self.members])

    def load(self) -> NetworkModel:
        """Open the model from its checkpoints.

        Raises:
            ArtifactError: one is missing or damaged.
        """
        networks = [NetworkModel.load(path).model for path in self.checkpoints]
        return NetworkModel(networks, cache=self.cache)

    @property
    def snapshots(self) -> tuple[Path, ...]:
        """The folders with the weights of each member at its evaluations."""
        return tuple(map(_snapshots, self.checkpoints))

    def to_record(self) -> dict[str, Any]:
        """Return what the run's manifest has of it, as JSON values."""
        return {
            "kind": self.kind,
            "index": self.opponent.index,
            "trial": str(self.trial),
            "settings": self.trial.to_record(),
            "network": self.opponent.shape.to_record(),
            "optimizer": self.opponent.settings.optimizer,
            "members": len(self.members),
            "cache": self.cache.to_record(),
            "validation_loss": self.loss,
            "best_step": self.members[0].best_step,
            "training": self.training.to_record(),
            "snapshots": {
                snapshots.name: trial_of(checkpoint)
                for snapshots, checkpoint in zip(self.snapshots, self.checkpoints, strict=True)
            },
        }


@dataclass(frozen=True)
class Opponents:
    """The sweeps of all models.

    Attributes:
        sweep: data, seed, meters and engine; each model has its own settings, state and checkpoint.
        state: a folder for everything that is unfinished, and for the models.
        seen: the tokens of the training text.
    """

    sweep: Sweep
    state: Path
    seen: SeenTokens

    def train(self, opponent: Opponent, on_result: OnResult) -> tuple[TrainedOpponent, Measurement]:
        """Sweep one model; return its best trial, and time and energy of all trials.

        Raises:
            ArtifactError: a stored result is damaged, or a file cannot be written.
            ConfigError: a batch is larger than the training text, or there are more classes than
                tokens in it.
            DataError: there are no blocks to train on or to validate with.
            WorkError: every trial diverged.
        """
        return self._trained(opponent, opponent.settings, self.sweep.seed, on_result)

    def average(
        self, best: TrainedOpponent, n_seeds: int, on_result: OnResult
    ) -> tuple[TrainedOpponent, Measurement]:
        """Train the best model again from further seeds; return their average and its cost.

        The cost is that of the further seeds alone.

        Raises:
            ArtifactError: a stored result is damaged, or a file cannot be written.
            WorkError: a training diverged.
        """
        settings = only(best.opponent.settings, best.trial)
        others = [
            self._trained(best.opponent, settings, self.sweep.seed + index, on_result)
            for index in range(1, n_seeds)
        ]
        members = (best, *(trained for trained, _ in others))
        average = replace(
            best,
            members=tuple(member for trained in members for member in trained.members),
            checkpoints=tuple(path for trained in members for path in trained.checkpoints),
            cache=NO_CACHE,
        )
        average, cost = self._completed(average)
        return average, Measurement.total([*(cost for _, cost in others), cost])

    def _completed(self, trained: TrainedOpponent) -> tuple[TrainedOpponent, Measurement]:
        """Return a model with its cache and its loss, and what finding them took."""
        validation = self.sweep.validation
        with self.sweep.monitor.window() as window:
            model = trained.load()
            if trained.opponent.settings.cache:
                model = model.with_cache(*validation.spread_blocks(_CACHE_TOKENS))
            loss = mean_nll(model, validation)
        return replace(trained, cache=model.cache, loss=loss), window.measurement

    def _trained(
        self, opponent: Opponent, settings: NetworkSettings, seed: int, on_result: OnResult
    ) -> tuple[TrainedOpponent, Measurement]:
        start = FromNetwork(
            opponent.shape, self.seen, self.sweep.fingerprint, seed, self.sweep.device
        )
        checkpoint = self.state / f"model-{opponent.index}-{seed}"
        sweep = replace(
            self.sweep,
            settings=settings,
            seed=seed,
            state=self.state,
            checkpoint=checkpoint,
            optimizer=settings.optimizer,
            title=opponent.title,
            snapshots=_snapshots(checkpoint),
        )
        columns = opponent.columns(seed)
        result = sweep.of(
            start,
            {**start.identity, "optimizer": settings.optimizer},
            f"opponents.models.{opponent.index}",
            on_result=lambda _, trial: on_result(columns, trial),
        )
        best = result.best
        assert best.loss is not None
        trained = TrainedOpponent(opponent, (best,), (checkpoint,), NO_CACHE, best.loss)
        trained, cost = self._completed(trained)
        return trained, Measurement.total([result.total, cost])


def _snapshots(checkpoint: Path) -> Path:
    """Return the folder with the weights at each evaluation of a checkpoint's training."""
    return checkpoint.with_name(f"{checkpoint.name}-snapshots")


def only(settings: NetworkSettings, trial: Trial) -> NetworkSettings:
    """Return settings whose grids have the values of one trial alone."""
    return settings.replaced(
        learning_rates=(trial.lr,),
        schedules=(trial.schedule,),
        batch_sizes=(trial.batch_size,),
        dropouts=(trial.dropout,),
        weight_decays=(trial.weight_decay,),
        passes=(trial.passes,),
        extend=0,
    )
