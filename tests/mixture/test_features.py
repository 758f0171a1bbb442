import numpy as np
import pytest

from clso.mixture.features import function_features


def probabilities(n_functions: int, seed: int = 0) -> np.ndarray:
    drawn = np.random.default_rng(seed).dirichlet(np.ones(4), (n_functions, 50))
    return drawn[:, :, 0].astype(np.float32)


def distances(rows: np.ndarray) -> np.ndarray:
    return np.square(rows[:, None] - rows[None]).sum(axis=2)


def test_all_coordinates_keep_the_distances_of_log_probabilities() -> None:
    columns = probabilities(8)
    actual = distances(function_features(columns, coordinates=8))
    expected = distances(np.log(np.maximum(columns, 1e-5)))
    assert np.allclose(actual * expected.sum(), expected * actual.sum(), rtol=1e-5, atol=1e-6)


def test_features_are_centred_and_of_mean_square_norm_one() -> None:
    features = function_features(probabilities(40))
    assert features.shape == (40, 30)
    assert np.allclose(features.sum(axis=0), 0.0, atol=1e-8)
    assert np.square(features).sum(axis=1).mean() == pytest.approx(1.0)


def test_functions_that_agree_everywhere_have_the_same_features() -> None:
    columns = probabilities(6)
    columns[4] = columns[1]
    features = function_features(columns)
    assert np.allclose(features[4], features[1], atol=1e-6)
    assert np.abs(features[4] - features[2]).max() > 0.1


def test_the_order_of_functions_and_of_targets_does_not_matter() -> None:
    columns = probabilities(9)
    shuffled = np.random.default_rng(1).permutation(9)
    assert np.allclose(
        function_features(columns[shuffled][:, ::-1]), function_features(columns)[shuffled]
    )


@pytest.mark.parametrize("n_functions", [1, 5])
def test_functions_that_are_all_the_same_say_nothing(n_functions: int) -> None:
    columns = np.repeat(probabilities(1), n_functions, axis=0)
    assert np.abs(function_features(columns)).max() < 1e-3


def test_a_probability_of_zero_counts_as_the_lowest() -> None:
    columns = probabilities(3)
    columns[0, :5] = 0.0
    features = function_features(columns)
    assert np.isfinite(features).all()
    columns[0, :5] = 1e-5
    assert np.array_equal(function_features(columns), features)
