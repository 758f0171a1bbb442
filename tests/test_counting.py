import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from streams import Stream, zipf

from clso.counting import count_pairs, count_targets, modified_discounts
from clso.floors import Unigram


def test_discounts_follow_chen_and_goodman() -> None:
    counts = np.repeat([1, 2, 3, 4, 9], [40, 20, 12, 8, 5])
    y = 40 / 80
    expected = [0, 1 - 2 * y * 20 / 40, 2 - 3 * y * 12 / 20, 3 - 4 * y * 8 / 12]
    np.testing.assert_allclose(modified_discounts(counts), expected)


@given(st.lists(st.integers(1, 300), max_size=80))
def test_a_discount_leaves_something_of_every_count(counts: list[int]) -> None:
    discounts = modified_discounts(np.array(counts, dtype=np.uint16))
    assert discounts[0] == 0
    assert (discounts[1:] > 0).all()
    assert (discounts[1:] < [1, 2, 3]).all()


@pytest.mark.parametrize(
    ("numbers", "single"),
    [
        ([10, 5, 3, 0], 0.5),  # none four times
        ([10, 5, 0, 2], 0.5),
        ([1, 40, 3, 0], 0.1),
        ([100, 1, 1, 0], 0.9),
        ([10, 5, 40, 2], 0.5),  # D_2 would be negative
        ([0, 5, 3, 2], 0.5),
        ([10, 0, 3, 2], 0.5),
        ([0, 0, 0, 0], 0.5),
    ],
)
def test_counts_that_give_no_three_discounts_give_one(numbers: list[int], single: float) -> None:
    discounts = modified_discounts(np.repeat([1, 2, 3, 4], numbers))
    assert discounts.tolist() == [0, single, single, single]


def test_counts_are_of_targets_and_pairs_span_blocks_but_not_splits() -> None:
    first, second = Stream(np.array([0, 1, 2, 1, 2])), Stream(np.array([2, 0]))
    assert count_targets([first, second], 3).tolist() == [1, 2, 2]
    keys, counts = count_pairs([first, second], 3)
    pairs = dict(zip(keys.tolist(), counts.tolist(), strict=True))
    assert pairs == {0 * 3 + 1: 1, 1 * 3 + 2: 2, 2 * 3 + 1: 1, 2 * 3 + 0: 1}


@pytest.mark.parametrize("chunk", [1, 7, 64, 10_000])
def test_counting_in_chunks_changes_nothing_and_bounds_what_is_read(chunk: int) -> None:
    stream = zipf(40, 1500)
    keys, counts = count_pairs([stream], 40, chunk=chunk)
    tokens = stream.tokens(0, 1500).astype(np.int64)
    expected = np.unique(tokens[:-1] * 40 + tokens[1:], return_counts=True)
    np.testing.assert_array_equal(keys, expected[0])
    np.testing.assert_array_equal(counts, expected[1])
    fresh = zipf(40, 1500)
    count_targets([fresh], 40, chunk=chunk)
    assert fresh.largest_read <= chunk + 1


def test_unseen_tokens_share_the_discounted_mass_equally() -> None:
    p = Unigram.of_counts(np.array([6, 1, 1, 0, 0, 2])).p
    discount = 2 / (2 + 2 * 1)
    assert p[3] == p[4] == pytest.approx(discount * 4 / 10 / 6)
    assert p[0] == pytest.approx((6 - discount) / 10 + p[3])


def test_a_vocabulary_too_large_to_number_pairs_is_refused() -> None:
    with pytest.raises(ValueError, match="too large"):
        count_pairs([], 1 << 32)
