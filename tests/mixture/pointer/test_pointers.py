"""Pointers against the contract, and against their definition written out plainly."""

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clso.errors import ArtifactError, ConfigError, DataError
from clso.mixture.pointer import (
    BlockFunction,
    BlockView,
    Cache,
    CacheName,
    Gated,
    GatedName,
    Induction,
    InductionName,
    Pointer,
    Product,
)
from clso.mixture.pointer.product import EXPONENTS
from clso.mixture.specification import FunctionSpec, fit_functions
from clso.mixture.text import FittingText

VOCAB = 7
POINTERS = [
    "cache(4)",
    "cache(inf)",
    "cache(8,idf=0.5)",
    "gated(k3)",
    "gated(k3,half=5,idf=0.3,power=0.7)",
    "gated(one,power=2)",
    "induction(1)",
    "induction(2,decay=0.5)",
    "induction(3,decay=1)",
]
PRODUCTS = ["product(k3)", "product(k3,via=two,adapt=0)", "product(two,via=k3,adapt=1)"]
NAMES = POINTERS + PRODUCTS
TEXT = [0, 1, 2, 3, 0, 1, 4, 4, 2, 0, 1, 2, 5, 0, 1]
Fit = Callable[..., list[BlockFunction]]


def class_maps(vocab_size: int) -> dict[str, np.ndarray]:
    tokens = np.arange(vocab_size)
    return {
        "k3": (tokens % 3).astype(np.uint8),
        "two": (tokens > vocab_size // 2).astype(np.uint8),
        "one": np.zeros(vocab_size, np.uint8),
    }


@pytest.fixture(scope="module")
def fit(text_stream: type) -> Fit:
    def fit(
        names: list[str], vocab_size: int = VOCAB, text: list[int] = TEXT
    ) -> list[BlockFunction]:
        streams = [text_stream([token % vocab_size for token in text]), text_stream([1, 0])]
        return fit_functions(names, streams, vocab_size, class_maps(vocab_size))

    return fit


def weights_of(pointer: Pointer, history: np.ndarray) -> list[float]:
    """The definition, one source at a time."""
    name = FunctionSpec.parse(pointer.name).settings
    t = len(history) - 1
    weights = []
    for s, token in enumerate(history):
        if isinstance(name, InductionName):
            n = name.length
            match = s >= n and s - n < t - n + 1 and list(history[s - n : s]) == list(history[-n:])
            weights.append(name.decay ** (t - s) if match else 0.0)
            continue
        weight = 0.5 ** ((t - s) / name.half_life) * pointer.unigram[token] ** -name.idf
        if isinstance(name, GatedName):
            assert isinstance(pointer, Gated)
            lift = pointer.lift[pointer.classes[history[t]], pointer.classes[token]]
            weight *= float(lift) ** name.power
        weights.append(weight)
    return weights


@pytest.mark.parametrize("vocab_size", [2, VOCAB])
@pytest.mark.parametrize("name", NAMES)
def test_every_pointer_is_under_contract(
    name: str, vocab_size: int, fit: Fit, hold_to_contract: Callable[..., None]
) -> None:
    hold_to_contract(lambda: fit([name], vocab_size)[0], vocab_size, load=FunctionSpec.load)


@pytest.mark.parametrize("text", [[], [3], [3] * 20])
def test_pointers_fitted_on_poor_text_are_under_contract(
    text: list[int], fit: Fit, hold_to_contract: Callable[..., None]
) -> None:
    for name in ("cache(8,idf=0.5)", "gated(k3)", "induction(1)", "product(k3)"):
        hold_to_contract(lambda name=name: fit([name], text=text)[0], VOCAB)


@pytest.mark.parametrize("name", POINTERS)
@settings(max_examples=25, deadline=None)
@given(history=st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=12))
def test_a_distribution_follows_the_definition(name: str, history: list[int], fit: Fit) -> None:
    (pointer,) = fit([name])
    tokens = np.array(history)
    weights = weights_of(pointer, tokens)
    expected = np.zeros(VOCAB)
    for token, weight in zip(history, weights, strict=True):
        expected[token] += weight
    expected = expected / expected.sum() if sum(weights) else pointer.unigram
    np.testing.assert_allclose(pointer.distribution(tokens), expected, rtol=1e-6, atol=1e-15)


@pytest.mark.parametrize("name", NAMES)
def test_long_blocks_are_scored_in_strips_like_short_ones(name: str, fit: Fit) -> None:
    (pointer,) = fit([name])
    stream = np.random.default_rng(1).integers(0, VOCAB, (2, 81))
    scored = pointer.target_probabilities(stream[:, :-1], stream[:, 1:])
    for t in (0, 31, 32, 33, 64, 79):
        expected = pointer.distribution(stream[1, : t + 1])[stream[1, t + 1]]
        assert scored[1, t] == pytest.approx(expected, rel=1e-9)


def test_blocks_beyond_one_view_are_scored_alike(fit: Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    pointers = fit(NAMES)
    stream = np.random.default_rng(2).integers(0, VOCAB, (9, 17))
    inputs, targets = stream[:, :-1], stream[:, 1:]
    whole = BlockFunction.score_together(pointers, inputs, targets)
    monkeypatch.setattr("clso.mixture.pointer.pairs._VIEW_ELEMENTS", 2 * 16 * 16)
    monkeypatch.setattr("clso.mixture.pointer.pairs._CHUNK_ELEMENTS", 16 * 16)
    np.testing.assert_allclose(
        BlockFunction.score_together(pointers, inputs, targets), whole, rtol=1e-12
    )


def test_pointers_together_are_the_pointers_alone(fit: Fit) -> None:
    pointers = fit(NAMES)
    stream = np.random.default_rng(3).integers(0, VOCAB, (4, 17))
    together = BlockFunction.score_together(pointers, stream[:, :-1], stream[:, 1:])
    for row, pointer in zip(together, pointers, strict=True):
        alone = pointer.target_probabilities(stream[:, :-1], stream[:, 1:])
        np.testing.assert_array_equal(row, alone)


def test_a_tiny_half_life_repeats_the_last_token(fit: Fit) -> None:
    (pointer,) = fit(["cache(0.01)"])
    assert pointer.distribution(np.array([1, 2, 3]))[3] == pytest.approx(1.0)


def test_without_a_match_induction_is_the_unigram(fit: Fit) -> None:
    (pointer,) = fit(["induction(2)"])
    np.testing.assert_array_equal(pointer.distribution(np.array([1, 2, 1])), pointer.unigram)


def test_induction_prefers_what_followed_last(fit: Fit) -> None:
    (pointer,) = fit(["induction(1)"])
    after = pointer.distribution(np.array([1, 2, 1, 3, 1]))
    assert after[3] > after[2] > 0
    assert after[2] + after[3] == pytest.approx(1)


def test_a_gate_of_one_class_is_a_plain_cache(fit: Fit) -> None:
    gated, cache = fit(["gated(one,half=6,idf=0.4)", "cache(6,idf=0.4)"])
    history = np.array([1, 2, 1, 3, 5])
    np.testing.assert_allclose(gated.distribution(history), cache.distribution(history))


def test_a_gate_prefers_classes_that_follow(text_stream: type) -> None:
    streams = [text_stream([0, 1, 0, 1, 0, 1, 2, 2])]
    (gated,) = fit_functions(["gated(id)"], streams, 3, {"id": np.arange(3, dtype=np.uint8)})
    after = gated.distribution(np.array([1, 2, 0]))
    assert after[1] > after[0]
    assert after[1] > after[2]


@settings(max_examples=25, deadline=None)
@given(history=st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=12))
@pytest.mark.parametrize("name", PRODUCTS)
def test_a_product_multiplies_what_each_place_says(name: str, history: list[int], fit: Fit) -> None:
    (product,) = fit([name])
    assert isinstance(product, Product)
    a, b, adapt = product.classes, product.via, product.settings.adapt
    share = np.bincount(a, product.unigram)
    n = np.zeros((VOCAB, len(share)))
    for x, y in [*itertools.pairwise(TEXT), (1, 0)]:
        n[x, a[y]] += 1
    by_class = np.stack([n[a == c].sum(axis=0) for c in range(len(share))])
    by_class = (by_class + 10 * share) / (by_class.sum(axis=1, keepdims=True) + 10)
    x = history[-1]
    q = (n[x] + 20 * by_class[a[x]]) / (n[x].sum() + 20)
    for (offset, exponent), lift in zip(EXPONENTS.items(), product.lifts, strict=True):
        if offset <= len(history):
            q *= lift[b[history[-offset]]].astype(float) ** exponent
    here = np.bincount(a[history], minlength=len(share))
    q *= ((here + 40 * share) / share) ** adapt
    expected = (q / q.sum() / share)[a] * product.unigram
    np.testing.assert_allclose(product.distribution(np.array(history)), expected, rtol=1e-5)


def test_a_block_of_one_class_makes_a_product_expect_it(fit: Fit) -> None:
    (product,) = fit(["product(k3,via=one)"])
    mixed, pure = np.array([1, 2, 3, 4, 1, 2, 0]), np.array([0, 3, 6, 0, 3, 6, 0])
    same_class = np.arange(VOCAB) % 3 == 0
    once, often = (product.distribution(history)[same_class].sum() for history in (mixed, pure))
    assert often > once


def test_pointers_share_arrays(fit: Fit) -> None:
    first, second, cache = fit(["gated(k3)", "gated(k3,power=2)", "cache(8)"])
    assert isinstance(first, Gated)
    assert isinstance(second, Gated)
    assert first.lift is second.lift
    assert first.classes is second.classes
    assert first.unigram is cache.unigram
    assert cache.stored_bytes == VOCAB * 8
    product, other = fit(["product(k3)", "product(k3,via=two)"])
    assert isinstance(product, Product)
    assert isinstance(other, Product)
    assert product.successors[0] is other.successors[0]
    assert first.stored_bytes == VOCAB * 8 + VOCAB + 9 * 4


def test_weights_of_a_view_agree_with_the_weights_of_a_history(fit: Fit) -> None:
    stream = np.random.default_rng(4).integers(0, VOCAB, (2, 11))
    for pointer in fit(POINTERS):
        _, total = pointer.masses(BlockView(stream[:, :-1], stream[:, 1:]))
        for t in range(10):
            assert pointer.weights(stream[0, : t + 1], t).sum() == pytest.approx(total[0, t])


@pytest.mark.parametrize(
    ("name", "maps"),
    [
        ("cache(8)", set()),
        ("induction(1)", set()),
        ("gated(k3)", {"k3"}),
        ("product(k3,via=two)", {"k3", "two"}),
    ],
)
def test_a_name_tells_the_class_maps_it_needs(name: str, maps: set[str]) -> None:
    assert FunctionSpec.parse(name).class_names == maps


@pytest.mark.parametrize("name", NAMES)
def test_names_are_canonical(name: str) -> None:
    assert FunctionSpec.parse(name).name == name


def test_settings_at_their_defaults_and_blanks_are_left_out() -> None:
    assert FunctionSpec.parse("product(k3,via=k3,adapt=0.5)").name == "product(k3)"
    written = "gated( k3, power=1.0, idf=0, half=inf )"
    assert FunctionSpec.parse(written).settings == GatedName("k3")
    assert FunctionSpec.parse(written).name == "gated(k3)"
    assert FunctionSpec.parse("induction(2,decay=0.9)").name == "induction(2)"
    assert FunctionSpec.parse("cache(inf,idf=0.5)").settings == CacheName(math.inf, 0.5)


@given(
    half_life=st.floats(0.5, 1e6) | st.just(math.inf), idf=st.floats(0, 2), power=st.floats(0.1, 4)
)
def test_names_read_back_what_they_say(half_life: float, idf: float, power: float) -> None:
    for name in (CacheName(half_life, idf), GatedName("k3", half_life, idf, power)):
        assert FunctionSpec.parse(name.name).settings == name


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cache", "is no pointer"),
        ("cash(3)", "'cash' is not known"),
        ("cache(x)", "'x' is no number"),
        ("cache(nan)", "'nan' is no number"),
        ("cache(0)", "half-life 0"),
        ("cache(-2)", "half-life -2"),
        ("cache(2,idf=inf)", "idf inf"),
        ("cache(2,half=3)", "'half=3' is not one of idf"),
        ("gated(k3,idf=1,idf=2)", "each once"),
        ("gated(3k)", "class map '3k'"),
        ("gated(k3,power=0)", "power 0"),
        ("gated(k3,half)", "'half' is not one of half, idf, power"),
        ("induction(0)", "length 0"),
        ("induction(2.5)", "length '2.5'"),
        ("induction(2,decay=0)", "decay 0"),
        ("induction(2,decay=1.5)", "decay 1.5"),
        ("product(k3,via=k3,via=k4)", "'via=k4' is not one of via, adapt, each once"),
        ("product(k3,via=3)", "class map '3'"),
        ("product(k3,via=)", "class map '', expected a word"),
        ("product(k3,adapt=2)", "adapt 2"),
    ],
)
def test_a_wrong_name_is_refused(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")):
        FunctionSpec.parse(name)


def test_class_pairs_are_counted_within_streams_at_their_offset(text_stream: type) -> None:
    classes = class_maps(VOCAB)
    streams = [text_stream([0, 1, 5, 2]), text_stream([4]), text_stream([])]
    lift = FittingText(streams, VOCAB, classes).lift("k3", "two", 2)
    expected = np.zeros((3, 2), dtype=int)
    expected[0, 1] += 1  # 0 before 5
    expected[1, 0] += 1  # 1 before 2
    np.testing.assert_array_equal(lift > 1, expected > 0)


def test_lifts_without_counts_say_nothing() -> None:
    lift = FittingText([], VOCAB, class_maps(VOCAB)).lift("two", "k3", 1)
    np.testing.assert_array_equal(lift, np.ones((2, 3)))


def test_a_missing_or_misshapen_class_map_is_refused(fit: Fit, text_stream: type) -> None:
    with pytest.raises(
        ConfigError, match=r"no class map 'k9', expected one of \['k3', 'one', 'two'\]"
    ):
        fit(["gated(k9)"])
    with pytest.raises(
        ConfigError, match=r"class map 'k3' is uint8 \(2,\), expected integers \(3,\)"
    ):
        fit_functions(["gated(k3)"], [text_stream([0, 1])], 3, {"k3": np.zeros(2, np.uint8)})


@pytest.mark.parametrize("name", ["cache(4)", "gated(k3)", "induction(1)"])
def test_tokens_outside_the_vocabulary_are_refused(name: str, fit: Fit) -> None:
    (pointer,) = fit([name])
    inside, outside = np.array([[1, 2]]), np.array([[1, VOCAB]])
    for blocks in ((inside, outside), (outside, inside), (inside, -inside)):
        with pytest.raises(DataError, match=r"expected 0\s+to 6"):
            pointer.target_probabilities(*blocks)
    with pytest.raises(DataError, match="tokens 1 to 7"):
        pointer.distribution(outside[0])


def test_damaged_arrays_are_refused_by_name(fit: Fit) -> None:
    (gated,) = fit(["gated(k3)"])
    arrays = gated.to_arrays()
    with pytest.raises(ArtifactError, match=r"classes\(k3\) is missing, expected \(7,\)"):
        FunctionSpec.load(gated.spec(), {"lift(k3,1,k3)": gated.lift})
    with pytest.raises(ArtifactError, match=r"classes\(k3\) is uint8 \(6,\), expected \(7,\)"):
        FunctionSpec.load(gated.spec(), {**arrays, "classes(k3)": arrays["classes(k3)"][:6]})
    with pytest.raises(
        ArtifactError, match=r"lift\(k3,1,k3\) is float32 \(2, 3\), expected \(3, 3\)"
    ):
        FunctionSpec.load(gated.spec(), {**arrays, "lift(k3,1,k3)": gated.lift[:2]})
    (product,) = fit(["product(k3)"])
    arrays = product.to_arrays()
    keys = "successors(k3).keys"
    with pytest.raises(ArtifactError, match="goes beyond the 3 classes of 7 tokens"):
        FunctionSpec.load(product.spec(), {**arrays, keys: arrays[keys] + 21})
    with pytest.raises(ArtifactError, match="counts is"):
        FunctionSpec.load(product.spec(), {**arrays, keys: arrays[keys][:2]})
    for kind, name in (
        (Cache, "gated(k3)"),
        (Gated, "cache(4)"),
        (Induction, "cache(4)"),
        (Product, "cache(4)"),
    ):
        with pytest.raises(ConfigError, match="is no pointer of the kind"):
            kind.from_arrays({**gated.spec(), "name": name}, arrays)
