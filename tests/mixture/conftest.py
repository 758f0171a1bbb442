"""What every basis function must do, whatever its family; `hold_to_contract` checks it."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from clso.mixture.full import DistributionSum, Layout
from clso.mixture.function import BasisFunction

Load = Callable[[Mapping[str, Any], Mapping[str, np.ndarray]], BasisFunction]


class TextStream:
    def __init__(self, tokens: Sequence[int] | np.ndarray) -> None:
        self._tokens = np.asarray(tokens, dtype=np.uint16)
        self.n_tokens = max(len(self._tokens) - 1, 0)

    def tokens(self, start: int, stop: int) -> np.ndarray:
        return self._tokens[start:stop]


@pytest.fixture(scope="session")
def text_stream() -> type[TextStream]:
    """A split of tokens in memory."""
    return TextStream


def hold(
    fit: Callable[[], BasisFunction],
    vocab_size: int,
    *,
    load: Load | None = None,
    block_size: int = 12,
    sum_tolerance: float = 1e-12,
    target_tolerance: float = 1e-9,
) -> None:
    """Check one function against the protocol's promises.

    Args:
        fit: makes the function; called twice, it must make the same.
        vocab_size: V.
        load: makes it again from specification and arrays; `None`: its own `from_arrays`.
        block_size: T of the blocks that it is asked about.
        sum_tolerance: how far from 1 a distribution may sum.
        target_tolerance: how far apart, relatively, the two ways to a target's probability may be.
    """
    function = fit()
    for inputs, targets in blocks(vocab_size, block_size):
        scored = function.target_probabilities(inputs, targets)
        assert scored.shape == inputs.shape
        assert scored.dtype == np.float64
        assert_distributions(function, inputs, targets, scored, sum_tolerance, target_tolerance)
        assert_sums(function, inputs, vocab_size)
        assert_future_is_unseen(function, inputs, targets, scored, vocab_size)
        assert_blocks_stand_alone(function, inputs, targets, scored)
    assert_same(function, fit(), vocab_size, block_size)
    spec = json.loads(json.dumps(function.spec()))
    arrays = {name: array.copy() for name, array in function.to_arrays().items()}
    assert function.stored_bytes == sum(array.nbytes for array in arrays.values())
    again = (load or type(function).from_arrays)(spec, arrays)
    assert type(again) is type(function)
    assert_same(function, again, vocab_size, block_size)


def blocks(vocab_size: int, block_size: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return random, repetitive and all-equal blocks, and the shortest ones."""
    rng = np.random.default_rng(7)
    random = rng.integers(0, vocab_size, (3, block_size + 1))
    phrase = np.resize(rng.integers(0, vocab_size, 5), (2, block_size + 1))
    equal = np.full((1, block_size + 1), vocab_size - 1)
    streams = [np.concatenate([random, phrase, equal]), random[:, :3], random[:1, :2]]
    return [(stream[:, :-1], stream[:, 1:]) for stream in streams]


def assert_distributions(
    function: BasisFunction,
    inputs: np.ndarray,
    targets: np.ndarray,
    scored: np.ndarray,
    tolerance: float,
    target_tolerance: float,
) -> None:
    for b, t in np.ndindex(inputs.shape):
        distribution = function.distribution(inputs[b, : t + 1])
        assert distribution.min() >= 0
        assert abs(distribution.sum() - 1) <= tolerance
        assert distribution[targets[b, t]] == pytest.approx(
            scored[b, t], rel=target_tolerance, abs=1e-15
        )


def assert_sums(function: BasisFunction, inputs: np.ndarray, vocab_size: int) -> None:
    layout = Layout(vocab_size)
    for block in inputs:
        for start in {0, len(block) // 2, len(block) - 1}:
            weights = np.linspace(0.2, 1.0, len(block) - start)
            out = DistributionSum(layout, block, start)
            out.add(function, weights)
            summed, rows = out.total(), np.empty((len(weights), vocab_size))
            summed.write(rows)
            for weight, row, stop in zip(
                weights, rows, range(start + 1, len(block) + 1), strict=True
            ):
                expected = weight * function.distribution(block[:stop])
                np.testing.assert_allclose(row, expected, rtol=1e-12, atol=1e-300)
            logs = np.empty(rows.shape, dtype=np.float32)
            with np.errstate(divide="ignore"):
                summed.write_logs(logs)
                np.testing.assert_allclose(logs, np.log(rows), rtol=2e-6, atol=1e-6)


def assert_future_is_unseen(
    function: BasisFunction,
    inputs: np.ndarray,
    targets: np.ndarray,
    scored: np.ndarray,
    vocab_size: int,
) -> None:
    for t in range(inputs.shape[1] - 1):
        other_inputs, other_targets = inputs.copy(), targets.copy()
        other_inputs[:, t + 1 :] = (inputs[:, t + 1 :] + 1) % vocab_size
        other_targets[:, t + 1 :] = (targets[:, t + 1 :] + 1) % vocab_size
        other = function.target_probabilities(other_inputs, other_targets)
        np.testing.assert_allclose(other[:, : t + 1], scored[:, : t + 1], rtol=1e-12, atol=0)


def assert_blocks_stand_alone(
    function: BasisFunction, inputs: np.ndarray, targets: np.ndarray, scored: np.ndarray
) -> None:
    for b in range(len(inputs)):
        alone = function.target_probabilities(inputs[b : b + 1], targets[b : b + 1])
        np.testing.assert_allclose(alone[0], scored[b], rtol=1e-12, atol=0)
    assert function.target_probabilities(inputs[:0], targets[:0]).shape == (0, inputs.shape[1])


def assert_same(one: BasisFunction, other: BasisFunction, vocab_size: int, block_size: int) -> None:
    assert (one.name, one.family, one.spec()) == (other.name, other.family, other.spec())
    first, second = one.to_arrays(), other.to_arrays()
    assert first.keys() == second.keys()
    for name, array in first.items():
        assert array.dtype == second[name].dtype
        np.testing.assert_array_equal(array, second[name])
    for inputs, targets in blocks(vocab_size, block_size):
        np.testing.assert_array_equal(
            one.target_probabilities(inputs, targets), other.target_probabilities(inputs, targets)
        )
        history = inputs[0]
        np.testing.assert_array_equal(one.distribution(history), other.distribution(history))


@pytest.fixture(scope="session")
def hold_to_contract() -> Callable[..., None]:
    """The checks, as a function of how to make a basis function; see `hold`."""
    return hold
