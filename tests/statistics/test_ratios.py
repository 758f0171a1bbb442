import numpy as np
import pytest
from scipy import stats

from clso.statistics.ratios import Ratio


def test_a_ratio_is_the_mean_of_paired_logarithms_with_their_t_interval() -> None:
    a, b = np.array([1.0, 2.2, 2.9]), np.array([10.0, 20.0, 31.0])
    ratio = Ratio.of(a, b)
    interval = stats.ttest_1samp(np.log(a / b), 0.0).confidence_interval(0.95)
    assert ratio.mean == pytest.approx(stats.gmean(a / b))
    assert (ratio.low, ratio.high) == pytest.approx(tuple(np.exp(interval)))


def test_the_inverse_has_the_inverse_interval() -> None:
    a, b = np.array([1.0, 2.2, 2.9]), np.array([10.0, 20.0, 31.0])
    there, back = Ratio.of(a, b), Ratio.of(b, a)
    assert there.low is not None
    assert back.high is not None
    assert (there.mean, there.low) == pytest.approx((1 / back.mean, 1 / back.high))


def test_one_pair_has_no_interval() -> None:
    assert Ratio.of(np.array([2.0]), np.array([8.0])) == Ratio(pytest.approx(0.25), None, None)
