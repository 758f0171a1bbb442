import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.toolbox import Point, crowded_order, front, hypervolume

coarse = st.integers(0, 5).map(float)  # coarse, so that values repeat
clouds = st.integers(1, 3).flatmap(
    lambda m: st.lists(st.tuples(*[coarse] * m), min_size=1, max_size=25)
)


def dominates(one: Point, other: Point) -> bool:
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))


@given(clouds)
@settings(max_examples=80, deadline=None)
def test_the_front_are_the_points_that_none_dominates(points: list[Point]) -> None:
    expected = [
        index
        for index, point in enumerate(points)
        if not any(dominates(other, point) for other in points)
    ]
    assert front(points) == expected


@given(st.lists(st.tuples(coarse, coarse, coarse), min_size=1, max_size=25))
@settings(max_examples=80, deadline=None)
def test_another_objective_never_takes_the_best_of_one_off_the_front(points: list[Point]) -> None:
    best = min(point[0] for point in points)
    for m in (1, 2, 3):
        members = front([point[:m] for point in points])
        assert any(points[index][0] == best for index in members)


@given(clouds, st.integers(1, 30))
@settings(max_examples=80, deadline=None)
def test_selection_takes_lower_ranks_first_and_the_ends_of_a_rank_before_its_middle(
    points: list[Point], count: int
) -> None:
    chosen = crowded_order(points, count)
    assert len(chosen) == len(set(chosen)) == min(count, len(points))
    left = [index for index in range(len(points)) if index not in chosen]
    for index in left:
        assert not any(dominates(points[index], points[one]) for one in chosen)
    members = front(points)
    if len(members) > count:
        assert set(chosen) <= set(members)
    if count >= 2 * len(points[0]):
        lowest = [min(points[index][axis] for index in members) for axis in range(len(points[0]))]
        for axis, value in enumerate(lowest):
            assert any(points[index][axis] == value for index in chosen)


def test_the_order_is_the_crowded_comparison() -> None:
    line = [(float(x), 10.0 - x) for x in (0, 1, 2, 3, 9, 10)]
    beaten = [(5.0, 9.0)]
    order = crowded_order([*beaten, *line], 7)
    assert order[-1] == 0
    assert {order[0], order[1]} == {1, 6}
    # 3 and 9 have the far neighbours, 1 has near ones on both sides
    assert order.index(4) < order.index(2)
    assert order.index(5) < order.index(2)


@given(st.lists(st.tuples(st.floats(0, 2), st.floats(0, 2), st.floats(0, 2)), max_size=8))
@settings(max_examples=30, deadline=None)
def test_the_hypervolume_is_the_share_of_random_corners_dominated(points: list[Point]) -> None:
    best, worst = (0.0, 0.0, 0.0), (1.0, 2.0, 1.0)
    corners = np.random.default_rng(0).random((4000, 3)) * worst
    hit = np.zeros(len(corners), dtype=bool)
    for point in points:
        hit |= (corners >= point).all(axis=1)
    assert hypervolume(points, best, worst) == pytest.approx(hit.mean(), abs=0.04)


def test_the_hypervolume_counts_in_boxes_and_goes_beyond_the_best() -> None:
    assert hypervolume([], (0.0, 0.0), (1.0, 1.0)) == 0.0
    assert hypervolume([(10.0, 200.0)], (10.0, 200.0), (20.0, 400.0)) == 1.0
    assert hypervolume([(5.0, 200.0)], (10.0, 200.0), (20.0, 400.0)) == 1.5
    assert hypervolume([(20.0, 200.0)], (10.0, 200.0), (20.0, 400.0)) == 0.0
    # an objective that never varied yet counts by its own unit once it does
    assert hypervolume([(0.0, 6.0)], (0.0, 7.0), (2.0, 7.0)) == 1.0


def test_nothing_is_drawn_from_the_global_generator() -> None:
    state = random.getstate()
    crowded_order([(1.0, 2.0), (2.0, 1.0)], 1)
    assert random.getstate() == state


def test_points_that_no_order_exists_for_are_refused() -> None:
    assert front([]) == []
    assert crowded_order([], 3) == []
    with pytest.raises(ValueError, match="not finite"):
        front([(1.0, float("nan"))])
    with pytest.raises(ValueError, match="number of their objectives"):
        front([(1.0, 2.0), (1.0,)])
