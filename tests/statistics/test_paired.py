import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from clso.statistics.paired import Difference, holm, signed_rank

P_VALUES = st.lists(st.none() | st.floats(0, 1), max_size=8)


def test_holm_against_values_by_hand() -> None:
    # sorted 0.005, 0.01, 0.03, 0.04: times 4, 3, 2, 1, never falling
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.6]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []


def test_holm_leaves_out_what_was_not_tested() -> None:
    assert holm([0.02, None, 0.03]) == pytest.approx([0.04, None, 0.04])


@given(P_VALUES)
def test_holm_is_between_no_correction_and_bonferroni_and_keeps_the_order(
    p_values: list[float | None],
) -> None:
    adjusted = holm(p_values)
    tested = [(p, a) for p, a in zip(p_values, adjusted, strict=True) if p is not None]
    for p, a in tested:
        assert a is not None
        assert p <= a <= min(1.0, len(tested) * p) + 1e-12
    ranked = [a for _, a in sorted(tested)]
    assert ranked == sorted(ranked)


def test_a_difference_is_scipys_paired_t_test() -> None:
    ours, theirs = np.array([5.0, 5.1, 4.8, 5.3]), np.array([5.2, 5.2, 5.1, 5.2])
    found = Difference.of(ours - theirs)
    expected = stats.ttest_rel(ours, theirs)
    low, high = expected.confidence_interval(0.95)
    assert found.p_value == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == pytest.approx((low, high))


@pytest.mark.parametrize(("values", "p_value"), [([0.0, 0.0], 1.0), ([0.5, 0.5], 0.0)])
def test_differences_that_do_not_vary_are_certain(values: list[float], p_value: float) -> None:
    assert Difference.of(np.array(values)).p_value == p_value


def test_one_seed_says_nothing_of_others() -> None:
    assert Difference.of(np.array([0.5])) == Difference(0.5, None, None, None)


def test_signed_ranks_need_six_differences() -> None:
    assert signed_rank(np.full(5, -0.1)) is None
    assert signed_rank(np.arange(1.0, 7.0)) == pytest.approx(2 / 2**6)
    assert signed_rank(np.zeros(6)) == 1.0
    assert signed_rank(np.array([0.0, 0.0, 1.0, 1.0, -1.0, 2.0])) is not None


def test_intervals_are_counted_by_where_zero_lies() -> None:
    found = [Difference(-1, -2, -0.5), Difference(1, 0.5, 2), Difference(0, -1, 1)]
    assert Difference.tally([*found, Difference(3, None, None)]) == (1, 1, 2)
