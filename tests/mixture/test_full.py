"""Full distributions of all kinds of functions together, against one function after another."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import clso.mixture.model as model_module
from clso.mixture import full
from clso.mixture.buckets import Bucketing
from clso.mixture.full import DistributionSum, Layout
from clso.mixture.function import BasisFunction
from clso.mixture.history import HistoryCounts
from clso.mixture.model import CrystallineMixture
from clso.mixture.specification import fit_functions
from clso.mixture.weights import MixtureWeights
from clso.threads import torch_threads

VOCAB, SEEN = 240, 12
NAMES = (
    *("unigram", "kn()", "kn(1)", "kn(1,2)", "kn(2,1:k4)", "kn(1:k4,2:k4,3:k4)", "kn(1->k4)"),
    *("kn(1,2->k4)", "kn(1:k3,2:k3->k3)", "word()", "word(1,2)", "cache(8,idf=0.5)", "gated(k3)"),
    *("induction(1)", "induction(2,decay=0.5)", "product(k3)", "product(k4,via=k3)"),
    "loglinear(k3)",
)
BUCKETING = "count1*match*position"


@pytest.fixture(scope="module")
def model(text_stream: type) -> CrystallineMixture:
    rng = np.random.default_rng(0)
    # tokens 5, 10, .. occur in the text; the others only in what is scored
    streams = [text_stream(rng.integers(0, SEEN, n) * 5) for n in (300, 40, 1)]
    tokens = np.arange(VOCAB)
    sizes = {"k3": 3, "k4": 4, "k32": 5, "k64": 6, "s128": 7, "letters": 9}
    maps = {name: (tokens * 7 % size).astype(np.uint8) for name, size in sizes.items()}
    functions: list[BasisFunction] = list(fit_functions(NAMES, streams, VOCAB, maps))
    table = rng.dirichlet(np.ones(1 + len(functions)), Bucketing(BUCKETING).n_buckets)
    weights = MixtureWeights(table.mean(axis=0), table)
    history = HistoryCounts.fit(streams, VOCAB)
    return CrystallineMixture("mixture", functions, weights, BUCKETING, history, VOCAB)


def one_by_one(model: CrystallineMixture, block: np.ndarray) -> np.ndarray:
    buckets = Bucketing(BUCKETING).assign(model.history.of(block[None]))[0]
    return np.array(
        [
            sum(
                weight * function.distribution(block[: t + 1])
                for weight, function in zip(
                    model.weights.table[bucket], model.functions, strict=True
                )
            )
            for t, bucket in enumerate(buckets)
        ]
    )


@settings(max_examples=25, deadline=None)
@given(
    block=st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=14),
    n_tokens=st.sampled_from([VOCAB, 8]),
    at_once=st.sampled_from([1, 3, 32]),
)
def test_all_positions_together_are_each_alone(
    model: CrystallineMixture, block: list[int], n_tokens: int, at_once: int
) -> None:
    history = np.array(block) % n_tokens
    expected = one_by_one(model, history)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model_module, "_FEWEST_AT_ONCE", at_once)
        patch.setattr(model_module, "_ELEMENTS_AT_ONCE", 1)
        together = model.probabilities(history[None])[0]
        logs = np.empty((len(history), VOCAB), dtype=np.float32)
        model.write_log_probabilities(history, logs)
    np.testing.assert_allclose(together, expected, rtol=1e-12)
    np.testing.assert_allclose(together.sum(axis=1), 1.0, rtol=0, atol=1e-12)
    np.testing.assert_allclose(logs, np.log(expected), rtol=1e-6)
    np.testing.assert_allclose(model.distribution(history), expected[-1], rtol=1e-12)
    targets = np.append(history[1:], 0)
    nll = model.token_nll(history[None], targets[None])[0]
    priced = np.take_along_axis(together, targets[:, None], axis=1)[:, 0]
    np.testing.assert_allclose(-np.log(priced), nll, rtol=0, atol=1e-6)


def test_prices_do_not_depend_on_threads(model: CrystallineMixture) -> None:
    tokens = np.random.default_rng(4).integers(0, SEEN, (200, 15)) * 5
    inputs, targets = tokens[:, :-1], tokens[:, 1:]
    prices = []
    for number in (1, 2, 5):
        with torch_threads(number):
            prices.append(model.token_nll(inputs, targets))
    np.testing.assert_array_equal(prices[0], prices[1])
    np.testing.assert_array_equal(prices[0], prices[2])
    alone = model.token_nll(inputs[150:151], targets[150:151])
    np.testing.assert_allclose(alone[0], prices[0][150], rtol=1e-12)


@settings(max_examples=20, deadline=None)
@given(
    shape=st.tuples(*(st.integers(1, most) for most in (70, 150, 3, 5))),
    seed=st.integers(0, 99),
)
def test_a_slot_has_its_share_of_each_of_its_groups(
    shape: tuple[int, int, int, int], seed: int
) -> None:
    (n, n_slots, n_divisions, n_groups), rng = shape, np.random.default_rng(seed)
    p, values = rng.random((n, n_slots)), rng.random((n, n_groups))
    places = rng.integers(0, n_groups, (n_divisions, n_slots))
    shares = rng.random(places.shape)
    expected = p + sum(values[:, at] * share for at, share in zip(places, shares, strict=True))
    full._add_divided(p, values, places, shares)
    np.testing.assert_allclose(p, expected, rtol=1e-12)


def test_tokens_without_counts_share_slots(model: CrystallineMixture) -> None:
    model.probabilities(np.array([[5, 1, 10, 1]]))
    slots = model._layout.spread.of_token
    assert slots is not None
    assert SEEN < model._layout.n_slots < VOCAB
    assert len(np.unique(slots[np.arange(SEEN) * 5])) == SEEN


def test_the_last_context_alone_has_the_same_features(model: CrystallineMixture) -> None:
    rng = np.random.default_rng(3)
    for length in (1, 2, 3, 9, 30):
        block = rng.integers(0, 3, length) * 5
        whole, last = (model.history.of(block[None], first) for first in (0, length - 1))
        assert [counts[0, -1] for counts in whole.seen] == [counts[0, 0] for counts in last.seen]
        assert (whole.match[0, -1], length - 1) == (last.match[0, 0], last.position[0, 0])


def test_a_function_without_a_way_of_its_own_is_asked_position_by_position() -> None:
    class Rising:
        name, family = "rising", "plain"

        def distribution(self, history: np.ndarray) -> np.ndarray:
            return np.eye(4)[len(history) % 4]

    out = DistributionSum(Layout(4), np.array([0, 1, 2]), 1)
    out.add(Rising(), np.array([0.5, 2.0]))  # type: ignore[arg-type]
    rows = np.empty((2, 4))
    out.total().write(rows)
    assert rows.tolist() == [[0, 0, 0.5, 0], [0, 0, 0, 2.0]]
