"""The settings of gradient models: their sweeps and trials, and AdamW's warm start."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from clso.section import Count, NotNegative, Positive, Probability, Section

__all__ = [
    "BaselineSettings",
    "NetworkSettings",
    "OpponentsSettings",
    "Schedule",
    "SweepSettings",
    "WarmStartSettings",
]

Schedule = Literal["constant", "cosine"]
_Dropout = Annotated[float, Field(ge=0.0, lt=1.0)]
_Passes = Annotated[int, Field(ge=1, le=10_000)]
_Seeds = Annotated[int, Field(ge=1, le=64)]


class WarmStartSettings(Section):
    """AdamW from the crystalline GPT: a small grid of rates, other settings from the best trial.

    Attributes:
        enabled: run a warm start after the sweep.
        optimizer: `muon` trains the matrices of the layers, with AdamW for the rest.
        learning_rates: rates to try.
        eval_points: number of validation losses per trial, besides the loss before its first step.
    """

    enabled: bool = False
    optimizer: Literal["adamw", "muon"] = "adamw"
    learning_rates: Annotated[tuple[Positive, ...], Field(min_length=1)] = (5e-4, 1e-3, 2e-3)
    eval_points: Count = 10


class SweepSettings(Section):
    """What the sweeps of all gradient models have in common.

    Attributes:
        strategy: `product` tries every combination. `one_at_a_time` starts from the first value
            of each grid and varies one grid after another around the best trial so far, rates
            first, until a round over all grids gains less than 0.001 nats (coordinate descent).
        learning_rates: rates after the warm-up.
        schedules: of the rate after the warm-up: `constant`, or a cosine down to 0.
        batch_sizes: blocks per step.
        dropouts: probabilities, on embeddings, attention and residuals alike, or on what an LSTM
            reads and gives.
        warmup_fraction: share of the steps over which the rate rises linearly.
        grad_clip: largest norm of the whole gradient.
        extend: how often a best learning rate at the edge of the grid extends the grid by a
            factor of 2.
    """

    strategy: Literal["product", "one_at_a_time"] = "product"
    learning_rates: Annotated[tuple[Positive, ...], Field(min_length=1)] = (1e-3, 2e-3, 4e-3)
    schedules: Annotated[tuple[Schedule, ...], Field(min_length=1)] = ("cosine",)
    batch_sizes: Annotated[tuple[Count, ...], Field(min_length=1)] = (4,)
    dropouts: Annotated[tuple[_Dropout, ...], Field(min_length=1)] = (0.0,)
    warmup_fraction: Probability = 0.05
    grad_clip: Positive = 1.0
    extend: Annotated[int, Field(ge=0, le=8)] = 2

    @property
    def grids(self) -> dict[str, Sequence[Any]]:
        """The values of each setting that a trial has of its own, rates first."""
        return {
            "lr": self.learning_rates,
            "batch_size": self.batch_sizes,
            "schedule": self.schedules,
            "dropout": self.dropouts,
        }

    @property
    def usual_passes(self) -> int:
        """The passes of a trial that has none of its own."""
        raise NotImplementedError

    @property
    def usual_weight_decay(self) -> float:
        """The weight decay of a trial that has none of its own."""
        raise NotImplementedError

    @property
    def stop_after(self) -> int | None:
        """Validation losses without a gain that end a trial; `None`: no number does."""
        return None

    @property
    def betas(self) -> tuple[float, float]:
        """The decay of AdamW's mean gradient and mean square, per step."""
        return (0.9, 0.95)

    def validations(self, passes: int) -> int:
        """Return the number of validation losses of a trial."""
        raise NotImplementedError


class BaselineSettings(SweepSettings):
    """AdamW on the same shape and tokens, swept over four grids.

    Attributes:
        passes: how often AdamW sees each distinct token.
        weight_decay: of matrices and embeddings, not of biases and LayerNorms.
        eval_points: number of validation losses per trial, evenly spaced, the last of them after
            the last step; the weights with the lowest loss are kept.
        warm_start: AdamW from the crystalline GPT of the search, beside the sweep.
    """

    enabled: bool = True
    passes: Count = 1
    weight_decay: NotNegative = 0.1
    eval_points: Count = 5
    warm_start: WarmStartSettings = WarmStartSettings()

    @property
    def usual_passes(self) -> int:
        """The passes of every trial."""
        return self.passes

    @property
    def usual_weight_decay(self) -> float:
        """The weight decay of every trial."""
        return self.weight_decay

    def validations(self, passes: int) -> int:
        """Return the number of validation losses of a trial."""
        return self.eval_points


class NetworkSettings(SweepSettings):
    """A gradient model and the sweep of its training.

    Its readout has the tokens of the training text alone, begins as their unigram, and leaves the
    others a share of the probability that validation decides on.

    Attributes:
        network: a GPT-2 or an LSTM.
        head: `full` is one softmax, `classes` a class-factored one.
        optimizer: `muon` trains the matrices inside the network, with AdamW for the rest.
        n_layer: number of layers; `None`: the model's.
        n_head: attention heads of a GPT-2; `None`: the model's.
        n_embd: width; `None`: the model's.
        tied: whether the readout's vectors are the embeddings.
        cache: whether a continuous cache is added after training, fitted on validation.
        classes: number of classes; `None`: about the square root of the number of tokens.
        weight_decays: of matrices and embeddings, not of vectors.
        passes: how often each distinct token is seen at most.
        beta2: decay of AdamW's mean squares. Close to 1, tokens that are seen once learn more.
        patience: validation losses without a gain that end a trial; of a cosine, in its second
            half.
        eval_points: validation losses per pass, evenly spaced; the weights with the lowest are
            kept.
    """

    network: Literal["gpt", "lstm"] = "lstm"
    head: Literal["full", "classes"] = "classes"
    optimizer: Literal["adamw", "muon"] = "adamw"
    n_layer: Annotated[int, Field(ge=1, le=1000)] | None = None
    n_head: Count | None = None
    n_embd: Annotated[int, Field(ge=2, le=65_536)] | None = None
    tied: bool = False
    cache: bool = True
    classes: Count | None = None
    strategy: Literal["product", "one_at_a_time"] = "one_at_a_time"
    learning_rates: Annotated[tuple[Positive, ...], Field(min_length=1)] = (4e-3, 2e-3, 8e-3)
    dropouts: Annotated[tuple[_Dropout, ...], Field(min_length=1)] = (0.3, 0.1, 0.5)
    weight_decays: Annotated[tuple[NotNegative, ...], Field(min_length=1)] = (0.8, 0.1, 3.2)
    passes: Annotated[tuple[_Passes, ...], Field(min_length=1)] = (4, 1, 8, 16)
    beta2: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.999
    patience: Count | None = 2
    eval_points: Count = 1

    @model_validator(mode="after")
    def _classes_have_a_readout(self) -> NetworkSettings:
        if self.classes is not None and self.head != "classes":
            raise ValueError(f"classes is {self.classes}, but head is {self.head}; leave it out")
        return self

    @property
    def grids(self) -> dict[str, Sequence[Any]]:
        """The values of each setting that a trial has of its own, rates first."""
        return {**super().grids, "weight_decay": self.weight_decays, "passes": self.passes}

    @property
    def usual_passes(self) -> int:
        """The first value of the grid."""
        return self.passes[0]

    @property
    def usual_weight_decay(self) -> float:
        """The first value of the grid."""
        return self.weight_decays[0]

    @property
    def stop_after(self) -> int | None:
        """Validation losses without a gain that end a trial; `None`: no number does."""
        return self.patience

    @property
    def betas(self) -> tuple[float, float]:
        """The decay of AdamW's mean gradient and mean square, per step."""
        return (0.9, self.beta2)

    def validations(self, passes: int) -> int:
        """Return the number of validation losses of a trial that ends with its last step."""
        return self.eval_points * passes


class OpponentsSettings(Section):
    """Gradient models beside the write-up's GPT-2; the best by validation is kept.

    Attributes:
        models: the models, each with its own sweep; without any there is no such comparison.
        seeds: networks with the best settings, each of another seed, whose probabilities are
            averaged; 1: no average. It is kept if it is the best. Their seeds are the run's and
            those after it: runs whose seeds lie closer share networks.
    """

    models: tuple[NetworkSettings, ...] = ()
    seeds: _Seeds = 1
