import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clso.mixture.counts.keys import ranked, tally

KEYS = st.lists(st.integers(0, 9) | st.integers(0, 2**63), max_size=50)


@given(KEYS)
def test_distinct_keys_are_counted(keys: list[int]) -> None:
    distinct, counts = tally(np.array(keys, dtype=np.uint64))
    expected = np.unique(np.array(keys, dtype=np.uint64), return_counts=True)
    assert np.array_equal(distinct, expected[0])
    assert np.array_equal(counts, expected[1])


@pytest.mark.parametrize("largest", [9, 2**40, 2**63])  # the last leaves no bits for the places
@settings(max_examples=40)
@given(keys=KEYS)
def test_a_rank_is_the_place_among_the_distinct(largest: int, keys: list[int]) -> None:
    bounded = np.array([min(key, largest) for key in keys], dtype=np.uint64)
    ranks, distinct = ranked(bounded.copy())
    assert np.array_equal(distinct, np.unique(bounded))
    assert np.array_equal(distinct[ranks], bounded)
