from collections.abc import Hashable, Iterable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from search.screening import Screener, Screening, rank_correlation, topk_recall


def run(
    predicted: Iterable[float],
    places: int,
    *,
    limit: int | None = None,
    pending: int = 0,
    fraction: float = 0.2,
    random_fraction: float = 0.1,
    already: tuple[int, int] = (0, 0),
    alike: Sequence[Hashable] | None = None,
) -> Screening:
    screener = Screener(
        places=places,
        fraction=fraction,
        random_fraction=random_fraction,
        already=already,
        pending=pending,
    )
    order = np.array(list(predicted), dtype=float)
    return screener.choose(order, np.random.default_rng(0), limit=limit, alike=alike)


@given(
    predicted=st.lists(st.floats(-5, 5), max_size=40),
    places=st.integers(0, 50),
    limit=st.none() | st.integers(0, 10),
    fraction=st.floats(0.01, 1),
    random_fraction=st.floats(0.1, 1),
)
@settings(max_examples=200, deadline=None)
def test_screening_fills_the_places_once_each(
    predicted: list[float],
    places: int,
    limit: int | None,
    fraction: float,
    random_fraction: float,
) -> None:
    result = run(predicted, places, limit=limit, fraction=fraction, random_fraction=random_fraction)
    kept = [*result.best, *result.random, *result.predicted]
    assert len(kept) == len(set(kept)) == min(len(predicted), places)
    evaluated = [*result.best, *result.random]
    if limit is not None:
        assert len(evaluated) <= limit
    assert len(result.random) >= random_fraction * len(evaluated) - 1e-9
    if result.best:
        others = set(range(len(predicted))) - set(result.best)
        assert all(predicted[i] <= predicted[j] for i in result.best for j in others)


def test_the_share_is_rounded_to_the_nearest_and_at_least_one() -> None:
    assert len(run(range(16), 16).predicted) == 13
    assert len(run(range(30), 30).predicted) == 24
    assert len(run(range(2), 2, fraction=0.01).predicted) == 1


def test_the_control_is_kept_over_the_whole_search() -> None:
    spent, at_random = 0, 0
    for _ in range(50):
        result = run(range(16), 16, already=(spent, at_random))
        spent += len(result.best) + len(result.random)
        at_random += len(result.random)
        assert at_random >= 0.1 * spent
    assert (spent, at_random) == (150, 15)


def test_the_control_is_drawn_ahead_for_what_may_follow() -> None:
    assert len(run(range(16), 16, already=(26, 3)).random) == 0
    assert len(run(range(16), 16, already=(26, 3), pending=4).random) == 1
    assert len(run(range(16), 16, already=(26, 3), pending=4, limit=4).random) == 0


def test_the_evaluated_are_the_best_and_the_control() -> None:
    result = run(range(16), 16, random_fraction=0.5)
    assert result.evaluated == tuple(sorted(result.best + result.random))
    assert result.random


def test_rounding_errors_do_not_draw_one_more() -> None:
    assert 0.14 * 50 > 7
    assert run(range(16), 16, random_fraction=0.14, already=(47, 7)).random == ()


def test_the_control_comes_from_the_whole_pool() -> None:
    drawn = set()
    screener = Screener(places=5, fraction=0.2, random_fraction=1.0, already=(0, 0))
    for seed in range(200):
        drawn |= set(screener.choose(np.arange(20.0), np.random.default_rng(seed)).random)
    assert drawn == set(range(20))


def test_a_larger_pool_keeps_the_lowest_predictions() -> None:
    result = run([5, 4, 3, 2, 1, 0], 3, fraction=0.34, already=(100, 50))
    assert result.best == (5,)
    assert result.predicted == (3, 4)


@given(
    candidates=st.lists(st.tuples(st.floats(-5, 5), st.sampled_from("abcd")), min_size=1),
    places=st.integers(1, 12),
    random_fraction=st.floats(0.1, 1),
)
def test_of_alike_candidates_the_lowest_alone_is_among_the_best(
    candidates: list[tuple[float, str]], places: int, random_fraction: float
) -> None:
    predicted, alike = zip(*candidates, strict=True)
    result = run(predicted, places, fraction=1.0, random_fraction=random_fraction, alike=alike)
    groups = [alike[index] for index in result.best]
    assert len(groups) == len(set(groups))
    for index in result.best:
        assert predicted[index] == min(loss for loss, group in candidates if group == alike[index])
    kept = [*result.best, *result.random, *result.predicted]
    assert len(kept) == len(set(kept)) == min(len(predicted), places)
    assert len(result.random) >= random_fraction * len(result.evaluated) - 1e-9


def test_the_control_may_be_alike() -> None:
    result = run([0.0, 1.0, 2.0, 3.0], 4, fraction=1.0, random_fraction=0.5, alike="aaaa")
    assert result.best == (0,)
    assert len(result.random) == 2


def test_rank_correlation_is_that_of_scipy_to_the_last_bit() -> None:
    rng = np.random.default_rng(0)
    for count in range(3, 80):
        predicted = rng.normal(size=count).round(1)
        evaluated = (predicted + rng.normal(size=count)).round(int(rng.integers(0, 9)))
        expected = float(spearmanr(predicted, evaluated).statistic)
        assert rank_correlation(predicted.tolist(), evaluated.tolist()) == expected


def test_rank_correlation_sees_order_only() -> None:
    assert rank_correlation([1, 2, 3, 4], [10, 20, 30, 1000]) == pytest.approx(1.0)
    assert rank_correlation([1, 2, 3, 4], [4, 3, 2, 1]) == pytest.approx(-1.0)


def test_agreement_is_null_where_it_says_nothing() -> None:
    assert rank_correlation([1, 2], [1, 2]) is None
    assert rank_correlation([1, 1, 1], [1, 2, 3]) is None
    assert rank_correlation([1, 2, 3], [2, 2, 2]) is None
    assert topk_recall([1, 2], [1, 2]) is None


def test_topk_recall_is_the_share_of_the_best_quarter_found() -> None:
    evaluated = [0, 1, 2, 3, 4, 5, 6, 7]
    assert topk_recall(evaluated, evaluated) == 1.0
    assert topk_recall([0, 9, 1, 3, 4, 5, 6, 7], evaluated) == 0.5
    assert topk_recall(evaluated[::-1], evaluated) == 0.0
