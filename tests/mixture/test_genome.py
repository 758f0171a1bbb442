import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clso.errors import GenomeError
from clso.genome import GenomeSpace
from clso.mixture.columns import Columns
from clso.mixture.evaluator import MixtureProblem, SplitColumns
from clso.mixture.features import function_features
from clso.mixture.history import History

PROBABILITIES = np.random.default_rng(0).random((6, 8), dtype=np.float32)
SPLIT = SplitColumns(
    Columns(tuple("abcdef"), ("toy",) * 6, PROBABILITIES, 9),
    History((np.zeros((2, 4), dtype=np.int64),) * 3, np.zeros((2, 4), dtype=np.int64)),
)
PROBLEM = MixtureProblem(
    SPLIT, SPLIT, slots=4, bucketings=("none", "match", "position"), smoothing=5.0, steps=2
)
SPACE = PROBLEM.space
GENOMES = st.tuples(*[st.integers(0, 6)] * 4, st.integers(0, 2))


@given(GENOMES)
def test_the_canonical_form_is_idempotent_and_means_the_same(genome: tuple[int, ...]) -> None:
    canonical = SPACE.canonical(genome)
    assert SPACE.canonical(canonical) == canonical
    assert PROBLEM.picks(canonical) == PROBLEM.picks(genome) == tuple(sorted({*genome[:-1]} - {0}))


@given(GENOMES, st.permutations(range(4)))
def test_neither_order_nor_repetition_matters(genome: tuple[int, ...], order: list[int]) -> None:
    shuffled = (*(genome[place] for place in order), genome[-1])
    assert SPACE.canonical(shuffled) == SPACE.canonical(genome)


def test_without_functions_the_bucketing_does_not_matter() -> None:
    assert SPACE.canonical((0, 0, 0, 0, 2)) == (0, 0, 0, 0, 0)
    assert SPACE.canonical((3, 0, 3, 1, 2)) == (1, 3, 0, 0, 2)


def test_the_slots_but_the_bucketing_are_exchangeable() -> None:
    assert SPACE.exchangeable == (0, 1, 2, 3)
    assert SPACE.cardinalities == (7, 7, 7, 7, 3)


def test_the_features_of_functions_follow_those_of_none() -> None:
    known = function_features(PROBABILITIES)
    features = SPACE.features()
    assert features is not None
    assert np.array_equal(features, np.concatenate([np.zeros((1, known.shape[1])), known]))
    assert GenomeSpace(SPACE.slots, exchangeable=SPACE.exchangeable).features() is None


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (np.zeros((6, 2)), r"features have shape \(6, 2\), expected a row for each of 7 options"),
        (np.zeros(7), r"features have shape \(7,\)"),
        (np.ones((7, 2)), "those of option 0, none, zero"),
        (np.full((7, 2), np.nan), "features must be finite"),
    ],
)
def test_features_of_other_options_are_refused(features: np.ndarray, message: str) -> None:
    space = GenomeSpace(SPACE.slots, exchangeable=SPACE.exchangeable, describe=lambda: features)
    with pytest.raises(GenomeError, match=message):
        space.features()


def test_only_of_a_set_s_options_something_can_be_known() -> None:
    with pytest.raises(GenomeError, match="describe is about exchangeable slots"):
        GenomeSpace(SPACE.slots, describe=lambda: np.zeros((7, 2)))
