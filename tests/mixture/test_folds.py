"""Columns by folds: every block is scored by functions that have not counted its fold."""

from collections.abc import Iterator

import numpy as np
import pytest

from clso.engine import Engine, open_engine
from clso.mixture.folds import Folds
from clso.mixture.specification import fit_functions

V, T = 9, 6
NAMES = ("kn(1)", "kn(1,2:k3)", "cache(8)")


class Split:
    """Whole blocks of random tokens."""

    block_size = T

    def __init__(self, n_blocks: int, seed: int) -> None:
        self.n_blocks = n_blocks
        self.n_tokens = n_blocks * T
        self.stream = np.random.default_rng(seed).integers(0, V, self.n_tokens + 1)

    def tokens(self, start: int, stop: int) -> np.ndarray:
        return self.stream[start:stop]

    def blocks(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        places = np.asarray(index)[:, None] * T + np.arange(T + 1)
        rows = self.stream[places]
        return rows[:, :-1], rows[:, 1:]


def folds(*splits: Split, n_folds: int = 3, tokens: int | None = None) -> Folds:
    return Folds(
        splits=splits,
        n_folds=n_folds,
        tokens=tokens,
        names=NAMES,
        vocab_size=V,
        seed=1,
        token_texts=[b"%d" % token for token in range(V)],
        longest=3,
        bucket_classes={"k2": (np.arange(V) % 2).astype(np.uint8)},
        kept={},
    )


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with open_engine(workers=1) as engine:
        yield engine


def test_all_blocks_are_scored_in_their_order(engine: Engine) -> None:
    splits = Split(7, 0), Split(4, 1)
    scored = folds(*splits).columns(engine, "all")
    inputs = np.concatenate([split.blocks(np.arange(split.n_blocks))[0] for split in splits])
    assert scored.columns.names == NAMES
    assert scored.columns.values.shape == (len(NAMES), 11 * T)
    np.testing.assert_array_equal(scored.history.classes["k2"], inputs % 2)


def test_what_a_fold_says_does_not_change_the_functions_that_score_it() -> None:
    one, other = Split(9, 0), Split(9, 0)
    other.stream[2 * T + 1 : 3 * T] = (one.stream[2 * T + 1 : 3 * T] + 1) % V  # in the first fold
    before, after = folds(one).fold(0).columns.values, folds(other).fold(0).columns.values
    unchanged = slice(0, 2 * T)
    np.testing.assert_array_equal(before[:, unchanged], after[:, unchanged])
    assert not np.array_equal(before, after)


def test_the_functions_of_a_fold_are_those_of_the_rest_of_the_text() -> None:
    split = Split(6, 2)
    scored = folds(split, n_folds=2).fold(1)
    head = Split(3, 2)
    head.stream = split.stream[: 3 * T + 1]
    names = ("kn(1)", "cache(8)")  # without class maps, which are fitted too
    inputs, targets = split.blocks(np.arange(3, 6))
    for function in fit_functions(names, [head], V, {}):
        row = scored.columns.names.index(function.name)
        expected = function.target_probabilities(inputs, targets).ravel()
        np.testing.assert_allclose(scored.columns.values[row], expected, rtol=1e-6)


def test_few_tokens_are_spread_over_all_folds(engine: Engine) -> None:
    scored = folds(Split(12, 3), tokens=6 * T).columns(engine, "few")
    assert scored.history.match.shape == (6, T)


def test_more_folds_than_blocks_are_one_fold_a_block(engine: Engine) -> None:
    scored = folds(Split(3, 4), n_folds=8).columns(engine, "many")
    assert scored.history.match.shape == (3, T)
