"""Exponents by Newton's method, on choices whose exponents are known."""

import numpy as np

from clso.mixture.loglinear.exponents import Choices, fit_exponents

N, M = 6000, 7


def choices(exponents: np.ndarray, multiplicity: np.ndarray, seed: int) -> Choices:
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((len(exponents), N, M)).astype(np.float32)
    scores = np.tensordot(exponents, features, 1) + np.log(multiplicity)
    noise = -np.log(-np.log(rng.random((N, M))))  # the largest of scores plus this is a draw
    chosen = (scores + noise).argmax(axis=1)
    return Choices(features, np.log(multiplicity).astype(np.float32), chosen)


def test_the_exponents_that_made_the_choices_are_found() -> None:
    true = np.array([0.8, -0.3, 0.0])
    groups = [choices(true, np.ones(M), 1), choices(true, np.arange(1.0, M + 1), 2)]
    found = fit_exponents(groups, np.zeros(3))
    np.testing.assert_allclose(found, true, atol=0.05)


def test_a_feature_that_says_nothing_keeps_its_exponent() -> None:
    group = choices(np.array([0.5]), np.ones(M), 3)
    constant = np.ones((1, N, M), np.float32)
    with_constant = group._replace(features=np.concatenate([group.features, constant]))
    found = fit_exponents([with_constant], np.array([0.0, 0.7]))
    assert abs(found[1] - 0.7) < 1e-4  # probabilities are float32: their sum is not quite 1
    np.testing.assert_allclose(found[0], fit_exponents([group], np.zeros(1))[0], rtol=1e-3)


def test_no_choices_leave_the_exponents() -> None:
    start = np.array([0.3, 0.4])
    np.testing.assert_array_equal(fit_exponents([], start), start)


def test_far_from_the_maximum_a_step_is_shortened() -> None:
    group = choices(np.array([1.0]), np.ones(M), 4)
    sharp = group._replace(features=group.features * 30)
    np.testing.assert_allclose(fit_exponents([sharp], np.array([2.0])), [1 / 30], atol=0.01)
