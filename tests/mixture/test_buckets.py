import numpy as np
import pytest

from clso.mixture.buckets import BUCKETINGS, assign, n_buckets
from clso.mixture.history import History, HistoryCounts


@pytest.fixture
def history(text_stream: type) -> History:
    rng = np.random.default_rng(3)
    counts = HistoryCounts.fit([text_stream(np.minimum(rng.zipf(1.5, 3000), 20) - 1)], 20)
    return counts.of(np.minimum(rng.zipf(1.5, (8, 70)), 20) - 1)


@pytest.mark.parametrize("bucketing", BUCKETINGS)
def test_every_context_falls_into_a_bucket(bucketing: str, history: History) -> None:
    buckets = assign(bucketing, history)
    assert buckets.shape == history.match.shape
    assert 0 <= buckets.min() <= buckets.max() < n_buckets(bucketing)


@pytest.mark.parametrize("bucketing", [name for name in BUCKETINGS if "*" in name])
def test_a_product_tells_apart_what_either_factor_does(bucketing: str, history: History) -> None:
    buckets = assign(bucketing, history).ravel()
    for factor in bucketing.split("*"):
        parts = assign(factor, history).ravel()
        for bucket in np.unique(buckets):
            assert len(set(parts[buckets == bucket])) == 1
    assert n_buckets(bucketing) == np.prod([n_buckets(part) for part in bucketing.split("*")])


def test_count_levels_are_logarithmic() -> None:
    seen = np.array([[0, 1, 2, 3, 4, 7, 8, 10**6]])
    history = History((seen, seen, seen), np.zeros_like(seen))
    assert assign("count1", history).tolist() == [[0, 1, 2, 2, 3, 3, 4, 7]]
    assert assign("none", history).tolist() == [[0] * 8]
