import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from streams import Stream, zipf

from clso.floors import Bigram, Uniform, Unigram
from clso.mixture.counts import KneserNeyFloor
from clso.scoring import LanguageModel

FLOORS: dict[str, Callable[[Stream, int], LanguageModel]] = {
    "uniform": lambda stream, vocab_size: Uniform(vocab_size),
    "unigram": lambda stream, vocab_size: Unigram.fit([stream], vocab_size),
    "bigram": lambda stream, vocab_size: Bigram.fit([stream], vocab_size),
    "kneser_ney": lambda stream, vocab_size: KneserNeyFloor.fit([stream], vocab_size),
}


@pytest.mark.parametrize("name", FLOORS)
@settings(max_examples=25, deadline=None)
@given(vocab_size=st.integers(1, 30), length=st.integers(0, 400), seed=st.integers(0, 1000))
def test_every_distribution_is_proper_and_leaves_no_token_out(
    name: str, vocab_size: int, length: int, seed: int
) -> None:
    model = FLOORS[name](zipf(vocab_size, length, seed), vocab_size)
    inputs = np.arange(vocab_size, dtype=np.int64)[None, :]
    probabilities = model.probabilities(inputs)
    assert probabilities.shape == (1, vocab_size, vocab_size)
    np.testing.assert_allclose(probabilities.sum(-1), 1.0, rtol=0, atol=1e-12)
    assert (probabilities > 0).all()


@pytest.mark.parametrize("name", FLOORS)
def test_scores_agree_with_the_distributions(name: str) -> None:
    model = FLOORS[name](zipf(50, 2000), 50)
    rng = np.random.default_rng(1)
    inputs, targets = rng.integers(0, 50, (2, 3, 7))
    nll = model.token_nll(inputs, targets)
    assert nll.shape == (3, 7)
    assert nll.dtype == np.float64
    expected = np.take_along_axis(model.probabilities(inputs), targets[..., None], -1)[..., 0]
    np.testing.assert_allclose(nll, -np.log(expected), rtol=1e-12)


@pytest.mark.parametrize("name", FLOORS)
def test_a_floor_says_its_name_and_size(name: str) -> None:
    model = FLOORS[name](zipf(50, 2000), 50)
    assert model.name == name
    assert model.stored_bytes >= (0 if name == "uniform" else 8 * 50)


def test_each_floor_knows_more_than_the_one_before() -> None:
    rng = np.random.default_rng(0)
    steps = rng.choice([1, 1, 1, 2], 6000)
    chain = Stream((np.cumsum(steps) % 17 + (np.cumsum(steps) % 3 == 0)).astype(np.uint16))
    inputs, targets = (chain.tokens(start, start + 2000).astype(np.int64)[None] for start in (0, 1))
    losses = [FLOORS[name](chain, 20).token_nll(inputs, targets).mean() for name in FLOORS]
    assert losses == sorted(losses, reverse=True)
    assert losses[0] == pytest.approx(math.log(20))
    assert losses[2] < losses[1] - 0.5


def test_the_unigram_bias_is_the_unigram_floor() -> None:
    counts = np.array([5, 1, 0, 2])
    nll = Unigram.of_counts(counts).token_nll(np.zeros((1, 4), np.int64), np.arange(4)[None])
    np.testing.assert_array_equal(Unigram.of_counts(counts).log_p, -nll[0])


def test_without_counts_everything_is_uniform() -> None:
    np.testing.assert_allclose(Unigram.of_counts(np.zeros(4, np.int64)).log_p, -math.log(4))
    bigram = Bigram.fit([Stream(np.array([], dtype=np.uint16))], 4)
    np.testing.assert_allclose(bigram.probabilities(np.array([[0, 3]])), 0.25)
    assert bigram.token_nll(np.array([[0]]), np.array([[1]]))[0, 0] == pytest.approx(math.log(4))


def test_a_context_never_seen_falls_back_to_continuations() -> None:
    bigram = Bigram.fit([Stream(np.array([0, 1, 0, 2, 0, 1, 0, 2, 0]))], 5)
    np.testing.assert_allclose(bigram.probabilities(np.array([[4]]))[0, 0], bigram.lower)


def test_continuation_counts_successors_not_repetitions() -> None:
    # 3 follows only 2, very often; 1 follows three different tokens, once each
    stream = Stream(np.array([2, 3] * 30 + [0, 1, 4, 1, 5, 1]))
    lower = Bigram.fit([stream], 6).lower
    assert lower[1] > lower[3]
