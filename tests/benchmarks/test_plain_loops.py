"""The plain loops of the benchmark train what the fast steps train."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from benchmarks.baseline import Pair, draw, gpt_pair, lstm_pair

VOCAB_SIZE, WIDTH, STEPS = 300, 32, 50

PAIRS: dict[str, tuple[Callable[[], Pair], float]] = {
    "adamw": (lambda: gpt_pair("adamw", VOCAB_SIZE, WIDTH), 1e-5),
    # PyTorch's own Muon computes in bfloat16, which has eight bits
    "muon": (lambda: gpt_pair("muon", VOCAB_SIZE, WIDTH), 1e-4),
    "lstm-full": (lambda: lstm_pair("full", VOCAB_SIZE, WIDTH), 1e-5),
    "lstm-classes": (lambda: lstm_pair("classes", VOCAB_SIZE, WIDTH), 1e-5),
}


@pytest.mark.parametrize("name", PAIRS)
def test_losses_of_fifty_steps_are_those_of_the_plain_loop(name: str) -> None:
    make, tolerance = PAIRS[name]
    pair = make()
    blocks = torch.from_numpy(draw(VOCAB_SIZE, STEPS * 4, 33)).view(STEPS, 4, 33)
    curves = []
    for step in (pair.ours, pair.plain):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)  # of dropout
            curves.append([step(b[:, :-1].contiguous(), b[:, 1:].contiguous()) for b in blocks])
    ours, plain = curves
    assert ours == pytest.approx(plain, rel=tolerance)
    assert ours[-1] < 0.95 * ours[0]  # it has learned, so that the steps were compared too
