"""Scoring a population: the evaluator against a plain loop over `GPT2LMHeadModel`.

Both sides use all cores, or the GPU. Each row is one way of scoring the same genomes.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np
import torch
from scipy.stats import spearmanr
from torch.nn import functional

from benchmarks.timing import Comparison, in_turn
from clso.cores import available_cores
from clso.errors import ConfigError
from clso.genome import Genome
from clso.gpt import GptFrame, GptProblem, GptShape
from clso.gpt.export import to_gpt2
from clso.library import BasisLibrary, BlockSparse

_POPULATION, _BATCHES, _BATCH_SIZE, _LENGTH = 16, 10, 4, 128
_VOCABULARIES = (8192, 50257)
_LOOP = "loop over GPT2LMHeadModel"
_REPEATS = 3
_LARGEST_DIFFERENCE = 1e-4  # nats per token
_LEAST_CORRELATION = 0.99


def run() -> list[Comparison]:
    devices = ["cpu"]
    if torch.cuda.is_available():
        devices.append("cuda")
    else:
        print("evaluation: no GPU here, so its rows are left out")
    return [
        row
        for device in devices
        for vocab_size in _VOCABULARIES
        for row in _Population(vocab_size, device).rows()
    ]


class _Population:
    """Random genomes over random matrices, and the plain loop that scores them."""

    def __init__(self, vocab_size: int, device: str) -> None:
        rng = np.random.default_rng(0)
        families = [BlockSparse.Settings(block=16, density=0.25)]
        self.library = BasisLibrary.generate(128, 64, families, 1.0, 0)
        self.frame = GptFrame(GptShape(2, 2, 128, _LENGTH, vocab_size), seed=0, device=device)
        tokens = rng.integers(vocab_size, size=(_BATCHES, _BATCH_SIZE, _LENGTH + 1))
        self.batches = tokens[..., :-1].copy(), tokens[..., 1:].copy()
        self.name = f"{vocab_size:,} tokens" + (", GPU" if device == "cuda" else "")
        self.exact = self.problem()
        cardinalities = self.exact.space.cardinalities
        self.genomes: list[Genome] = [
            tuple(map(int, rng.integers(cardinalities))) for _ in range(_POPULATION)
        ]
        self._plain = to_gpt2(self.exact.model(self.genomes[0]), end_token_id=0).to(device)
        self._tensors = [
            (torch.from_numpy(x).to(device), torch.from_numpy(y).to(device))
            for x, y in zip(*self.batches, strict=True)
        ]

    def problem(self, **options: object) -> GptProblem:
        return GptProblem(
            self.library,
            self.frame,
            *self.batches,
            share_layers=False,
            workers=available_cores(),
            **options,
        )

    @torch.inference_mode()
    def loop(self) -> list[float]:
        losses = []
        for genome in self.genomes:
            _set_weights(self._plain, self.exact, genome)
            nats = [
                functional.cross_entropy(self._plain(x).logits.flatten(0, 1), y.view(-1))
                for x, y in self._tensors
            ]
            losses.append(float(torch.stack(nats).mean()))
        return losses

    @cached_property
    def expected(self) -> list[float]:
        return self.loop()

    def rows(self) -> Iterator[Comparison]:
        yield self._beside_the_loop("float32", self.exact)
        try:
            yield self._beside_the_loop("bfloat16", self.problem(precision="bfloat16"))
        except ConfigError as error:
            print(f"evaluation: {error.message}, so its rows are left out")
        screened = self.problem(screening=True)
        assert screened.screening is not None
        yield self._beside_the_loop("screening", screened, screened.screening)
        yield in_turn(
            f"score {_POPULATION} genomes, {self.name}",
            ("7 of 8 genes equal", lambda: self.exact.evaluate(self._alike)),
            ("no gene equal", lambda: self.exact.evaluate(self.genomes)),
            repeats=_REPEATS,
        )

    @property
    def _alike(self) -> list[Genome]:
        return [(*self.genomes[0][:-1], last) for last in range(_POPULATION)]

    def _beside_the_loop(self, way: str, problem: GptProblem, fidelity: float = 1.0) -> Comparison:
        def ours() -> list[float]:
            return [found.loss or 0.0 for found in problem.evaluate(self.genomes, fidelity)]

        scored, expected = ours(), self.expected  # both sides are warm then
        difference = np.abs(np.subtract(scored, expected)).max()
        assert difference < _LARGEST_DIFFERENCE, f"{way}: the two sides differ by {difference}"
        correlation = spearmanr(scored, expected).statistic
        assert correlation > _LEAST_CORRELATION, f"{way}: the ranks correlate by {correlation}"
        return in_turn(
            f"score {_POPULATION} genomes, {self.name}",
            (f"{way}, off by {difference:.0e}", ours),
            (_LOOP, self.loop),
            repeats=_REPEATS,
            warm_up=False,
        )


def _set_weights(plain: torch.nn.Module, problem: GptProblem, genome: Genome) -> None:
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
