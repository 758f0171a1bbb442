from typing import get_args

import numpy as np
import pytest

from clso.errors import ConfigError
from clso.mixture.buckets import BUCKETINGS, Bucketing, DeepBucketingName
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


@pytest.fixture
def deep_history(text_stream: type) -> History:
    rng = np.random.default_rng(3)
    counts = HistoryCounts.fit([text_stream(rng.integers(0, 2, 60))], 2, 7)
    return counts.of(rng.integers(0, 2, (4, 20)))


@pytest.mark.parametrize("name", get_args(DeepBucketingName))
def test_bucketings_of_seven_tokens_say_how_far_they_look(name: str, deep_history: History) -> None:
    assert Bucketing(name).longest == 7
    buckets = Bucketing(name).assign(deep_history)
    assert 0 <= buckets.min() <= buckets.max() < Bucketing(name).n_buckets


def test_deeper_counts_leave_other_bucketings_as_they_are(text_stream: type) -> None:
    rng = np.random.default_rng(3)
    stream, blocks = text_stream(rng.integers(0, 3, 90)), rng.integers(0, 3, (4, 20))
    three, seven = (HistoryCounts.fit([stream], 3, most).of(blocks) for most in (3, 7))
    assert seven.match.max() > 3
    for name in BUCKETINGS:
        assert Bucketing(name).longest == 3
        np.testing.assert_array_equal(
            Bucketing(name).assign(three), Bucketing(name).assign(seven), name
        )


def test_count_levels_are_logarithmic() -> None:
    seen = np.array([[0, 1, 2, 3, 4, 7, 8, 10**6]])
    history = History((seen, seen, seen), np.zeros_like(seen))
    assert Bucketing("count1").assign(history).tolist() == [[0, 1, 2, 2, 3, 3, 4, 7]]
    assert Bucketing("none").assign(history).tolist() == [[0] * 8]


def test_a_tree_divides_each_bucket_further() -> None:
    rng = np.random.default_rng(0)
    seen, match, last = (
        rng.integers(0, 9, (3, 4)),
        rng.integers(0, 4, (3, 4)),
        rng.integers(0, 5, (3, 4)),
    )
    history = History((seen, seen, seen), match, {"k5": last})
    tree = Bucketing("count1*match>k5")
    assert tree.branching == (32, 5)
    assert tree.class_names == {"k5"}
    assert np.array_equal(
        tree.assign(history), Bucketing("count1*match").assign(history) * 5 + last
    )


@pytest.mark.parametrize("name", ["count9", "count1>", "k0", "count1*none", ""])
def test_an_unknown_feature_is_named(name: str) -> None:
    with pytest.raises(ConfigError, match="no feature of contexts"):
        Bucketing(name)
