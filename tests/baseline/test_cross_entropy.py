from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from clso.baseline import cross_entropy
from clso.baseline.cross_entropy import Biases, TiledCrossEntropy


def reference(
    hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, targets: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    """The loss and its gradients by hidden states, weights and biases."""
    inputs = [tensor.double().requires_grad_() for tensor in (hidden, weight, bias)]
    loss = functional.cross_entropy(inputs[0] @ inputs[1].t() + inputs[2], targets)
    return loss.detach(), *torch.autograd.grad(loss, inputs)


def draw(
    n: int, d: int, vocab_size: int, scale: float = 1.0
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(n + vocab_size)
    hidden = scale * torch.randn(n, d, generator=generator)
    weight = torch.randn(vocab_size, d, generator=generator)
    return hidden, weight, torch.randint(vocab_size, (n,), generator=generator)


def check(
    tiled: TiledCrossEntropy, hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor
) -> None:
    drawn = torch.randn(len(weight), generator=torch.Generator().manual_seed(1))
    for bias in (None, drawn):
        weight_gradient = torch.full_like(weight, torch.nan)
        biases = None if bias is None else Biases(bias, torch.full_like(bias, torch.nan))
        loss, hidden_gradient = tiled(hidden, weight, targets, weight_gradient, biases)
        gradients = [hidden_gradient, weight_gradient]
        gradients += [] if biases is None else [biases.gradient]
        values = torch.zeros_like(drawn) if bias is None else bias
        expected_loss, *expected = reference(hidden, weight, values, targets)
        torch.testing.assert_close(loss, expected_loss, rtol=1e-6, atol=1e-6)
        for mine, theirs in zip(gradients, expected, strict=False):
            scale = theirs.abs().max() or 1.0
            torch.testing.assert_close(mine.double() / scale, theirs / scale, rtol=0, atol=3e-6)


@pytest.mark.parametrize(("n", "d", "vocab_size"), [(1, 3, 5), (40, 16, 2048), (7, 8, 5000)])
def test_loss_and_gradients_are_those_of_cross_entropy(n: int, d: int, vocab_size: int) -> None:
    check(TiledCrossEntropy(vocab_size), *draw(n, d, vocab_size))


@pytest.mark.parametrize("rows", [1, 4, 9, 10, 100])
@pytest.mark.parametrize("columns", [1, 6, 23, 24, 100])
def test_tiles_of_any_size_make_no_difference(
    monkeypatch: pytest.MonkeyPatch, rows: int, columns: int
) -> None:
    monkeypatch.setattr(cross_entropy, "_ROWS", rows)
    monkeypatch.setattr(cross_entropy, "_COLUMNS", columns)
    check(TiledCrossEntropy(24), *draw(10, 4, 24))


@pytest.mark.parametrize("scale", [0.0, 1e-3, 30.0, 1000.0])
def test_logits_of_any_size_neither_overflow_nor_vanish(
    monkeypatch: pytest.MonkeyPatch, scale: float
) -> None:
    monkeypatch.setattr(cross_entropy, "_COLUMNS", 8)
    check(TiledCrossEntropy(30), *draw(12, 4, 30, scale))


def test_the_buffer_serves_batches_of_changing_size() -> None:
    tiled = TiledCrossEntropy(50)
    for n in (8, 3, 20, 1, 20):
        check(tiled, *draw(n, 4, 50))


def test_gradients_of_softmax_sum_to_zero_over_the_vocabulary() -> None:
    hidden, weight, targets = draw(20, 6, 100)
    weight_gradient = torch.empty_like(weight)
    TiledCrossEntropy(100)(hidden, weight, targets, weight_gradient)
    assert weight_gradient.sum(0).abs().max() < 1e-6


def test_a_hidden_state_that_is_not_finite_shows_in_the_loss() -> None:
    hidden, weight, targets = draw(4, 4, 10)
    hidden[2, 1] = torch.nan
    loss, _ = TiledCrossEntropy(10)(hidden, weight, targets, torch.empty_like(weight))
    assert not torch.isfinite(loss)
