import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import norm

from search.screening import expected_improvement, precedence
from search.settings import Acquisition

ACQUISITIONS: list[Acquisition] = ["mean", "lower_confidence_bound", "expected_improvement"]

losses = st.floats(-1e6, 1e6)
spreads = st.floats(0, 1e6)


def order(
    acquisition: Acquisition,
    mean: list[float],
    std: list[float],
    *,
    incumbent: float = 0.0,
    optimism: float = 1.0,
) -> list[int]:
    numbers = precedence(
        acquisition, np.array(mean), np.array(std), incumbent=incumbent, optimism=optimism
    )
    return np.argsort(numbers, kind="stable").tolist()


@pytest.mark.parametrize(
    ("mean", "std", "incumbent"), [(4.0, 0.5, 4.2), (4.0, 0.5, 3.5), (-1.0, 2.0, -1.0)]
)
def test_the_improvement_is_the_integral_over_what_lies_below(
    mean: float, std: float, incumbent: float
) -> None:
    integral, _ = quad(
        lambda loss: (incumbent - loss) * norm.pdf(loss, mean, std), mean - 12 * std, incumbent
    )
    found = expected_improvement(np.array([mean]), np.array([std]), incumbent)
    assert found[0] == pytest.approx(integral, rel=1e-8)


@given(st.lists(st.tuples(losses, spreads), min_size=1, max_size=20), losses)
def test_an_improvement_is_at_least_that_of_the_mean_and_never_less_than_nothing(
    guesses: list[tuple[float, float]], incumbent: float
) -> None:
    mean, std = np.array(guesses).T
    gain = expected_improvement(mean, std, incumbent)
    certain = np.maximum(incumbent - mean, 0.0)
    assert np.isfinite(gain).all()
    assert (gain >= certain - 1e-9 * np.abs(incumbent - mean)).all()
    assert np.array_equal(gain[std == 0], certain[std == 0])


@given(losses, st.floats(1e-3, 1e3), st.floats(1.01, 100.0), losses)
def test_more_spread_never_promises_less(
    mean: float, std: float, factor: float, incumbent: float
) -> None:
    narrow, wide = expected_improvement(
        np.array([mean, mean]), np.array([std, factor * std]), incumbent
    )
    assert wide >= narrow - 1e-9 * abs(incumbent - mean)


@pytest.mark.parametrize("acquisition", ACQUISITIONS)
@given(guesses=st.lists(st.tuples(losses, spreads), max_size=20), optimism=st.floats(0, 10))
def test_every_candidate_gets_a_finite_place(
    acquisition: Acquisition, guesses: list[tuple[float, float]], optimism: float
) -> None:
    mean, std = np.array(guesses, dtype=float).reshape(-1, 2).T
    places = precedence(acquisition, mean, std, incumbent=0.0, optimism=optimism)
    assert places.shape == mean.shape
    assert np.isfinite(places).all()


@given(st.lists(losses, max_size=20))
def test_a_bound_without_optimism_is_the_mean_bit_for_bit(mean: list[float]) -> None:
    values, std = np.array(mean, dtype=float), np.ones(len(mean))
    numbers = [
        precedence(acquisition, values, std, incumbent=0.0, optimism=0.0)
        for acquisition in ("mean", "lower_confidence_bound")
    ]
    assert np.array_equal(*numbers)


@pytest.mark.parametrize("acquisition", ACQUISITIONS)
def test_of_two_as_sure_the_lower_goes_first(acquisition: Acquisition) -> None:
    assert order(acquisition, [3.0, 1.0, 2.0], [0.5, 0.5, 0.5]) == [1, 2, 0]


def test_the_mean_has_no_use_for_spread_and_the_others_have() -> None:
    mean, std = [1.0, 1.1], [0.1, 2.0]
    assert order("mean", mean, std) == [0, 1]
    assert order("lower_confidence_bound", mean, std) == [1, 0]
    assert order("expected_improvement", mean, std) == [1, 0]


def test_where_nothing_can_improve_the_lower_mean_goes_first() -> None:
    assert order("expected_improvement", [900.0, 300.0, 600.0], [1.0, 1.0, 0.0]) == [1, 2, 0]
