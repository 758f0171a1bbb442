"""Scoring a population: the evaluator against a plain loop over `GPT2LMHeadModel`."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from benchmarks.timing import Comparison, in_turn
from clso.cores import available_cores
from clso.gpt import GptFrame, GptProblem, GptShape
from clso.gpt.export import to_gpt2
from clso.library import BasisLibrary, BlockSparse

_POPULATION, _BATCHES, _BATCH_SIZE, _LENGTH = 16, 10, 4, 128


def run() -> list[Comparison]:
    return [_compare(vocab_size) for vocab_size in (8192, 50257)]


def _compare(vocab_size: int) -> Comparison:
    rng = np.random.default_rng(0)
    library = BasisLibrary.generate(128, 64, [BlockSparse.Settings(block=16, density=0.25)], 1.0, 0)
    frame = GptFrame(GptShape(2, 2, 128, _LENGTH, vocab_size), seed=0)
    tokens = rng.integers(vocab_size, size=(_BATCHES, _BATCH_SIZE, _LENGTH + 1))
    inputs, targets = tokens[..., :-1].copy(), tokens[..., 1:].copy()
    problem = GptProblem(
        library, frame, inputs, targets, share_layers=False, workers=available_cores()
    )
    cardinalities = problem.space.cardinalities
    genomes = [tuple(map(int, rng.integers(cardinalities))) for _ in range(_POPULATION)]
    plain = to_gpt2(problem.model(genomes[0]), end_token_id=0)
    batches = [
        (torch.from_numpy(x), torch.from_numpy(y)) for x, y in zip(inputs, targets, strict=True)
    ]

    def ours() -> list[float]:
        return [found.loss or 0.0 for found in problem.evaluate(genomes)]

    @torch.inference_mode()
    def loop() -> list[float]:
        losses = []
        for genome in genomes:
            _set_weights(plain, problem, genome)
            nats = [
                functional.cross_entropy(plain(x).logits.view(-1, vocab_size), y.view(-1))
                for x, y in batches
            ]
            losses.append(float(torch.stack(nats).mean()))
        return losses

    difference = np.abs(np.subtract(ours(), loop())).max()
    assert difference < 1e-5, f"the two sides differ by {difference}"
    return in_turn(
        f"score 16 genomes, {vocab_size:,} tokens",
        ("GptProblem.evaluate", ours),
        ("loop over GPT2LMHeadModel", loop),
        repeats=3,
    )


def _set_weights(plain: torch.nn.Module, problem: GptProblem, genome: tuple[int, ...]) -> None:
    modules = {
        "attn_qkv": "attn.c_attn",
        "attn_out": "attn.c_proj",
        "mlp_up": "mlp.c_fc",
        "mlp_down": "mlp.c_proj",
    }
    model = problem.model(genome)
    for layer in range(problem.frame.shape.n_layer):
        for slot, module in modules.items():
            weight = plain.get_parameter(f"transformer.h.{layer}.{module}.weight")
            weight.copy_(model.weight(layer, slot))
