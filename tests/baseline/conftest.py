from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from clso.data.tokenizer import Tokenizer
from clso.gpt import GptShape

BLOCK_SIZE = 12


@dataclass
class MemorySplit:
    """What training reads of a split, from an array."""

    name: str
    stream: np.ndarray
    block_size: int = BLOCK_SIZE

    @property
    def n_blocks(self) -> int:
        return max(len(self.stream) - 1, 0) // self.block_size

    def blocks(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        starts = np.asarray(index)[:, None] * self.block_size
        tokens = self.stream[starts + np.arange(self.block_size + 1)]
        return tokens[:, :-1].copy(), tokens[:, 1:].copy()


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(["a rose is a rose is a rose"], 270)


@pytest.fixture(scope="session")
def shape(tokenizer: Tokenizer) -> GptShape:
    return GptShape(
        n_layer=2, n_head=2, n_embd=16, block_size=BLOCK_SIZE, vocab_size=tokenizer.vocab_size
    )


def make_split(name: str, n_blocks: int, seed: int) -> MemorySplit:
    """Tokens that count upwards with a few jumps: quickly learnt."""
    random = np.random.default_rng(seed)
    steps = np.where(random.random(n_blocks * BLOCK_SIZE + 1) < 0.1, 7, 1)
    return MemorySplit(name, (np.cumsum(steps) % 20).astype(np.int64))


@pytest.fixture(scope="session")
def train() -> list[MemorySplit]:
    return [make_split("train", 40, 1), make_split("tune", 6, 2)]


@pytest.fixture(scope="session")
def validation() -> MemorySplit:
    return make_split("validation", 9, 3)
