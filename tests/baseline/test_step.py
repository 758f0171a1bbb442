"""The fast step against the plain loop that everybody writes."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional
from transformers import GPT2Config, GPT2LMHeadModel

from clso.baseline import AdamwGpt2, TrainingStep
from clso.gpt import GptShape


def twins(shape: GptShape) -> tuple[GPT2LMHeadModel, GPT2LMHeadModel]:
    """The model as trained here, and plain GPT-2 with its own activation and equal weights."""
    mine = AdamwGpt2.new(shape, end_token_id=0, seed=3).model
    config = GPT2Config(**{**mine.config.to_dict(), "activation_function": "gelu_new"})
    plain = GPT2LMHeadModel(config)
    plain.load_state_dict(mine.state_dict())
    return mine.train(), plain.train()


def network(model: GPT2LMHeadModel) -> AdamwGpt2:
    """Wrap a model for training."""
    made = AdamwGpt2(model)
    model.train()
    return made


def draw(shape: GptShape, blocks: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    # few distinct tokens, so that rows of the embedding collect many gradients
    tokens = torch.randint(9, (blocks, shape.block_size + 1), generator=generator)
    return tokens[:, :-1], tokens[:, 1:]


def plain_loss(model: GPT2LMHeadModel, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    logits = model(input_ids=inputs).logits
    return functional.cross_entropy(logits.flatten(0, 1), targets.reshape(-1))


def untie(model: GPT2LMHeadModel) -> GPT2LMHeadModel:
    """Give a model a head of its own."""
    config = GPT2Config(**{**model.config.to_dict(), "tie_word_embeddings": False})
    other = GPT2LMHeadModel(config)
    other.load_state_dict(model.state_dict())
    with torch.no_grad():
        other.lm_head.weight.mul_(1.5)
    return other.train()


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("blocks", [1, 4])
def test_every_gradient_is_that_of_plain_cross_entropy(
    shape: GptShape, blocks: int, tied: bool
) -> None:
    mine, plain = twins(shape)
    if not tied:
        mine, plain = untie(mine), untie(plain)
    inputs, targets = draw(shape, blocks)
    gradients = network(mine).gradients
    for _ in range(2):  # the second time over the first one's gradients
        loss = gradients(inputs, targets)
    expected = plain_loss(plain, inputs, targets)
    expected.backward()
    assert loss == pytest.approx(expected.item(), abs=1e-6)
    for (name, parameter), other in zip(mine.named_parameters(), plain.parameters(), strict=True):
        assert parameter.grad is not None
        assert other.grad is not None
        scale = other.grad.abs().max()
        difference = (parameter.grad - other.grad).abs().max()
        assert difference <= 1e-5 * scale + 1e-9, name


@pytest.mark.parametrize("grad_clip", [0.05, 1e3])
def test_steps_are_those_of_the_plain_loop(shape: GptShape, grad_clip: float) -> None:
    mine, plain = twins(shape)
    step = TrainingStep(network(mine), weight_decay=0.1, grad_clip=grad_clip)
    decayed = [p for p in plain.parameters() if p.ndim >= 2]
    spared = [p for p in plain.parameters() if p.ndim < 2]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.1}, {"params": spared, "weight_decay": 0.0}],
        betas=(0.9, 0.95),
        eps=1e-5,
    )
    # Adam divides noise by noise where a gradient is 0 but for rounding; a larger eps hides it.
    for group in step.optimizers["optimizer"].param_groups:
        group["eps"] = 1e-5
    for number in range(5):
        inputs, targets = draw(shape, 4, seed=number)
        lr = 1e-3 * (number + 1)
        mine_loss = step(inputs, targets, lr)
        for group in optimizer.param_groups:
            group["lr"] = lr
        loss = plain_loss(plain, inputs, targets)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(plain.parameters(), grad_clip)
        optimizer.step()
        assert mine_loss == pytest.approx(loss.item(), abs=1e-5)
    for (name, parameter), other in zip(mine.named_parameters(), plain.parameters(), strict=True):
        assert (parameter - other).abs().max() < 2e-5, name


def test_vectors_are_not_decayed(shape: GptShape) -> None:
    mine = AdamwGpt2.new(shape, end_token_id=0, seed=0)
    step = TrainingStep(mine, weight_decay=0.3, grad_clip=1.0)
    decay = {
        id(p): group["weight_decay"]
        for group in step.optimizers["optimizer"].param_groups
        for p in group["params"]
    }
    for parameter in mine.model.parameters():
        assert decay.pop(id(parameter)) == (0.3 if parameter.ndim >= 2 else 0.0)
    assert not decay


def test_dropout_is_drawn_from_the_seed(shape: GptShape) -> None:
    inputs, targets = draw(shape, 2)
    gradients = network(AdamwGpt2.new(shape, dropout=0.3, end_token_id=0, seed=0).model).gradients
    losses = []
    with torch.random.fork_rng(devices=[]):
        for seed in (1, 1, 2):
            torch.manual_seed(seed)
            losses.append(gradients(inputs, targets))
    assert losses[0] == losses[1] != losses[2]
