"""The log-linear function against the contract, and against its definition written out plainly."""

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import clso.mixture.loglinear.scores as scores_module
from clso.errors import ArtifactError, ConfigError, DataError
from clso.mixture.loglinear import LogLinear, LogLinearName
from clso.mixture.loglinear.positions import Experts, Positions
from clso.mixture.pointer import BlockView
from clso.mixture.specification import FunctionSpec, fit_functions
from clso.mixture.text import FittingText

VOCAB = 11
NAME = "loglinear(k3)"
TEXT = [0, 1, 2, 3, 0, 1, 4, 4, 2, 0, 1, 2, 5, 0, 1, 7, 2, 0, 1, 4, 5, 7, 2, 0, 1]
Fit = Callable[..., LogLinear]
_FLOAT32 = 1e-5  # scored targets read logarithms in float32


def class_maps(vocab_size: int) -> dict[str, np.ndarray]:
    tokens = np.arange(vocab_size)
    sizes = {"k3": 3, "k32": 2, "k64": 4, "s128": 5}
    return {name: (tokens * 7 % size % vocab_size).astype(np.uint8) for name, size in sizes.items()}


class HeldOut:
    def __init__(self, inputs: np.ndarray, targets: np.ndarray) -> None:
        self._blocks = inputs, targets

    def spread_blocks(self, tokens: int | None) -> tuple[np.ndarray, np.ndarray]:
        return self._blocks


@pytest.fixture(scope="module")
def fit(text_stream: type) -> Fit:
    def fit(vocab_size: int = VOCAB, text: list[int] = TEXT, **options: object) -> LogLinear:
        streams = [text_stream([token % vocab_size for token in text]), text_stream([1, 0])]
        (function,) = fit_functions([NAME], streams, vocab_size, class_maps(vocab_size), **options)
        assert isinstance(function, LogLinear)
        return function

    return fit


@pytest.mark.parametrize("vocab_size", [2, VOCAB])
def test_the_function_is_under_contract(
    vocab_size: int, fit: Fit, hold_to_contract: Callable[..., None]
) -> None:
    hold_to_contract(
        lambda: fit(vocab_size),
        vocab_size,
        load=FunctionSpec.load,
        block_size=8,
        target_tolerance=_FLOAT32,
    )


@pytest.mark.parametrize("text", [[], [3], [3] * 20])
def test_the_function_of_a_poor_text_is_under_contract(
    text: list[int], fit: Fit, hold_to_contract: Callable[..., None]
) -> None:
    hold_to_contract(lambda: fit(text=text), VOCAB, block_size=6, target_tolerance=_FLOAT32)


def test_a_class_and_a_token_in_it_follow_from_products_of_experts(
    fit: Fit, text_stream: type
) -> None:
    function, history = fit(), np.array([0, 1, 8, 5, 0, 1, 4, 0, 1])
    expected = Definition(function).distribution(history)
    np.testing.assert_allclose(function.distribution(history), expected, rtol=1e-5)


@settings(max_examples=30, deadline=None)
@given(
    tokens=st.lists(st.integers(0, VOCAB - 1), min_size=13, max_size=13),
    shape=st.sampled_from([(1, 12), (3, 4)]),
    elements=st.sampled_from([1, 60, 1 << 19]),
)
def test_given_targets_have_what_the_definition_says(
    fit: Fit, tokens: list[int], shape: tuple[int, int], elements: int
) -> None:
    function = fit()
    inputs, targets = np.reshape(tokens[:-1], shape), np.reshape(tokens[1:], shape)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scores_module, "_PART_ELEMENTS", elements)
        priced = function.target_probabilities(inputs, targets)
    experts = Definition(function)
    expected = [
        experts.distribution(inputs[block, : place + 1])[targets[block, place]]
        for block, place in np.ndindex(shape)
    ]
    np.testing.assert_allclose(priced.reshape(-1), expected, rtol=1e-5)


class Definition:
    """The sums of exponents times experts, one expert at a time."""

    def __init__(self, function: LogLinear) -> None:
        self.function = function
        self.counts = function.counts.astype(float)
        self.n_class = len(function.settings.class_patterns) + 8

    def distribution(self, history: np.ndarray) -> np.ndarray:
        of_class = np.exp([self.of_class(history, c) for c in range(3)])
        scores = np.exp([self.of_token(history, y) for y in range(VOCAB)])
        classes = self.function.classes
        within = scores / np.bincount(classes, scores)[classes]
        return (of_class / of_class.sum())[classes] * within

    def of_class(self, history: np.ndarray, label: int) -> float:
        function, classes = self.function, self.function.classes
        members = classes == label
        values = [
            math.log(function.models[pattern].distribution(history)[members].sum())
            for pattern in function.settings.class_patterns
        ]
        for offset, lift in zip((4, 5, 6, 7, 8), function.lifts, strict=True):
            inside = len(history) >= offset
            values.append(math.log(lift[classes[history[-offset]], label]) if inside else 0.0)
        mean = (function.vectors * self.counts[:, None])[members].sum(axis=0)
        mean /= max(self.counts[members].sum(), 1)
        values.append(float(self.topic(history, 32.0) @ mean))
        share = np.bincount(classes, self.counts) + 1e-3
        in_block = np.count_nonzero(classes[history] == label)
        values.append(math.log(in_block / (share / share.sum())[label] + 40))
        followed = np.count_nonzero(classes[self.followers(history)] == label)
        values.append(math.log1p(followed))
        return float(np.dot(function.exponents[: self.n_class], values))

    def of_token(self, history: np.ndarray, token: int) -> float:
        function = self.function
        values = [
            math.log(function.models[pattern].distribution(history)[token])
            for pattern in function.settings.token_patterns
        ]
        for half_life in (8.0, math.inf):
            values.append(float(self.topic(history, half_life) @ function.vectors[token]))
        is_unseen = self.counts[token] == 0
        values += [float(is_unseen), math.log(self.rate(token)) if is_unseen else 0.0]
        values.append(self.rarity(3.0)[token] * (token in history))
        values.append(float(token in self.followers(history)))
        values.append(float(is_unseen and token in history))
        return float(np.dot(function.exponents[self.n_class :], values))

    def rate(self, token: int) -> float:
        part = np.arange(VOCAB) * 12 // VOCAB
        in_part = part == part[token]
        in_group = in_part & (self.function.classes == self.function.classes[token])
        of_part = (sum(self.counts[in_part] == 1) + 1) / (sum(self.counts[in_part] == 0) + 1)
        once, never = (sum(self.counts[in_group] == count) for count in (1, 0))
        return (once + 5 * of_part) / (never + 5)

    def topic(self, history: np.ndarray, half_life: float) -> np.ndarray:
        total = np.zeros(self.function.vectors.shape[1])
        for lag, token in enumerate(reversed(history)):
            weight = 0.5 ** (lag / half_life) * self.rarity(4.0)[token]
            total += weight * self.function.vectors[token]
        length = np.linalg.norm(total)
        return total / length if length else total

    def rarity(self, common: float) -> np.ndarray:
        return np.maximum(np.log(self.counts.sum() / (self.counts + 1)) - common, 0)

    def followers(self, history: np.ndarray) -> np.ndarray:
        return np.array(
            [b for a, b in itertools.pairwise(history) if a == history[-1]], dtype=np.int64
        )


def test_what_exponents_are_chosen_by_is_what_they_decide(fit: Fit) -> None:
    rng = np.random.default_rng(6)
    tokens = rng.integers(VOCAB, size=(4, 9))
    inputs, targets = tokens[:, :-1], tokens[:, 1:]
    function = fit()
    positions = Positions(
        Experts(
            function.settings,
            function.counts,
            function.models,
            function.classes,
            function.lifts,
            function.vectors,
        ),
        BlockView(inputs, targets),
    )
    choices = [positions.class_choices(), *positions.column_choices()]
    n_class = len(function.settings.class_patterns) + 8
    exponents = [function.exponents[:n_class]] + [function.exponents[n_class:]] * len(choices)
    nats = 0.0
    for (features, log_multiplicity, chosen), own in zip(choices, exponents, strict=False):
        scores = np.tensordot(own, features, 1) + log_multiplicity
        log_p = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True)) - log_multiplicity
        nats -= log_p[np.arange(len(chosen)), chosen].sum()
    expected = -np.log(function.target_probabilities(inputs, targets)).sum()
    np.testing.assert_allclose(nats, expected, rtol=1e-5)


def test_exponents_are_chosen_on_held_out_text_and_make_it_likelier(fit: Fit) -> None:
    rng = np.random.default_rng(5)
    tokens = rng.choice(VOCAB, (6, 13), p=rng.dirichlet(np.ones(VOCAB)))
    inputs, targets = tokens[:, :-1], tokens[:, 1:]
    default, chosen = fit(), fit(held_out=HeldOut(inputs, targets))
    losses = [-np.log(f.target_probabilities(inputs, targets)).mean() for f in (default, chosen)]
    assert losses[1] < losses[0] - 0.05
    assert not np.allclose(default.exponents, chosen.exponents)


def test_kept_exponents_are_not_chosen_again(fit: Fit) -> None:
    kept = np.linspace(0.1, 0.5, len(fit().exponents))
    blocks = HeldOut(np.array([[1, 2, 3]]), np.array([[2, 3, 4]]))
    function = fit(held_out=blocks, kept={NAME: kept})
    np.testing.assert_array_equal(function.exponents, kept)


def test_models_are_counted_with_those_of_other_functions(text_stream: type) -> None:
    names = [NAME, "kn(1,2,3)"]
    alone = fit_functions(names[1:], [text_stream(TEXT)], VOCAB, class_maps(VOCAB))[0]
    both = fit_functions(names, [text_stream(TEXT)], VOCAB, class_maps(VOCAB))
    shared = both[0].to_arrays()
    for name, array in alone.to_arrays().items():
        assert shared[name] is not None
        np.testing.assert_array_equal(shared[name], array)
    assert FittingText([], VOCAB, {}).kept == {}


@pytest.mark.parametrize("name", ["loglinear()", "loglinear(k3,2)", "loglinear", "loglinear(3k)"])
def test_a_wrong_name_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="loglinear"):
        FunctionSpec.parse(name)


def test_the_class_maps_of_all_models_are_needed() -> None:
    assert LogLinearName("k128").class_names == {"k128", "k64", "s128", "k32"}


def test_a_token_outside_the_vocabulary_is_refused(fit: Fit) -> None:
    function = fit()
    with pytest.raises(DataError, match=r"loglinear\(k3\)"):
        function.distribution(np.array([VOCAB]))
    with pytest.raises(DataError, match=r"loglinear\(k3\)"):
        function.target_probabilities(np.array([[0]]), np.array([[-1]]))


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e4])
def test_impossible_exponents_are_refused(value: float, fit: Fit) -> None:
    function = fit()
    name = f"exponents({NAME})"
    arrays = {**function.to_arrays(), name: np.full_like(function.exponents, value)}
    with pytest.raises(ArtifactError, match="numbers from -100 to 100 were expected"):
        LogLinear.from_arrays(function.spec(), arrays)


def test_a_class_map_with_too_many_classes_is_refused(text_stream: type) -> None:
    maps = {**class_maps(5000), "k3": np.arange(5000)}
    with pytest.raises(
        ConfigError, match=r"loglinear\(k3\) predicts 5,000 classes, expected 4,096"
    ):
        fit_functions([NAME], [text_stream(TEXT)], 5000, maps)


@pytest.mark.parametrize("array", ["token_counts", "topic_vectors", f"exponents({NAME})"])
def test_a_missing_array_is_named(array: str, fit: Fit) -> None:
    function = fit()
    arrays = {name: value for name, value in function.to_arrays().items() if name != array}
    with pytest.raises(ArtifactError, match=array.split("(")[0]):
        LogLinear.from_arrays(function.spec(), arrays)
