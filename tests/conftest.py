"""What holds for all tests."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import hypothesis
import numpy as np
import pytest

if TYPE_CHECKING:  # torch must not be loaded before the line below
    from transformers import GPT2LMHeadModel

    from clso.baseline.network_model import NetworkModel
    from clso.data.tokenizer import Tokenizer
    from clso.mixture.model import CrystallineMixture

# Read when torch is loaded, by the processes that tests start too; see pipelines/cli.py.
os.environ.setdefault("GOMP_SPINCOUNT", "2000")
if "PYTEST_XDIST_WORKER" in os.environ:  # there is a worker per core already
    os.environ.setdefault("OMP_NUM_THREADS", "1")


# no test asserts a time, and other processes may have the cores
hypothesis.settings.register_profile("clso", deadline=None)
hypothesis.settings.load_profile("clso")


@pytest.fixture(autouse=True)
def own_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the local engine compute in this process, however slow the machine is."""
    monkeypatch.setattr("clso.engine.local._START_S", float("inf"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what the tests of faults counted."""
    counted = [
        str(value)
        for reports in terminalreporter.stats.values()
        for report in reports
        for name, value in getattr(report, "user_properties", ())
        if name == "faults" and report.when == "call"
    ]
    if counted:
        terminalreporter.section("faults")
        terminalreporter.write_line("\n".join(sorted(counted)))


class TokenText:
    """A split of tokens in memory."""

    def __init__(self, tokens: list[int]) -> None:
        self._tokens = np.asarray(tokens, dtype=np.uint16)
        self.n_tokens = len(tokens) - 1

    def tokens(self, start: int, stop: int) -> np.ndarray:
        return self._tokens[start:stop]


TOY_BLOCK_SIZE = 16


@pytest.fixture(scope="session")
def toy_texts() -> list[str]:
    """Documents of a small grammar, with letters of two and three bytes."""
    rng = np.random.default_rng(5)
    who = ["the cat", "a dog", "the “fox”", "Zoë", "the crow"]
    does = ["saw", "ate", "left", "loved"]
    sentence = "{} {} {}. ".format
    return [
        "".join(sentence(*map(rng.choice, (who, does, who))) for _ in range(12)) for _ in range(40)
    ]


@pytest.fixture(scope="session")
def toy_tokenizer(toy_texts: list[str]) -> Tokenizer:
    from clso.data.tokenizer import Tokenizer

    return Tokenizer.train(toy_texts, 290)


@pytest.fixture(scope="session")
def toy_mixture(toy_texts: list[str], toy_tokenizer: Tokenizer) -> CrystallineMixture:
    """A mixture of every kind of function, weights fitted on held-out text."""
    from clso.mixture.columns import Columns
    from clso.mixture.history import HistoryCounts
    from clso.mixture.model import CrystallineMixture
    from clso.mixture.specification import fit_functions
    from clso.mixture.weights import BucketOrder, MixtureWeights

    V = toy_tokenizer.vocab_size
    stream: list[int] = []
    for tokens in toy_tokenizer.encode_many(toy_texts):
        stream += [*tokens, toy_tokenizer.end_token_id]
    cut = len(stream) * 3 // 4
    train, tune = TokenText(stream[:cut]), np.asarray(stream[cut:])
    names = ("unigram", "kn(1)", "kn(1,2)", "kn(2,1)", "kn(1:k8,2)", "cache(8)", "induction(1)")
    class_maps = {"k8": (np.arange(V) % 8).astype(np.uint8)}
    functions = fit_functions(names, [train], V, class_maps)
    history = HistoryCounts.fit([train], V)
    size = (len(tune) - 1) // TOY_BLOCK_SIZE * TOY_BLOCK_SIZE
    inputs, targets = (
        tune[first : first + size].reshape(-1, TOY_BLOCK_SIZE).astype(np.int64) for first in (0, 1)
    )
    columns = Columns.of(functions, inputs, targets, V, split="tune")
    order = BucketOrder.by("longest*match", history.of(inputs))
    weights = MixtureWeights.fit(columns.with_uniform, order, smoothing=10.0, steps=5)
    return CrystallineMixture("mixture", functions, weights, "longest*match", history, V)


@pytest.fixture(scope="session")
def toy_gpt2(toy_tokenizer: Tokenizer) -> GPT2LMHeadModel:
    """A GPT-2 that nobody trained, yet sure of itself."""
    import torch

    from clso.baseline import AdamwGpt2
    from clso.gpt import GptShape

    shape = GptShape(1, 2, 8, TOY_BLOCK_SIZE, toy_tokenizer.vocab_size)
    model = AdamwGpt2.new(shape, end_token_id=toy_tokenizer.end_token_id, seed=3).model
    with torch.no_grad():
        model.transformer.wte.weight.mul_(30)
    return model


@pytest.fixture(scope="session")
def toy_network(toy_tokenizer: Tokenizer) -> NetworkModel:
    """The average of two LSTMs that nobody trained; half of the tokens are unseen."""
    import torch

    from clso.baseline.network import NetworkShape
    from clso.baseline.network_model import NetworkModel
    from clso.baseline.seen_tokens import SeenTokens

    V = toy_tokenizer.vocab_size
    tokens = np.arange(0, V, 2)
    seen = SeenTokens(tokens, np.arange(len(tokens), 0, -1), V, reserve=0.1)
    shape = NetworkShape("lstm", "classes", 1, 1, 8, TOY_BLOCK_SIZE)
    each = [NetworkModel.new(shape, seen, seed=seed).model for seed in (1, 2)]
    with torch.no_grad():
        for network in each:
            assert network.readout is not None
            network.readout.mul_(100)
    return NetworkModel(each)


@pytest.fixture(scope="session")
def toy_hybrid(toy_mixture: CrystallineMixture, toy_gpt2: GPT2LMHeadModel) -> CrystallineMixture:
    """The mixture and the network, half and half."""
    from clso.baseline import AdamwGpt2
    from clso.mixture.function import Neural
    from clso.mixture.model import CrystallineMixture
    from clso.mixture.weights import MixtureWeights

    def halved(weights: np.ndarray) -> np.ndarray:
        return np.concatenate([weights / 2, np.full((*weights.shape[:-1], 1), 0.5)], axis=-1)

    mixture = toy_mixture
    return CrystallineMixture(
        "hybrid",
        [*mixture.functions[1:], Neural(AdamwGpt2(toy_gpt2))],
        MixtureWeights(halved(mixture.weights.shared), halved(mixture.weights.table)),
        mixture.bucketing,
        mixture.history,
        mixture.vocab_size,
    )
