"""The compiled walk against the models' own, and against arrays as they are stored."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clso.mixture.compiled import Handles
from clso.mixture.counts import CountedTogether, KneserNey
from clso.mixture.counts.walk import ContextWalk
from clso.mixture.text import FittingText

VOCAB = 300  # symbols of more than a byte
NAMES = ("kn(1,2,3)", "kn(1,3)", "kn(2,1:k3)", "kn(1:k3,2:k3->k3)", "kn(4)", "kn()")


@pytest.fixture(scope="module")
def models(text_stream: type) -> list[KneserNey]:
    rng = np.random.default_rng(0)
    streams = [text_stream(rng.integers(0, 7, n) * 40) for n in (400, 30, 1)]
    maps = {"k3": (np.arange(VOCAB) // 40 % 3).astype(np.uint8)}
    return KneserNey.fit(FittingText(streams, VOCAB, maps), list(NAMES))


@settings(max_examples=30, deadline=None)
@given(
    tokens=st.lists(st.integers(0, VOCAB - 1), min_size=12, max_size=12),
    shape=st.sampled_from([(1, 12), (2, 6), (6, 2), (12, 1)]),
    start=st.integers(0, 11),
    of_text=st.booleans(),
)
def test_contexts_are_those_that_each_model_finds(
    models: list[KneserNey],
    tokens: list[int],
    shape: tuple[int, int],
    start: int,
    of_text: bool,
) -> None:
    inputs = np.reshape(tokens, shape)
    inputs = inputs % 7 * 40 if of_text else inputs
    start %= shape[1]
    walk = ContextWalk(models)
    found = walk.find(inputs, start)
    positions = np.arange(inputs.size).reshape(shape)[:, start:].reshape(-1)
    assert found.shape[1] == len(positions)
    for model in models:
        for level, number in enumerate(walk.numbers(model)):
            table = model.levels[level + 1]
            expected = np.full(len(positions), -1)
            for of_level, active, rows in model.walk(inputs, positions):
                if of_level == level + 1:
                    expected[active] = rows
            # a context that ends a text has no counts after it, and the models leave it out
            rows = np.where(table.has_counts(found[number]), found[number], -1)
            assert rows.tolist() == expected.tolist()


def test_a_table_of_several_models_is_read_once(models: list[KneserNey]) -> None:
    walk = ContextWalk(models)
    first, second = walk.numbers(models[0]), walk.numbers(models[1])
    assert first[0] == second[0]
    assert first[1] != second[1]
    assert walk.numbers(models[5]) == []


def test_handles_keep_their_arrays() -> None:
    array = np.arange(4, dtype=np.uint16)
    handles = Handles([array, array.astype(np.uint32)])
    assert handles.places.tolist()[0] == [array.ctypes.data, 2]
    assert handles.places[1, 1] == 4


def test_pickled_models_price_as_before(models: list[KneserNey]) -> None:
    blocks = np.random.default_rng(1).integers(0, 7, (3, 12)) * 40
    x, y = blocks[:, :-1], blocks[:, 1:]
    together = CountedTogether(models)
    before = pickle.loads(pickle.dumps(together))  # it has not priced yet
    expected = together.target_probabilities(x, y)
    for copy in (before, pickle.loads(pickle.dumps(together))):
        assert np.array_equal(copy.target_probabilities(x, y), expected)
    for model, row in zip(models, expected, strict=True):
        assert np.array_equal(model.target_probabilities(x, y), row)
        copied = pickle.loads(pickle.dumps(model))
        assert np.array_equal(copied.target_probabilities(x, y), row)
