from __future__ import annotations

import numpy as np
import pytest
import torch

from clso.errors import ConfigError, DataError
from clso.gpt import GptFrame, GptShape


def test_embeddings_are_gpt2s_and_fixed_by_the_seed() -> None:
    shape = GptShape(1, 2, 64, 100, 2000)
    frame = GptFrame(shape, seed=1)
    for tensor, rows in ((frame.wte, 2000), (frame.wpe, 100)):
        assert tensor.shape == (rows, 64)
        assert float(tensor.std()) == pytest.approx(0.02, rel=0.05)
        assert abs(float(tensor.mean())) < 0.001
    assert torch.equal(frame.wte, GptFrame(shape, seed=1).wte)
    assert not torch.equal(frame.wte, GptFrame(shape, seed=2).wte)
    assert not torch.equal(frame.wte[:100], frame.wpe)


def test_the_readout_is_tied_but_for_the_column_of_the_bias(
    frame: GptFrame, log_unigram: np.ndarray
) -> None:
    if not frame.has_bias:
        assert torch.equal(frame.head.weight, frame.wte)
        return
    assert torch.equal(frame.head.weight[:, :-1], frame.wte[:, :-1])
    np.testing.assert_allclose(frame.head.weight[:, -1], log_unigram, rtol=1e-6)


def test_fingerprint_knows_seed_and_bias(shape: GptShape, log_unigram: np.ndarray) -> None:
    frames = [
        GptFrame(shape, seed=1),
        GptFrame(shape, seed=2),
        GptFrame(shape, seed=1, log_unigram=log_unigram),
        GptFrame(GptShape(3, 2, 12, 10, 300), seed=1),
    ]
    assert len({frame.fingerprint for frame in frames}) == 4
    assert GptFrame(shape, seed=1).fingerprint == frames[0].fingerprint


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((0, 2, 12, 10, 300), "n_layer is 0"),
        ((2, 5, 12, 10, 300), "n_embd 12 is not divisible by n_head 5"),
        ((2, 2, 12, 10, 0), "vocab_size is 0"),
    ],
)
def test_impossible_shapes_are_refused(sizes: tuple[int, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        GptShape(*sizes)


@pytest.mark.parametrize("bad", [np.zeros(299), np.full(300, -np.inf), np.full(300, np.nan)])
def test_a_bias_of_another_length_or_not_finite_is_refused(
    shape: GptShape, bad: np.ndarray
) -> None:
    with pytest.raises(ValueError, match=r"expected \(300,\), all finite"):
        GptFrame(shape, seed=0, log_unigram=bad)


def test_a_bias_needs_a_coordinate() -> None:
    with pytest.raises(ConfigError, match="n_embd is 1"):
        GptFrame(GptShape(1, 1, 1, 4, 3), seed=0, log_unigram=np.zeros(3))


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        (np.zeros((2, 11), np.int64), "T at most 10"),
        (np.zeros(10, np.int64), r"expected \(B, T\)"),
        (np.full((1, 4), 300), "tokens lie in 300 to 300, expected 0 to 299"),
        (np.full((1, 4), -1), "tokens lie in -1"),
    ],
)
def test_blocks_without_embeddings_are_refused(
    shape: GptShape, blocks: np.ndarray, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        GptFrame(shape, seed=0).check_tokens(blocks)
