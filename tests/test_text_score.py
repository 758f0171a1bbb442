"""A text's score does not depend on how its stream is cut, and names its costliest tokens."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clso.data.tokenizer import Tokenizer
from clso.errors import WorkError
from clso.floors import Uniform
from clso.text_score import TextScore

T = 5


class ByPlace:
    """A model whose loss is a function of the token, and of its place in the block."""

    name = "by place"
    stored_bytes = 0

    def token_nll(self, inputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        return (targets % 7) + np.arange(targets.shape[1]) / 10

    def probabilities(self, inputs: np.ndarray) -> np.ndarray:
        raise NotImplementedError


def score(tokenizer: Tokenizer, parts: list[np.ndarray], costliest: int = 3) -> TextScore:
    return TextScore.of(ByPlace(), tokenizer, parts, block_size=T, costliest=costliest)


@given(st.lists(st.integers(0, 289), min_size=1, max_size=900), st.data())
def test_every_token_is_scored_once_however_the_stream_is_cut(
    toy_tokenizer: Tokenizer, tokens: list[int], data: st.DataObject
) -> None:
    stream = np.array([token % toy_tokenizer.vocab_size for token in tokens])
    places = data.draw(st.lists(st.integers(0, len(stream)), max_size=4).map(sorted))
    found = score(toy_tokenizer, np.split(stream, places))
    expected = stream % 7 + np.arange(len(stream)) % T / 10
    assert found.totals.n_tokens == len(stream)
    assert found.totals.n_bytes == toy_tokenizer.token_bytes[stream].sum()
    assert found.totals.nll == pytest.approx(expected.sum())
    assert [costly.nll for costly in found.costliest] == sorted(expected, reverse=True)[:3]
    for costly in found.costliest:
        assert costly.nll == expected[costly.place - 1]


def test_a_costly_token_has_its_document_and_the_text_before_it(toy_tokenizer: Tokenizer) -> None:
    end = toy_tokenizer.end_token_id
    first, second = toy_tokenizer.encode("the cat"), toy_tokenizer.encode("a dog")
    found = score(toy_tokenizer, [np.array([*first, end, *second, end])], costliest=100)
    by_place = {costly.place: costly for costly in found.costliest}
    assert "".join(by_place[place].token for place in sorted(by_place)) == "the cata dog"
    assert [by_place[place].document for place in sorted(by_place)] == [
        *[1] * (len(first) + 1),
        *[2] * (len(second) + 1),
    ]
    assert by_place[len(first) + 2].before == ""
    assert by_place[len(first) + 1].token == ""


def test_the_uniform_model_costs_log_v(toy_tokenizer: Tokenizer) -> None:
    uniform = Uniform(toy_tokenizer.vocab_size)
    found = TextScore.of(uniform, toy_tokenizer, [np.arange(100)], block_size=8, costliest=0)
    assert found.totals.loss == pytest.approx(np.log(toy_tokenizer.vocab_size))
    assert found.costliest == ()


def test_a_loss_that_is_no_number_is_refused(
    toy_tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        ByPlace, "token_nll", lambda self, _, targets: np.full(targets.shape, np.nan)
    )
    with pytest.raises(WorkError, match="not finite after 0 tokens"):
        score(toy_tokenizer, [np.arange(9)])
