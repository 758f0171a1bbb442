from collections.abc import Callable

import numpy as np
import pytest

from clso.counting import count_targets
from clso.errors import ArtifactError
from clso.floors import Uniform, Unigram

VOCAB = 9


@pytest.mark.parametrize("vocab_size", [2, VOCAB])
def test_uniform_is_under_contract(vocab_size: int, hold_to_contract: Callable[..., None]) -> None:
    # no library holds it, so nothing loads it: a mixture makes its own
    hold_to_contract(
        lambda: Uniform(vocab_size), vocab_size, load=lambda spec, _: Uniform(spec["vocab_size"])
    )


@pytest.mark.parametrize("text", [[0, 1, 1, 0, 1], [1] * 6, [0], []])
@pytest.mark.parametrize("vocab_size", [2, VOCAB])
def test_unigram_is_under_contract(
    text: list[int], vocab_size: int, hold_to_contract: Callable[..., None], text_stream: type
) -> None:
    hold_to_contract(lambda: Unigram.fit([text_stream(text)], vocab_size), vocab_size)


def test_unigram_is_the_floors_unigram_and_leaves_no_token_at_zero(text_stream: type) -> None:
    streams = [text_stream([3, 1, 1, 2]), text_stream([5, 1, 0])]
    probabilities = Unigram.fit(streams, VOCAB).distribution(np.array([4]))
    floor = Unigram.of_counts(count_targets(streams, VOCAB))
    np.testing.assert_array_equal(probabilities, floor.p)
    np.testing.assert_array_equal(probabilities, np.exp(floor.log_p))
    assert probabilities.argmax() == 1
    assert probabilities.min() > 0


def test_a_changed_distribution_leaves_the_unigram_as_it_was(text_stream: type) -> None:
    unigram = Unigram.fit([text_stream([0, 1, 2])], VOCAB)
    before = unigram.distribution(np.array([0]))
    unigram.distribution(np.array([0]))[:] = 0
    np.testing.assert_array_equal(unigram.distribution(np.array([0])), before)


def test_a_stored_constant_of_another_length_is_refused() -> None:
    with pytest.raises(ArtifactError, match=r"None, expected \(3,\)"):
        Unigram.from_arrays({"name": "unigram", "vocab_size": 3}, {})
    with pytest.raises(ArtifactError, match=r"\(2,\), expected \(3,\)"):
        Unigram.from_arrays({"name": "unigram", "vocab_size": 3}, {"unigram": np.ones(2) / 2})
