"""The columns of the whole library: what functions share does not change them."""

import hashlib

import numpy as np
import pytest

from clso.mixture.classes import fit_class_maps
from clso.mixture.columns import Columns
from clso.mixture.function import CountedFunction
from clso.mixture.settings import FunctionGridSettings
from clso.mixture.specification import Arrays, fit_functions
from clso.scoring import Int64Array

VOCAB = 300
GRID = FunctionGridSettings()


def tokens(seed: int, count: int) -> Int64Array:
    """Return a text in which half of the tokens follow from the two before."""
    rng = np.random.default_rng(seed)
    drawn = np.minimum(rng.zipf(1.3, count) - 1, VOCAB - 1)
    text = drawn.copy()
    for place in np.flatnonzero(rng.random(count) < 0.5):
        if place > 1:
            text[place] = (7 * text[place - 1] + 3 * text[place - 2]) % VOCAB
    return text


@pytest.fixture(scope="module")
def maps(text_stream: type) -> Arrays:
    train = text_stream(tokens(0, 6000))
    texts = [b" %d" % token if token % 3 else b"%c" % (33 + token % 90) for token in range(VOCAB)]
    return fit_class_maps([train], VOCAB, GRID.needed_class_maps(), seed=0, token_texts=texts)


@pytest.fixture(scope="module")
def functions(text_stream: type, maps: Arrays) -> list[CountedFunction]:
    return fit_functions(GRID.function_names(), [text_stream(tokens(0, 6000))], VOCAB, maps)


@pytest.fixture(scope="module")
def blocks() -> tuple[Int64Array, Int64Array]:
    stream = tokens(1, 33 * 64).reshape(33, 64)
    return stream[:, :-1], stream[:, 1:]


@pytest.fixture(scope="module")
def columns(functions: list[CountedFunction], blocks: tuple[Int64Array, Int64Array]) -> Columns:
    return Columns.of(functions, *blocks, VOCAB, split="tune")


def test_every_column_is_that_of_its_function_alone_to_the_last_bit(
    functions: list[CountedFunction], blocks: tuple[Int64Array, Int64Array], columns: Columns
) -> None:
    assert len(functions) > 200
    for function, values in zip(functions, columns.values, strict=True):
        alone = function.target_probabilities(*blocks).astype(np.float32)
        assert np.array_equal(values, alone.ravel()), function.name


def test_functions_of_two_texts_do_not_share(
    text_stream: type, maps: Arrays, blocks: tuple[Int64Array, Int64Array]
) -> None:
    names = [name for name in GRID.function_names() if name.startswith("kn")]
    texts = [text_stream(tokens(seed, 2000)) for seed in (2, 3)]
    of_text = [fit_functions(names, [text], VOCAB, maps) for text in texts]
    mixed = [function for pair in zip(*of_text, strict=True) for function in pair]
    together = Columns.of(mixed, *blocks, VOCAB, split="tune").values
    for number, functions in enumerate(of_text):
        alone = Columns.of(functions, *blocks, VOCAB, split="tune").values
        assert np.array_equal(together[number::2], alone)
    assert not np.array_equal(together[::2], together[1::2])


def test_the_columns_of_the_whole_library_are_as_they_were(columns: Columns) -> None:
    # to 6 digits: processors differ in the last ones
    nats = -np.log(np.maximum(columns.values, 1e-30, dtype=np.float64)).mean(axis=1).round(6)
    named = "\n".join(
        f"{name} {value}" for name, value in zip(columns.names, nats.tolist(), strict=True)
    )
    assert hashlib.sha256(named.encode()).hexdigest()[:32] == "3d311f1f23acc4c044d5c02128e208d9"
