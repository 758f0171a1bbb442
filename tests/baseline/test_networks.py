"""What every network must do, whatever its body, readout and optimizer."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from interrupts import Interrupts

from clso.artifacts import CHECKSUMS
from clso.baseline import Blocks, NetworkSettings, TrainingPlan, Trial, TrialResult, train_trial
from clso.baseline.cache import NO_CACHE, Cache
from clso.baseline.heads import ClassHead, FullHead
from clso.baseline.network import NetworkShape
from clso.baseline.network_model import NetworkModel, load_network
from clso.baseline.optimizers import OptimizerKind, make_optimizers
from clso.baseline.seen_tokens import SeenTokens
from clso.baseline.settings import Schedule
from clso.baseline.task import load_weights
from clso.baseline.trainable import mean_nll
from clso.data.tokenizer import Tokenizer
from clso.energy import EnergyMonitor
from clso.errors import ArtifactError, ConfigError, DataError
from clso.progress import SILENT, Reporter

LENGTH = 12
SHAPES = [
    NetworkShape(network, head, 1, 2, 8, LENGTH, tied)
    for network, head, tied in itertools.product(
        ("gpt", "lstm"), ("full", "classes"), (False, True)
    )
]


def name_of(shape: NetworkShape) -> str:
    return f"{shape.network}-{shape.head}" + "-tied" * shape.tied


@pytest.fixture(scope="session")
def seen(train: list[Blocks], validation: Blocks, tokenizer: Tokenizer) -> SeenTokens:
    return SeenTokens.fit(train, validation, tokenizer.vocab_size)


@pytest.fixture(params=SHAPES, ids=name_of)
def shape_of_network(request: pytest.FixtureRequest) -> NetworkShape:
    return request.param


@pytest.fixture(params=[NO_CACHE, Cache(0.2, 0.3)], ids=["plain", "cache"])
def network(
    request: pytest.FixtureRequest, shape_of_network: NetworkShape, seen: SeenTokens
) -> NetworkModel:
    """An untrained network with weights that are not small."""
    made = NetworkModel.new(shape_of_network, seen, seed=1)
    made.cache = request.param
    with torch.no_grad():
        for parameter in made.model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)))
    return made


@pytest.fixture
def blocks(tokenizer: Tokenizer) -> tuple[np.ndarray, np.ndarray]:
    tokens = np.random.default_rng(3).integers(0, tokenizer.vocab_size, (3, LENGTH + 1))
    tokens[2] = tokens[2, [0, 1, 0, 2, 3, 1, 1, 4, 0, 5, 2, 6, 1]]  # some come again
    return tokens[:, :-1], tokens[:, 1:]


def test_probabilities_of_all_tokens_sum_to_one_and_give_the_loss(
    network: NetworkModel, blocks: tuple[np.ndarray, np.ndarray]
) -> None:
    inputs, targets = blocks
    p = network.probabilities(inputs)
    np.testing.assert_allclose(p.sum(-1), 1.0, atol=1e-9)
    assert (p > 0).all()
    nll = network.token_nll(inputs, targets)
    picked = np.take_along_axis(p, targets[..., None], -1)[..., 0]
    np.testing.assert_allclose(nll, -np.log(picked), atol=1e-5)
    for length in (1, 5, LENGTH):
        alone = network.distribution(inputs[1, :length])
        np.testing.assert_allclose(alone, p[1, length - 1], atol=1e-6)


def test_no_position_sees_what_follows(
    network: NetworkModel, blocks: tuple[np.ndarray, np.ndarray]
) -> None:
    inputs, targets = blocks
    other = inputs.copy()
    other[:, 7:] = inputs[::-1, 7:]
    np.testing.assert_array_equal(
        network.token_nll(inputs, targets)[:, :7], network.token_nll(other, targets)[:, :7]
    )


def test_gradients_are_those_of_the_softmax_of_all_rows(
    network: NetworkModel, train: list[Blocks]
) -> None:
    inputs, targets = map(torch.from_numpy, train[0].blocks(np.arange(5)))
    model, seen = network.model, network.seen
    loss = network.gradients(inputs, targets)
    mine = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    log_p = model.head.log_probabilities(model.hidden(inputs), model.weight)
    rows = model.row_of_token[targets].reshape(-1)
    plain = torch.nn.functional.nll_loss(log_p, rows)
    plain.backward()
    assert loss == pytest.approx(plain.item() - math.log1p(-seen.reserve), abs=1e-5)
    for gradient, parameter in zip(mine, model.parameters(), strict=True):
        torch.testing.assert_close(gradient, parameter.grad, atol=1e-5, rtol=1e-4)


def test_the_optimizers_have_every_parameter_once(network: NetworkModel) -> None:
    for kind in ("adamw", "muon"):
        made = make_optimizers(network, kind, weight_decay=0.1)
        of_all = [
            id(p)
            for optimizer in made.values()
            for group in optimizer.param_groups
            for p in group["params"]
        ]
        assert sorted(of_all) == sorted(map(id, network.model.parameters()))
        inside = made["muon"].param_groups[0]["params"] if kind == "muon" else []
        matrices = network.matrices() if kind == "muon" else []
        assert list(map(id, inside)) == list(map(id, matrices))
        assert all(p.ndim == 2 and p is not network.model.embedding for p in inside)


def test_muon_takes_the_steps_of_pytorch_s_in_more_digits(seen: SeenTokens) -> None:
    mine, theirs = (NetworkModel.new(SHAPES[6], seen, seed=0) for _ in range(2))
    of_mine = make_optimizers(mine, "muon", weight_decay=0.1)["muon"]
    of_theirs = torch.optim.Muon(
        theirs.matrices(), weight_decay=0.1, adjust_lr_fn="match_rms_adamw"
    )
    before = [parameter.detach().clone() for parameter in mine.matrices()]
    generator = torch.Generator().manual_seed(1)
    for _ in range(3):
        for one, other in zip(mine.matrices(), theirs.matrices(), strict=True):
            one.grad = torch.randn(one.shape, generator=generator)
            other.grad = one.grad.clone()
        for optimizer in (of_mine, of_theirs):
            optimizer.param_groups[0]["lr"] = 0.01
            optimizer.step()
    for one, other, start in zip(mine.matrices(), theirs.matrices(), before, strict=True):
        distance = (one - other).norm() / (one - start).norm()
        assert 0 < distance < 0.02  # bfloat16 has eight bits
    assert of_mine.state_dict()["state"].keys() == of_theirs.state_dict()["state"].keys()


def test_a_saved_network_scores_the_same(
    network: NetworkModel,
    blocks: tuple[np.ndarray, np.ndarray],
    tokenizer: Tokenizer,
    tmp_path: Path,
) -> None:
    network.save(tmp_path / "saved", tokenizer, {"more.json": {"a": 1}})
    loaded = load_network(tmp_path / "saved")
    assert isinstance(loaded, NetworkModel)
    assert (loaded.shape, loaded.name) == (network.shape, "opponent")
    np.testing.assert_array_equal(loaded.token_nll(*blocks), network.token_nll(*blocks))
    assert (tmp_path / "saved" / "more.json").exists()
    assert loaded.stored_bytes == network.stored_bytes > 0
    assert loaded.cache == network.cache


def test_a_longer_block_than_the_model_s_positions_is_refused(network: NetworkModel) -> None:
    tokens = np.zeros((1, LENGTH + 1), np.int64)
    for call in (network.probabilities, lambda t: network.token_nll(t, t)):
        with pytest.raises(DataError, match="blocks have 13 tokens, the model has 12 positions"):
            call(tokens)


Train = Callable[..., tuple[NetworkModel, TrialResult]]


@pytest.fixture
def run(train: list[Blocks], validation: Blocks, seen: SeenTokens, tmp_path: Path) -> Train:
    def run(
        shape: NetworkShape,
        optimizer: OptimizerKind = "adamw",
        state: str = "state",
        trial: Trial = Trial(1e-2, dropout=0.2, weight_decay=0.5, passes=2),  # noqa: B008
        settings: NetworkSettings = NetworkSettings(),  # noqa: B008
        reporter: Reporter = SILENT,
    ) -> tuple[NetworkModel, TrialResult]:
        network = NetworkModel.new(shape, seen, dropout=trial.dropout, seed=1)
        result = train_trial(
            network,
            TrainingPlan(trial, settings, 46, seed=1),
            train,
            validation,
            state=tmp_path / state,
            monitor=EnergyMonitor(),
            reporter=reporter,
            optimizer=optimizer,
        )
        return network, result

    return run


@pytest.mark.parametrize(
    ("shape", "optimizer"),
    [(SHAPES[1], "muon"), (SHAPES[6], "adamw"), (SHAPES[6], "muon")],
    ids=["gpt-full-tied-muon", "lstm-classes-adamw", "lstm-classes-muon"],
)
def test_an_interrupted_training_ends_as_an_unbroken_one(
    run: Train, shape: NetworkShape, optimizer: OptimizerKind
) -> None:
    network, result = run(shape, optimizer)
    with pytest.raises(KeyboardInterrupt):
        run(shape, optimizer, "broken", reporter=Interrupts(14))
    resumed_network, resumed = run(shape, optimizer, "broken")
    _, again = run(shape, optimizer, "again")
    assert resumed.loss == result.loss == again.loss
    assert math.isfinite(result.score)
    for mine, theirs in zip(
        resumed_network.model.parameters(), network.model.parameters(), strict=True
    ):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize("network", ["gpt", "lstm"])
def test_it_learns_what_there_is_to_learn(run: Train, network: str) -> None:
    shape = NetworkShape(network, "classes", 1, 2, 16, LENGTH)  # type: ignore[arg-type]
    _, result = run(shape, trial=Trial(2e-2, weight_decay=0.1, passes=6))
    assert result.loss is not None
    assert result.loss < 2.2  # knowing the 20 tokens alone gives log 20 = 3.0


@pytest.mark.parametrize(("schedule", "last_step"), [("constant", 48), ("cosine", 60)])
def test_patience_ends_a_trial_that_gains_nothing_more(
    run: Train, monkeypatch: pytest.MonkeyPatch, schedule: Schedule, last_step: int
) -> None:
    losses = iter([3.0, 2.0, 2.5, 2.1, 2.2, 0.5])  # a cosine's first three do not count
    monkeypatch.setattr("clso.baseline.train.mean_nll", lambda *_: next(losses))
    trial = Trial(1e-3, schedule, weight_decay=0.1, passes=6)
    _, result = run(SHAPES[4], trial=trial, settings=NetworkSettings(patience=2))
    assert (result.loss, result.best_step) == (2.0, 24)
    assert result.rows[-1]["step"] == last_step < result.n_steps == 72
    _, again = run(SHAPES[4], trial=trial, settings=NetworkSettings(patience=2))
    assert again == result  # from its state, without another loss


def test_snapshots_are_the_weights_of_every_evaluation(
    seen: SeenTokens, train: list[Blocks], validation: Blocks, tmp_path: Path
) -> None:
    plan = TrainingPlan(Trial(1e-2, weight_decay=0.1, passes=3), NetworkSettings(), 46, seed=1)
    network = NetworkModel.new(SHAPES[6], seen, seed=1)
    result = train_trial(
        network,
        plan,
        train,
        validation,
        state=None,
        monitor=EnergyMonitor(),
        snapshots=tmp_path,
    )
    losses = {row["step"]: row["validation_loss"] for row in result.rows if row["validation_loss"]}
    assert sorted(path.stem for path in tmp_path.iterdir()) == [f"{step:08d}" for step in losses]
    for step, loss in losses.items():
        load_weights(network.model, (tmp_path / f"{step:08d}.safetensors").read_bytes())
        assert mean_nll(network, validation) == pytest.approx(loss, abs=1e-9)


def test_an_average_has_the_mean_of_the_probabilities(
    seen: SeenTokens, blocks: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    each = [NetworkModel.new(SHAPES[6], seen, seed=seed) for seed in (1, 2, 3)]
    average = NetworkModel([network.model for network in each])
    inputs, targets = blocks
    p = np.mean([network.probabilities(inputs) for network in each], 0)
    np.testing.assert_allclose(average.probabilities(inputs), p, atol=1e-12)
    picked = np.take_along_axis(p, targets[..., None], -1)[..., 0]
    np.testing.assert_allclose(average.token_nll(inputs, targets), -np.log(picked), atol=1e-5)
    average.save(tmp_path / "average", None)
    loaded = NetworkModel.load(tmp_path / "average")
    np.testing.assert_array_equal(loaded.token_nll(*blocks), average.token_nll(*blocks))


class TestCache:
    """Against equation 3 of Grave, Joulin and Usunier 2017, token by token."""

    def test_is_a_softmax_over_what_followed_like_states(
        self, seen: SeenTokens, blocks: tuple[np.ndarray, np.ndarray]
    ) -> None:
        inputs, _ = blocks
        plain = [NetworkModel.new(SHAPES[6], seen, seed=seed) for seed in (1, 2)]
        average = NetworkModel([network.model for network in plain], cache=Cache(40.0, 0.3))
        p = average.probabilities(inputs)
        without = np.mean([network.probabilities(inputs) for network in plain], 0)
        states = [
            network.model.hidden(torch.from_numpy(inputs)).detach().numpy().reshape(3, LENGTH, -1)
            for network in plain
        ]
        for block, tokens in enumerate(inputs):
            np.testing.assert_allclose(p[block, 0], without[block, 0], atol=1e-12)
            for t in range(1, LENGTH):
                like = np.mean([h[block, :t] @ h[block, t] for h in states], 0) * 40.0
                weights = np.exp(like - like.max())
                expected = without[block, t] * 0.7
                for s, weight in enumerate(weights / weights.sum()):
                    expected[tokens[s + 1]] += 0.3 * weight
                np.testing.assert_allclose(p[block, t], expected, atol=1e-6)

    def test_is_fitted_where_tokens_come_again_and_left_out_where_none_does(
        self, seen: SeenTokens
    ) -> None:
        network = NetworkModel.new(SHAPES[6], seen, seed=1)
        again = np.tile(np.arange(100, 104), 4)[None, : LENGTH + 1]
        never = np.arange(100, 101 + LENGTH)[None]
        for tokens, gains in ((again, True), (never, False), (again[:, :2], False)):
            inputs, targets = tokens[:, :-1], tokens[:, 1:]
            fitted = network.with_cache(inputs, targets)
            loss = fitted.token_nll(inputs, targets).mean()
            assert (fitted.cache != NO_CACHE) is gains
            assert bool(loss < network.token_nll(inputs, targets).mean()) is gains
            for other in (Cache(fitted.cache.scale, 0.1), Cache(0.0, 0.5), Cache(1.0, 0.9)):
                fitted.cache = other
                assert fitted.token_nll(inputs, targets).mean() > loss - 1e-9


class TestReadouts:
    def test_begin_as_the_unigram(self, seen: SeenTokens) -> None:
        width = 4
        heads = [FullHead(seen), ClassHead(seen, width), ClassHead(seen, width, seen.n_seen)]
        for head in heads:
            p = head.log_probabilities(torch.zeros(1, width), torch.zeros(head.n_rows, width)).exp()
            expected = seen.counts / seen.counts.sum()
            np.testing.assert_allclose(p[0, : seen.n_seen].detach(), expected, rtol=1e-5)

    @pytest.mark.parametrize("n_classes", [1, 3, 7, 19, 20])
    def test_have_any_number_of_classes(self, seen: SeenTokens, n_classes: int) -> None:
        assert seen.n_seen == 20
        head = ClassHead(seen, 4, n_classes)
        hidden, weight = torch.randn(50, 4), torch.randn(head.n_rows, 4)
        rows = torch.arange(50) % 20
        log_p = head.log_probabilities(hidden, weight)
        np.testing.assert_allclose(log_p.exp().sum(-1).detach(), 1.0, atol=1e-9)
        picked = log_p.gather(1, rows[:, None])[:, 0]
        torch.testing.assert_close(head.nll(hidden, weight, rows), -picked, atol=1e-5, rtol=0)

    @pytest.mark.parametrize("n_classes", [0, 21])
    def test_refuse_more_classes_than_tokens(self, seen: SeenTokens, n_classes: int) -> None:
        with pytest.raises(ConfigError, match=f"{n_classes} classes, the training text has 20"):
            ClassHead(seen, 4, n_classes)


def test_the_reserve_is_validation_s_share_of_new_tokens(
    train: list[Blocks], validation: Blocks
) -> None:
    class New:
        name, block_size, n_blocks = "validation", 4, 2

        def blocks(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            tokens = np.array([[1, 2, 3, 40], [41, 5, 6, 7]])[index]
            return tokens, tokens

    assert SeenTokens.fit(train, New(), 264).reserve == pytest.approx(2.5 / 9)
    assert SeenTokens.fit(train, validation, 20).reserve == 0.0
    assert 0 < SeenTokens.fit(train, validation, 264).reserve < 0.01


def test_without_muon_in_torch_a_sentence_says_so(
    seen: SeenTokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(torch.optim, "Muon")
    network = NetworkModel.new(SHAPES[4], seen, seed=0)
    with pytest.raises(ConfigError, match=r"optimizer is muon, which PyTorch .* does not have"):
        make_optimizers(network, "muon", weight_decay=0.1)


@pytest.mark.parametrize("damage", ["truncated", "gone", "version", "shape"])
def test_a_damaged_network_is_refused_by_name(
    seen: SeenTokens, tmp_path: Path, damage: str
) -> None:
    path = tmp_path / "saved"
    NetworkModel.new(SHAPES[6], seen, seed=0).save(path, None)
    (path / CHECKSUMS).unlink()  # as another program writes it
    config = path / "config.json"
    if damage == "truncated":
        arrays = path / "model.safetensors"
        arrays.write_bytes(arrays.read_bytes()[:-9])
    elif damage == "gone":
        (path / "model.safetensors").unlink()
    elif damage == "version":
        config.write_text(config.read_text().replace('"format_version": 2', '"format_version": 3'))
    else:
        config.write_text(config.read_text().replace('"n_embd": 8', '"n_embd": 16'))
    with pytest.raises(ArtifactError, match=r"(?s)saved .*make it again"):
        NetworkModel.load(path)


def test_weights_are_a_function_of_the_seed(seen: SeenTokens) -> None:
    torch.manual_seed(5)
    first, second, other = (
        NetworkModel.new(SHAPES[0], replace(seen), seed=seed).model.embedding for seed in (1, 1, 2)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
