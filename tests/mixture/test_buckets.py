import numpy as np
import pytest

from clso.mixture.buckets import BUCKETINGS, Bucketing
from clso.mixture.history import History, HistoryCounts


@pytest.fixture
def history(text_stream: type) -> History:
    rng = np.random.default_rng(3)
    counts = HistoryCounts.fit([text_stream(np.minimum(rng.zipf(1.5, 3000), 20) - 1)], 20)
    return counts.of(np.minimum(rng.zipf(1.5, (8, 70)), 20) - 1)


@pytest.mark.parametrize("bucketing", BUCKETINGS)
def test_every_context_falls_into_a_bucket(bucketing: str, history: History) -> None:
    buckets = Bucketing(bucketing).assign(history)
    assert buckets.shape == history.match.shape
    assert 0 <= buckets.min() <= buckets.max() < Bucketing(bucketing).n_buckets


@pytest.mark.parametrize("bucketing", [name for name in BUCKETINGS if "*" in name])
def test_a_product_tells_apart_what_either_factor_does(bucketing: str, history: History) -> None:
    buckets = Bucketing(bucketing).assign(history).ravel()
    for factor in bucketing.split("*"):
        parts = Bucketing(factor).assign(history).ravel()
        for bucket in np.unique(buckets):
            assert len(set(parts[buckets == bucket])) == 1
    assert Bucketing(bucketing).n_buckets == np.prod(
        [Bucketing(part).n_buckets for part in bucketing.split("*")]
    )


def test_count_levels_are_logarithmic() -> None:
    seen = np.array([[0, 1, 2, 3, 4, 7, 8, 10**6]])
    history = History((seen, seen, seen), np.zeros_like(seen))
    assert Bucketing("count1").assign(history).tolist() == [[0, 1, 2, 2, 3, 3, 4, 7]]
    assert Bucketing("none").assign(history).tolist() == [[0] * 8]
