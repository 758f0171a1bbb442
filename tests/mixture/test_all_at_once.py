import numpy as np
import pytest

from clso.mixture.columns import Columns
from clso.mixture.evaluator import MixtureProblem, SplitColumns
from clso.mixture.history import History

N_BLOCKS, LENGTH, N_FUNCTIONS = 9, 32, 6


def split_of(seed: int, worth: np.ndarray) -> SplitColumns:
    """Return columns in which function i is right with probability `worth[i]`, at random."""
    rng = np.random.default_rng(seed)
    shape = (N_FUNCTIONS, N_BLOCKS * LENGTH)
    values = np.where(rng.random(shape) < worth[:, None], 0.9, 0.01).astype(np.float32)
    names = tuple(f"f{number}" for number in range(N_FUNCTIONS))
    zeros = np.zeros((N_BLOCKS, LENGTH), dtype=np.int64)
    match = np.arange(N_BLOCKS, dtype=np.int64)[:, None] % 2 + zeros
    return SplitColumns(
        Columns(names, ("toy",) * N_FUNCTIONS, values, 50), History((zeros,) * 3, match)
    )


WORTH = np.array([0.05, 0.6, 0.1, 0.5, 0.02, 0.4])


@pytest.fixture(scope="module")
def unlimited() -> MixtureProblem:
    return MixtureProblem(
        split_of(0, WORTH),
        split_of(1, WORTH),
        slots=N_FUNCTIONS,
        bucketings=("none", "match"),
        smoothing=5.0,
        steps=8,
    )


def test_halves_are_all_blocks_each_once_in_their_order() -> None:
    whole = split_of(2, WORTH)
    first, second = whole.halves()
    assert (len(first.history.match), len(second.history.match)) == (4, 5)
    together = np.concatenate([first.columns.values, second.columns.values], axis=1)
    assert np.array_equal(together, whole.columns.values)
    for part in (first, second):
        assert part.columns.names == whole.columns.names
        assert part.columns.values.shape[1] == part.history.match.size
    assert np.array_equal(second.history.match, whole.history.match[4:])
    assert second.history.seen[2].shape == (5, LENGTH)


def test_all_functions_are_picked_under_every_bucketing(unlimited: MixtureProblem) -> None:
    genomes = unlimited.all_functions()
    assert [unlimited.bucketing(genome) for genome in genomes] == ["none", "match"]
    assert all(unlimited.functions(genome) == unlimited.names for genome in genomes)


def test_the_heaviest_are_those_that_are_right_most_often(unlimited: MixtureProblem) -> None:
    assert unlimited.heaviest(3) == (2, 4, 6)
    assert unlimited.heaviest(1) == (2,)
    assert unlimited.heaviest(N_FUNCTIONS + 4) == (1, 2, 3, 4, 5, 6)
