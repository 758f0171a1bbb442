"""Sampling as functions of a distribution, and the loop and decoder around them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from clso.errors import ConfigError
from clso.generation import Sampling, decoded

WEIGHTS = arrays(np.float64, st.integers(1, 30), elements=st.floats(0, 1e6)).filter(
    lambda weights: weights.sum() > 1e-3
)
DISTRIBUTIONS = WEIGHTS.map(lambda weights: weights / weights.sum())
MANY = settings(deadline=None, max_examples=60)  # machines are busy at times
SHARES = st.floats(1e-6, 1.0)


class Scripted:
    """A model whose distribution is a function of its history."""

    name = "scripted"
    stored_bytes = 0

    def __init__(self, distribution: Callable[[np.ndarray], np.ndarray]) -> None:
        self._distribution = distribution
        self.asked: list[list[int]] = []

    def distribution(self, history: np.ndarray) -> np.ndarray:
        self.asked.append(history.tolist())
        return self._distribution(history)

    def token_nll(self, inputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def probabilities(self, inputs: np.ndarray) -> np.ndarray:
        raise NotImplementedError


def one_hot(token: int, size: int = 10) -> np.ndarray:
    return np.eye(size)[token]


def counting() -> Scripted:
    return Scripted(lambda history: one_hot((history[-1] + 1) % 10))


class TestTemperature:
    @MANY
    @given(DISTRIBUTIONS, st.floats(0, 1e300, exclude_min=True))
    def test_gives_a_distribution_that_keeps_the_order(
        self, distribution: np.ndarray, temperature: float
    ) -> None:
        warmed = Sampling(temperature=temperature).tempered(distribution)
        assert warmed.min() >= 0
        assert warmed.sum() == pytest.approx(1.0)
        assert (np.diff(warmed[np.argsort(distribution)]) >= -1e-12).all()
        assert not warmed[distribution == 0].any()

    @MANY
    @given(DISTRIBUTIONS)
    def test_1_changes_nothing(self, distribution: np.ndarray) -> None:
        np.testing.assert_allclose(
            Sampling(temperature=1.0).tempered(distribution), distribution, rtol=1e-9, atol=0
        )

    @MANY
    @given(DISTRIBUTIONS)
    def test_0_is_the_limit_of_low_ones_where_no_two_tokens_are_equal(
        self, distribution: np.ndarray
    ) -> None:
        greedy = Sampling(temperature=0.0).tempered(distribution)
        assert greedy.argmax() == distribution.argmax()
        assert np.count_nonzero(greedy) == 1
        top = np.sort(distribution)[-2:]
        if len(top) == 1 or top[0] < 0.99 * top[1]:
            np.testing.assert_allclose(
                Sampling(temperature=1e-4).tempered(distribution), greedy, atol=1e-12
            )

    def test_high_ones_make_possible_tokens_alike(self) -> None:
        np.testing.assert_allclose(
            Sampling(temperature=1e9).tempered(np.array([0.9, 0.0, 0.1])), [0.5, 0.0, 0.5]
        )


class TestNucleus:
    @MANY
    @given(DISTRIBUTIONS, SHARES)
    def test_is_the_smallest_set_of_most_probable_tokens_that_reaches_the_mass(
        self, distribution: np.ndarray, top_p: float
    ) -> None:
        kept = Sampling(top_p=top_p).nucleus(distribution)
        assert kept.sum() == pytest.approx(1.0)
        inside = kept > 0
        mass = distribution[inside].sum()
        assert mass >= top_p - 1e-9
        if inside.sum() > 1 and top_p < 1:
            assert mass - distribution[inside].min() < top_p + 1e-9
        if not inside.all():
            assert distribution[inside].min() >= distribution[~inside].max()
        np.testing.assert_allclose(kept[inside], distribution[inside] / mass)

    @MANY
    @given(DISTRIBUTIONS)
    def test_of_everything_is_everything(self, distribution: np.ndarray) -> None:
        np.testing.assert_allclose(Sampling(top_p=1.0).nucleus(distribution), distribution)

    def test_takes_the_first_of_equals(self) -> None:
        np.testing.assert_allclose(
            Sampling(top_p=0.5).nucleus(np.full(4, 0.25)), [0.5, 0.5, 0.0, 0.0]
        )


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ({"temperature": -0.1}, "temperature is -0.1, expected 0 or more"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"temperature": float("inf")}, "temperature is inf"),
        ({"top_p": 0.0}, "top p is 0.0, expected a share above 0, up to 1"),
        ({"top_p": 1.01}, "top p is 1.01"),
        ({"top_p": float("nan")}, "top p is nan"),
        ({"max_tokens": 0}, "max tokens is 0, expected 1 or more"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_a_setting_out_of_range_is_told(setting: dict[str, float], expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        Sampling(**setting)  # type: ignore[arg-type]


class TestGenerate:
    def test_continues_the_prompt_up_to_the_end_token(self) -> None:
        tokens = Sampling().generate(counting(), [3, 4], n_positions=8, end_token_id=9)
        assert list(tokens) == [5, 6, 7, 8]

    def test_stops_at_the_longest_length(self) -> None:
        sampling = Sampling(max_tokens=2)
        tokens = sampling.generate(counting(), [3], n_positions=8, end_token_id=9)
        assert list(tokens) == [4, 5]

    def test_nothing_is_a_document_s_beginning(self) -> None:
        model = counting()
        tokens = Sampling(max_tokens=3).generate(model, [], n_positions=8, end_token_id=9)
        assert list(tokens) == [0, 1, 2]
        assert model.asked[0] == [9]

    def test_the_model_sees_the_last_tokens_alone(self) -> None:
        model = counting()
        list(Sampling(max_tokens=3).generate(model, [1, 2, 3], n_positions=4, end_token_id=9))
        assert model.asked == [[1, 2, 3], [1, 2, 3, 4], [2, 3, 4, 5]]

    def test_is_a_function_of_the_seed(self) -> None:
        def drawn(seed: int) -> list[int]:
            model = Scripted(lambda _: np.full(1000, 1e-3))
            sampling = Sampling(30, 1.0, 1.0, seed)
            return list(sampling.generate(model, [1], n_positions=4, end_token_id=999))

        assert drawn(1) == drawn(1)
        assert drawn(1) != drawn(2)

    def test_draws_as_the_distribution_says_and_nothing_outside_the_nucleus(self) -> None:
        model = Scripted(lambda _: np.array([0.0, 0.5, 0.3, 0.15, 0.05]))
        sampling = Sampling(4000, 1.0, 0.8)
        tokens = list(sampling.generate(model, [1], n_positions=1, end_token_id=0))
        assert set(tokens) == {1, 2}
        assert np.mean(np.array(tokens) == 1) == pytest.approx(0.5 / 0.8, abs=0.03)


class TestDecoded:
    TEXTS = (b"", b"a", b" \xe2", b"\x80\x9c", b"\xc3", b"\xab", b"\xf0\x9f\xa6", b"\x8a!")

    def test_a_character_waits_for_its_last_byte(self) -> None:
        assert list(decoded([1, 2, 3, 4, 5], self.TEXTS)) == ["a", " ", "“", "ë"]
        assert list(decoded([6, 7], self.TEXTS)) == ["🦊!"]

    def test_one_that_is_never_finished_shows_as_such(self) -> None:
        assert "".join(decoded([1, 6], self.TEXTS)) == "a\N{REPLACEMENT CHARACTER}"
        assert "".join(decoded([4, 1], self.TEXTS)) == "\N{REPLACEMENT CHARACTER}a"

    @MANY
    @given(st.lists(st.integers(0, 7)))
    def test_pieces_are_the_whole(self, tokens: list[int]) -> None:
        whole = b"".join(self.TEXTS[token] for token in tokens)
        assert "".join(decoded(tokens, self.TEXTS)) == whole.decode(errors="replace")
