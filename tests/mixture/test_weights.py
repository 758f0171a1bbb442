from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clso.mixture.weights import BucketOrder, MixtureWeights


def columns(seed: int, n_functions: int, n: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    values = rng.beta(0.3, 3.0, (n_functions, n)).astype(np.float32)
    values[0] = 1e-3
    return values


def fit(
    values: np.ndarray, buckets: np.ndarray, *, smoothing: float = 5.0, steps: int = 20
) -> MixtureWeights:
    order = BucketOrder.of(buckets, int(buckets.max()) + 2)
    return MixtureWeights.fit(values, order, smoothing=smoothing, steps=steps)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 1000),
    n_functions=st.integers(1, 6),
    n=st.integers(1, 60),
    n_buckets=st.integers(1, 5),
    smoothing=st.floats(0.01, 1000),
)
def test_weights_are_distributions_and_leave_the_uniform_function_its_share(
    seed: int, n_functions: int, n: int, n_buckets: int, smoothing: float
) -> None:
    buckets = np.random.default_rng(seed).integers(0, n_buckets, n)
    weights = fit(columns(seed, n_functions, n), buckets, smoothing=smoothing)
    for row in (weights.shared, *weights.table):
        assert row.sum() == pytest.approx(1.0, abs=1e-12)
        assert row.min() >= 0
        assert row[0] >= 1e-4


def test_a_bucket_without_contexts_has_the_shared_weights() -> None:
    buckets = np.zeros(50, dtype=np.int64)
    weights = fit(columns(0, 3, 50), buckets)
    assert np.allclose(weights.table[1], weights.shared, atol=1e-12)


def test_more_steps_never_raise_the_loss_without_smoothing_and_buckets() -> None:
    values = columns(1, 5, 400)
    order = BucketOrder.of(np.zeros(400, dtype=np.int64), 1)
    losses = [
        MixtureWeights.fit(values, order, smoothing=1e-9, steps=steps).mean_nll(values, order)
        for steps in (1, 2, 4, 8, 16, 32)
    ]
    assert all(later <= earlier + 1e-6 for earlier, later in pairwise(losses))


def test_weights_approach_those_that_made_the_data() -> None:
    rng = np.random.default_rng(0)
    truth = np.array([0.05, 0.6, 0.35])
    tokens = rng.dirichlet(np.full(30, 0.3), size=3)
    tokens[0] = 1 / 30
    drawn = [rng.choice(30, p=tokens[rng.choice(3, p=truth)]) for _ in range(4000)]
    values = tokens[:, drawn].astype(np.float32)
    weights = fit(values, np.zeros(4000, dtype=np.int64), smoothing=1e-9, steps=200)
    assert np.abs(weights.shared - truth).max() < 0.06


def test_strong_smoothing_holds_a_rare_bucket_to_the_shared_weights() -> None:
    values = columns(2, 4, 300)
    buckets = np.zeros(300, dtype=np.int64)
    buckets[:2] = 1
    weak, strong = (fit(values, buckets, smoothing=s) for s in (0.01, 1e4))
    assert np.abs(strong.table[1] - strong.shared).max() < 0.01
    assert np.abs(weak.table[1] - weak.shared).max() > 0.1


def test_the_loss_is_that_of_the_formula_whatever_the_order() -> None:
    values = columns(3, 4, 100)
    buckets = np.random.default_rng(0).integers(0, 3, 100)
    weights = fit(values, buckets)
    probability = (weights.table[buckets] * values.T).sum(axis=1)
    order = BucketOrder.of(buckets, 3)
    assert weights.mean_nll(values, order) == pytest.approx(-np.log(probability).mean(), rel=1e-5)


@given(n=st.integers(0, 40), seed=st.integers(0, 50))
@settings(max_examples=25, deadline=None)
def test_a_part_of_a_division_is_the_division_of_the_part(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    buckets = rng.integers(0, 4, 40)
    chosen = np.zeros(40, dtype=bool)
    chosen[rng.permutation(40)[:n]] = True
    part = BucketOrder.of(buckets, 4).part(chosen)
    direct = BucketOrder.of(buckets[chosen], 4)
    assert np.array_equal(part.contexts, np.flatnonzero(chosen)[direct.contexts])
    assert part.segments == direct.segments


def test_the_mean_is_that_of_the_contexts_nats() -> None:
    order = BucketOrder.of(np.random.default_rng(1).integers(0, 3, 40), 3)
    values = columns(0, 3, 40)
    weights = MixtureWeights.fit(values, order, smoothing=1.0, steps=3)
    nats = weights.nll(values, order)
    assert nats.mean() == pytest.approx(weights.mean_nll(values, order), rel=1e-6)


def test_no_context_at_all_leaves_equal_weights() -> None:
    values = columns(0, 3, 4)[:, :0]
    order = BucketOrder.of(np.zeros(0, dtype=np.int64), 2)
    weights = MixtureWeights.fit(values, order, smoothing=1.0, steps=3)
    assert np.allclose(weights.table, 1 / 3)
    assert weights.nll(values, order).shape == (0,)


def test_a_tree_of_one_level_is_a_flat_division() -> None:
    buckets = np.random.default_rng(2).integers(0, 6, 300)
    values = columns(4, 5, 300)
    flat = MixtureWeights.fit(values, BucketOrder.of(buckets, 6), smoothing=5.0, steps=6)
    assert flat.table.shape == (6, len(values))
    tree = MixtureWeights.fit(values, BucketOrder.of(buckets, 2, 3), smoothing=5.0, steps=6)
    assert tree.table.shape == flat.table.shape
    assert not np.allclose(tree.table, flat.table)
    np.testing.assert_array_equal(tree.shared, flat.shared)


def test_an_empty_bucket_of_a_tree_has_the_weights_of_the_level_before() -> None:
    top = np.random.default_rng(3).integers(0, 2, 200)
    values = columns(5, 4, 200)
    level = MixtureWeights.fit(values, BucketOrder.of(top, 2), smoothing=5.0, steps=6)
    below = BucketOrder.of(top * 3 + 1, 2, 3)  # only the middle one of three has contexts
    tree = MixtureWeights.fit(values, below, smoothing=5.0, steps=6)
    for bucket in (0, 1):
        for empty in (0, 2):
            np.testing.assert_array_equal(tree.table[3 * bucket + empty], level.table[bucket])


def test_a_small_bucket_of_a_tree_stays_near_the_level_before() -> None:
    top = np.zeros(400, dtype=np.int64)
    values = columns(6, 4, 400)
    level = MixtureWeights.fit(values, BucketOrder.of(top, 1), smoothing=5.0, steps=20)
    top[:3] = 1
    tree = MixtureWeights.fit(values, BucketOrder.of(top, 1, 2), smoothing=100.0, steps=20)
    np.testing.assert_allclose(tree.table[1], level.table[0], atol=0.05)
