"""AdamW's training step against the plain loop that anyone would write first."""

from __future__ import annotations

import torch
import transformers

from benchmarks.timing import Comparison, in_turn
from clso.baseline import AdamwGpt2, TrainingStep
from clso.gpt import GptShape

_BATCH_SIZE, _LENGTH, _STEPS, _LR = 4, 128, 8, 1e-3


def run() -> list[Comparison]:
    transformers.logging.set_verbosity_error()
    return [_compare(vocab_size) for vocab_size in (8192, 50257)]


def _compare(vocab_size: int) -> Comparison:
    shape = GptShape(2, 2, 128, _LENGTH, vocab_size)
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(vocab_size, (_STEPS, _BATCH_SIZE, _LENGTH + 1), generator=generator)
    step = TrainingStep(_model(shape), weight_decay=0.1, grad_clip=1.0)
    plain = _model(shape).model
    optimizer = torch.optim.AdamW(plain.parameters(), lr=_LR, betas=(0.9, 0.95), weight_decay=0.1)

    def ours() -> None:
        for block in tokens:
            step(block[:, :-1].contiguous(), block[:, 1:].contiguous(), _LR)

    def loop() -> None:
        for block in tokens:
            # `labels` shifts by itself, so the whole block goes in.
            loss = plain(input_ids=block[:, :-1], labels=block[:, :-1]).loss
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(plain.parameters(), 1.0)
            optimizer.step()

    return in_turn(
        f"{_STEPS} AdamW steps of {_BATCH_SIZE} x {_LENGTH}, {vocab_size:,} tokens",
        ("TrainingStep", ours),
        ("model(labels=...), AdamW", loop),
        repeats=5,
    )


def _model(shape: GptShape) -> AdamwGpt2:
    network = AdamwGpt2.new(shape, end_token_id=0, seed=0)
    network.model.train()
    return network
