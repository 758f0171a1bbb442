import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clso.counting import modified_discounts


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
