from __future__ import annotations

import numpy as np
import pytest
from drawn_families import family_settings

from clso.gpt import GptFrame, GptShape
from clso.library import BasisLibrary

N_LAYER, N_HEAD, N_EMBD, BLOCK_SIZE, VOCAB_SIZE = 2, 2, 12, 10, 300


@pytest.fixture(scope="session")
def library() -> BasisLibrary:
    families = [
        family_settings("block_sparse", 1.0, {"block": 5, "density": 0.4}),
        family_settings("quantized_low_rank", 1.0, {"rank": 3, "bits": 4}),
    ]
    return BasisLibrary.generate(N_EMBD, 6, families, gain=1.0, seed=1)


@pytest.fixture(scope="session")
def shape() -> GptShape:
    return GptShape(N_LAYER, N_HEAD, N_EMBD, BLOCK_SIZE, VOCAB_SIZE)


@pytest.fixture(scope="session")
def log_unigram() -> np.ndarray:
    counts = 1.0 / np.arange(1, VOCAB_SIZE + 1)
    return np.log(counts / counts.sum())


@pytest.fixture(params=["tied", "unigram bias"])
def frame(request: pytest.FixtureRequest, shape: GptShape, log_unigram: np.ndarray) -> GptFrame:
    biased = request.param == "unigram bias"
    return GptFrame(shape, seed=4, log_unigram=log_unigram if biased else None)


@pytest.fixture(scope="session")
def batches() -> tuple[np.ndarray, np.ndarray]:
    """Inputs and targets, each (n_batches, batch_size, T)."""
    tokens = np.random.default_rng(0).integers(0, VOCAB_SIZE, (5, 3, BLOCK_SIZE + 1))
    return tokens[:, :, :-1], tokens[:, :, 1:]
