"""Training steps of AdamW, Muon and an LSTM against the plain loops that anyone would write first.

Both sides begin with equal weights and get equal tokens, dropout masks, rates and weight decay, so
their losses are the same but for rounding; `tests/benchmarks/test_plain_loops.py` compares them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
import transformers
from torch.nn import functional

from benchmarks.timing import Comparison, in_turn
from clso.baseline import AdamwGpt2, TrainingStep
from clso.baseline.heads import ClassHead, HeadKind
from clso.baseline.network import NetworkShape
from clso.baseline.network_model import NetworkModel
from clso.baseline.optimizers import OptimizerKind
from clso.baseline.seen_tokens import SeenTokens
from clso.gpt import GptShape

__all__ = ["Pair", "draw", "gpt_pair", "lstm_pair", "run"]

_BATCH_SIZE, _LENGTH, _WIDTH, _STEPS = 4, 128, 128, 4
_WEIGHT_DECAY, _GRAD_CLIP = 0.1, 1.0
_LR = {"adamw": 1e-3, "muon": 1e-3, "lstm": 4e-3}

Step = Callable[[torch.Tensor, torch.Tensor], float]


@dataclass(frozen=True)
class Pair:
    """Two ways of the same training.

    Attributes:
        title: network and optimizer.
        plain_title: what the plain loop consists of.
        ours: takes inputs and targets, `(B, T)` each, and returns the loss before its step.
        plain: the same, by the plain loop.
    """

    title: str
    plain_title: str
    ours: Step
    plain: Step


def run() -> list[Comparison]:
    transformers.logging.set_verbosity_error()
    return [
        _compare(make, vocab_size)
        for make in (
            lambda vocab_size: gpt_pair("adamw", vocab_size),
            lambda vocab_size: gpt_pair("muon", vocab_size),
            lambda vocab_size: lstm_pair("full", vocab_size),
            lambda vocab_size: lstm_pair("classes", vocab_size),
        )
        for vocab_size in (8192, 50257)
    ]


def _compare(make: Callable[[int], Pair], vocab_size: int) -> Comparison:
    pair = make(vocab_size)
    tokens = torch.from_numpy(draw(vocab_size, _STEPS * _BATCH_SIZE, _LENGTH + 1))
    blocks = tokens.view(_STEPS, _BATCH_SIZE, _LENGTH + 1)

    def steps(step: Step) -> Callable[[], None]:
        def work() -> None:
            for block in blocks:
                step(block[:, :-1].contiguous(), block[:, 1:].contiguous())

        return work

    return in_turn(
        f"{_STEPS} steps of {pair.title}, {_BATCH_SIZE} x {_LENGTH}, {vocab_size:,} tokens",
        ("TrainingStep", steps(pair.ours)),
        (pair.plain_title, steps(pair.plain)),
        repeats=7,
    )


def draw(vocab_size: int, n_blocks: int, length: int) -> np.ndarray:
    """Draw tokens that are as unequally frequent as those of text: Zipf's law."""
    share = 1.0 / np.arange(1, vocab_size + 1)
    return np.random.default_rng(0).choice(vocab_size, (n_blocks, length), p=share / share.sum())


def gpt_pair(optimizer: OptimizerKind, vocab_size: int, width: int = _WIDTH) -> Pair:
    """Return the steps of a GPT-2, and `GPT2LMHeadModel` with PyTorch's optimizers."""
    shape = GptShape(2, 2, width, _LENGTH, vocab_size)
    ours = AdamwGpt2.new(shape, end_token_id=0, seed=0)
    config = transformers.GPT2Config(
        **{**ours.model.config.to_dict(), "activation_function": "gelu_new"}  # GPT-2's own
    )
    plain = transformers.GPT2LMHeadModel(config)
    plain.load_state_dict(ours.model.state_dict())
    named = {"adamw": "AdamW", "muon": "Muon"}[optimizer]

    def loss(inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        # `shift_labels`: with `labels` alone the model would leave out the last target
        out: torch.Tensor = plain(input_ids=inputs, labels=inputs, shift_labels=targets).loss
        return out

    return Pair(
        f"GPT-2, {named}",
        f"model(labels=...), {named}",
        _ours(ours, optimizer, _LR[optimizer]),
        _loop(plain, loss, plain.transformer.h if optimizer == "muon" else None, _LR[optimizer]),
    )


def lstm_pair(head: HeadKind, vocab_size: int, width: int = _WIDTH, dropout: float = 0.3) -> Pair:
    """Return the steps of an LSTM, and `nn.LSTM` with plain layers around it."""
    counts = np.arange(vocab_size, 0, -1)
    seen = SeenTokens(np.arange(vocab_size), counts, vocab_size, 0.0)
    shape = NetworkShape("lstm", head, 1, 1, width, _LENGTH)
    ours = NetworkModel.new(shape, seen, dropout=dropout, seed=0)
    plain = (_PlainLstm if head == "full" else _PlainClassLstm).like(ours, dropout)
    softmax = {"full": "a softmax", "classes": "a softmax of classes"}[head]
    return Pair(
        f"LSTM with {softmax}, AdamW",
        "nn.LSTM, cross_entropy, AdamW",
        _ours(ours, "adamw", _LR["lstm"]),
        _loop(plain, plain, None, _LR["lstm"]),
    )


def _ours(network: AdamwGpt2 | NetworkModel, optimizer: OptimizerKind, lr: float) -> Step:
    network.model.train()
    step = TrainingStep(
        network, weight_decay=_WEIGHT_DECAY, grad_clip=_GRAD_CLIP, optimizer=optimizer
    )
    return lambda inputs, targets: step(inputs, targets, lr)


def _loop(
    model: torch.nn.Module,
    loss_of: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    inside: torch.nn.Module | None,
    lr: float,
) -> Step:
    """Return the plain loop; `inside` has the matrices that Muon trains."""
    model.train()
    matrices = [] if inside is None else [p for p in inside.parameters() if p.ndim == 2]
    apart = {id(parameter) for parameter in matrices}
    rest = [p for p in model.parameters() if id(p) not in apart]
    groups: Sequence[dict[str, Any]] = [
        {"params": [p for p in rest if p.ndim >= 2], "weight_decay": _WEIGHT_DECAY},
        {"params": [p for p in rest if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizers: list[torch.optim.Optimizer] = [torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.95))]
    if matrices:
        optimizers.append(
            torch.optim.Muon(
                matrices, lr=lr, weight_decay=_WEIGHT_DECAY, adjust_lr_fn="match_rms_adamw"
            )
        )

    def step(inputs: torch.Tensor, targets: torch.Tensor) -> float:
        loss = loss_of(inputs, targets)
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        torch.nn.utils.clip_grad_norm_(model.parameters(), _GRAD_CLIP)
        for optimizer in optimizers:
            optimizer.step()
        return loss.item()

    return step


class _PlainLstm(torch.nn.Module):
    def __init__(self, vocab_size: int, width: int, dropout: float) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(vocab_size, width)
        self.lstm = torch.nn.LSTM(width, width, batch_first=True)
        self.dropout = torch.nn.Dropout(dropout)
        self.readout = torch.nn.Linear(width, vocab_size)

    @classmethod
    def like(cls, network: NetworkModel, dropout: float) -> Self:
        """Return a network with the weights of ours."""
        ours = network.model
        plain = cls(network.vocab_size, ours.shape.n_embd, dropout)
        with torch.no_grad():
            plain.embedding.weight.copy_(ours.embedding[: network.vocab_size])
            plain.lstm.load_state_dict(ours.body.lstm.state_dict())
            plain.readout.weight.copy_(ours.weight[: network.vocab_size])
            plain.readout.bias.copy_(ours.head.bias[: network.vocab_size])
        return plain

    def hidden(self, inputs: torch.Tensor) -> torch.Tensor:
        hidden, _ = self.lstm(self.dropout(self.embedding(inputs)))
        out: torch.Tensor = self.dropout(hidden).flatten(0, 1)
        return out

    def forward(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(self.readout(self.hidden(inputs)), targets.flatten())


class _PlainClassLstm(_PlainLstm):
    """The vectors of the target's class are gathered for each position."""

    @classmethod
    def like(cls, network: NetworkModel, dropout: float) -> Self:
        """Return a network with the weights of ours."""
        plain, head = super().like(network, dropout), network.model.head
        assert isinstance(head, ClassHead)
        plain.size = head.size
        plain.classes = torch.nn.Linear(head.class_weight.shape[1], head.n_classes)
        with torch.no_grad():
            plain.classes.weight.copy_(head.class_weight)
            plain.classes.bias.copy_(head.class_bias)
        return plain

    def forward(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        hidden, rows = self.hidden(inputs), targets.flatten()
        classes = rows // self.size
        tokens = classes[:, None] * self.size + torch.arange(self.size)
        is_token = tokens < len(self.readout.bias)
        tokens = tokens.clamp(max=len(self.readout.bias) - 1)
        vectors, biases = self.readout.weight[tokens], self.readout.bias[tokens]
        logits = torch.einsum("nd,nsd->ns", hidden, vectors) + biases
        logits = logits.masked_fill(~is_token, -torch.inf)
        of_class = functional.cross_entropy(self.classes(hidden), classes)
        return of_class + functional.cross_entropy(logits, rows % self.size)
