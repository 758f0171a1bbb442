from typing import cast

import numpy as np
import pytest
import torch

from clso.baseline import AdamwGpt2
from clso.errors import ArtifactError
from clso.gpt import GptShape
from clso.mixture.buckets import Bucketing
from clso.mixture.function import BasisFunction, Neural
from clso.mixture.history import HistoryCounts
from clso.mixture.model import CrystallineMixture
from clso.mixture.specification import FunctionSpec, fit_functions
from clso.mixture.weights import MixtureWeights

VOCAB = 11
NAMES = ("unigram", "kn(1)", "kn(1,2)", "cache(8)", "induction(2)")


def random_weights(bucketing: str, n_functions: int) -> MixtureWeights:
    rng = np.random.default_rng(0)
    table = rng.dirichlet(np.ones(n_functions), Bucketing(bucketing).n_buckets)
    return MixtureWeights(table.mean(axis=0), table)


@pytest.fixture(scope="module")
def neural() -> Neural:
    shape = GptShape(n_layer=1, n_head=1, n_embd=8, block_size=16, vocab_size=VOCAB)
    return Neural(AdamwGpt2.new(shape, dropout=0.0, end_token_id=0, seed=0))


@pytest.fixture(params=["none", "count1*match*position"])
def model(request: pytest.FixtureRequest, text_stream: type, neural: Neural) -> CrystallineMixture:
    stream = text_stream(np.random.default_rng(1).integers(0, VOCAB, 500))
    functions: list[BasisFunction] = [*fit_functions(NAMES, [stream], VOCAB, {}), neural]
    return CrystallineMixture(
        "hybrid",
        functions,
        random_weights(request.param, len(functions) + 1),
        request.param,
        HistoryCounts.fit([stream], VOCAB),
        VOCAB,
    )


def test_probabilities_sum_to_one_and_price_the_targets(model: CrystallineMixture) -> None:
    stream = np.random.default_rng(2).integers(0, VOCAB, (3, 13))
    inputs, targets = stream[:, :-1], stream[:, 1:]
    probabilities = model.probabilities(inputs)
    assert np.allclose(probabilities.sum(axis=-1), 1.0, atol=1e-12)
    priced = np.take_along_axis(probabilities, targets[..., None], axis=-1)[..., 0]
    assert np.allclose(-np.log(priced), model.token_nll(inputs, targets), atol=1e-5)


def test_blocks_do_not_see_each_other_nor_the_future(model: CrystallineMixture) -> None:
    stream = np.random.default_rng(3).integers(0, VOCAB, (300, 9))
    inputs, targets = stream[:, :-1], stream[:, 1:]
    together = model.token_nll(inputs, targets)
    assert np.allclose(model.token_nll(inputs[7:8], targets[7:8])[0], together[7], atol=1e-6)
    assert np.allclose(model.token_nll(inputs[:, :4], targets[:, :4]), together[:, :4], atol=1e-6)


class Forgetful:
    """Another package's function, which writes every result to the same memory."""

    name, family = "forgetful", "plain"

    def __init__(self) -> None:
        self._memory = np.empty((64, 8))

    def target_probabilities(self, inputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        found = self._memory[: len(inputs)]
        found[:] = (1 + inputs) / 100
        return found


def test_a_function_may_use_its_memory_again(text_stream: type) -> None:
    counts = HistoryCounts.fit([text_stream([0, 1, 2])], VOCAB)
    weights, functions = random_weights("none", 2), [cast(BasisFunction, Forgetful())]
    model = CrystallineMixture("mixture", functions, weights, "none", counts, VOCAB)
    stream = np.random.default_rng(5).integers(0, VOCAB, (200, 9))
    inputs, targets = stream[:, :-1], stream[:, 1:]
    uniform, own = weights.table[0]
    expected = -np.log(uniform / VOCAB + own * (1 + inputs) / 100)
    assert np.allclose(model.token_nll(inputs, targets), expected, atol=1e-12)


def test_shared_arrays_are_counted_once(model: CrystallineMixture) -> None:
    apart = sum(function.stored_bytes for function in model.functions)
    assert 0 < model.stored_bytes < apart + model.history.stored_bytes + 10**6


def test_weights_of_another_shape_are_refused(text_stream: type) -> None:
    counts = HistoryCounts.fit([text_stream([0, 1, 2])], VOCAB)
    with pytest.raises(ValueError, match=r"weights are \(1, 3\), expected \(1, 1\)"):
        CrystallineMixture("mixture", [], random_weights("none", 3), "none", counts, VOCAB)


def test_a_neural_function_is_its_models_softmax(neural: Neural) -> None:
    assert (neural.name, neural.family) == ("neural(adamw)", "neural")
    stream = np.random.default_rng(4).integers(0, VOCAB, (2, 8))
    inputs, targets = stream[:, :-1], stream[:, 1:]
    scored = neural.target_probabilities(inputs, targets)
    for block, position in np.ndindex(*inputs.shape):
        distribution = neural.distribution(inputs[block, : position + 1])
        assert distribution.sum() == pytest.approx(1.0, abs=1e-12)
        assert distribution[targets[block, position]] == pytest.approx(
            scored[block, position], rel=1e-5
        )
    with torch.inference_mode():
        logits = neural.model.model(torch.from_numpy(inputs)).logits  # type: ignore[attr-defined]
    expected = logits.double().softmax(-1).numpy()
    assert np.allclose(
        np.take_along_axis(expected, targets[..., None], -1)[..., 0], scored, atol=1e-6
    )


def test_a_neural_function_is_no_set_of_arrays(neural: Neural) -> None:
    assert neural.to_arrays() == {}
    with pytest.raises(ArtifactError, match=r"'neural\(adamw\)': 'neural' is not known"):
        FunctionSpec.load(neural.spec(), {})
    with pytest.raises(ArtifactError, match="a stored function is named 'what'"):
        FunctionSpec.load({"name": "what"}, {})


@pytest.mark.parametrize(
    "text",
    [[0, 1], [1] * 40, [0, 1, 0], list(range(VOCAB)) * 3],
    ids=["two tokens", "all equal", "one document of three", "cycle"],
)
def test_small_and_strange_texts_give_finite_losses(text: list[int], text_stream: type) -> None:
    stream = text_stream(text)
    names = (*NAMES, "kn(1,2,3,4)", "kn(3,1)", "kn(1:odd,2)", "gated(odd)", "induction(3)")
    maps = {"odd": (np.arange(VOCAB) % 2).astype(np.uint8)}
    functions = fit_functions(names, [stream], VOCAB, maps)
    model = CrystallineMixture(
        "mixture",
        functions,
        random_weights("count1*count2*match*position", len(names) + 1),
        "count1*count2*match*position",
        HistoryCounts.fit([stream], VOCAB),
        VOCAB,
    )
    for length in (1, 2, 7):
        blocks = np.random.default_rng(0).integers(0, VOCAB, (4, length + 1))
        blocks[0] = VOCAB - 1
        nll = model.token_nll(blocks[:, :-1], blocks[:, 1:])
        assert np.isfinite(nll).all()
        assert np.allclose(model.probabilities(blocks[:, :-1]).sum(axis=-1), 1.0, atol=1e-9)
