from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from clso.artifacts import CHECKSUMS
from clso.baseline import AdamwGpt2
from clso.baseline import model as model_module
from clso.baseline.task import FromTrained
from clso.checkpoint import load_gpt2, save_gpt2
from clso.data.tokenizer import Tokenizer
from clso.errors import ArtifactError, DamageError
from clso.gpt import GptShape


@pytest.fixture
def scorer(shape: GptShape) -> AdamwGpt2:
    model = AdamwGpt2.new(shape, end_token_id=0, seed=7).model
    with torch.no_grad():
        model.transformer.wte.weight.mul_(20)
    return AdamwGpt2(model)


@pytest.fixture
def tokens(shape: GptShape) -> np.ndarray:
    random = np.random.default_rng(0)
    return random.integers(0, shape.vocab_size, (7, shape.block_size + 1))


class TestScores:
    def test_probabilities_sum_to_one_and_price_the_targets(
        self, scorer: AdamwGpt2, tokens: np.ndarray, shape: GptShape
    ) -> None:
        inputs, targets = tokens[:, :-1], tokens[:, 1:]
        probabilities = scorer.probabilities(inputs)
        assert probabilities.shape == (*inputs.shape, shape.vocab_size)
        np.testing.assert_allclose(probabilities.sum(-1), 1.0, rtol=1e-12)
        picked = np.take_along_axis(probabilities, targets[..., None], -1)[..., 0]
        np.testing.assert_allclose(
            scorer.token_nll(inputs, targets), -np.log(picked), rtol=1e-5, atol=1e-5
        )

    def test_a_distribution_is_the_last_row_of_the_probabilities(
        self, scorer: AdamwGpt2, tokens: np.ndarray
    ) -> None:
        history = tokens[0, :5]
        distribution = scorer.distribution(history)
        assert distribution.sum() == pytest.approx(1.0, abs=1e-12)
        np.testing.assert_allclose(
            distribution, scorer.probabilities(history[None])[0, -1], rtol=1e-4
        )

    def test_nll_is_float64_and_does_not_depend_on_the_chunks(
        self, scorer: AdamwGpt2, tokens: np.ndarray, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        whole = scorer.token_nll(tokens[:, :-1], tokens[:, 1:])
        assert whole.dtype == np.float64
        monkeypatch.setattr(model_module, "_CHUNK_TOKENS", 24)
        pieces = scorer.token_nll(tokens[:, :-1], tokens[:, 1:])
        np.testing.assert_allclose(pieces, whole, atol=1e-5)

    def test_the_future_is_not_seen(self, scorer: AdamwGpt2, tokens: np.ndarray) -> None:
        changed = tokens.copy()
        changed[:, 6:] = (changed[:, 6:] + 1) % 250
        before = scorer.token_nll(tokens[:, :-1], tokens[:, 1:])
        after = scorer.token_nll(changed[:, :-1], changed[:, 1:])
        np.testing.assert_allclose(after[:, :5], before[:, :5], atol=1e-6)
        assert (after[:, 6:] != before[:, 6:]).all()

    def test_no_blocks_give_no_scores(self, scorer: AdamwGpt2, shape: GptShape) -> None:
        empty = np.empty((0, shape.block_size), np.int64)
        assert scorer.token_nll(empty, empty).shape == empty.shape

    def test_stored_bytes_are_the_checkpoint_s(self, scorer: AdamwGpt2, tmp_path: Path) -> None:
        save_gpt2(scorer.model, None, tmp_path / "model")
        size = (tmp_path / "model" / "model.safetensors").stat().st_size
        assert scorer.stored_bytes <= size < scorer.stored_bytes + 8192  # and its header


class TestInitialisation:
    def test_is_a_function_of_the_seed_alone(self, shape: GptShape) -> None:
        torch.manual_seed(1)
        first = AdamwGpt2.new(shape, end_token_id=0, seed=2).model
        after = torch.rand(1)
        torch.manual_seed(1)
        assert torch.equal(torch.rand(1), after)
        second = AdamwGpt2.new(shape, dropout=0.5, end_token_id=0, seed=2).model
        assert all(map(torch.equal, first.parameters(), second.parameters()))
        other = AdamwGpt2.new(shape, end_token_id=0, seed=3).model
        assert not torch.equal(first.transformer.wte.weight, other.transformer.wte.weight)

    def test_starts_near_the_uniform_loss(self, shape: GptShape, tokens: np.ndarray) -> None:
        scorer = AdamwGpt2.new(shape, end_token_id=0, seed=0)
        nll = scorer.token_nll(tokens[:, :-1], tokens[:, 1:])
        assert nll.mean() == pytest.approx(np.log(shape.vocab_size), rel=0.02)


class TestCheckpoint:
    def test_round_trip(self, scorer: AdamwGpt2, tokens: np.ndarray, tmp_path: Path) -> None:
        save_gpt2(scorer.model, None, tmp_path / "adamw", {"note.json": {"a": 1}})
        again = AdamwGpt2.load(tmp_path / "adamw")
        args = tokens[:, :-1], tokens[:, 1:]
        np.testing.assert_array_equal(again.token_nll(*args), scorer.token_nll(*args))
        assert (tmp_path / "adamw" / "note.json").read_text() == '{\n  "a": 1\n}\n'

    def test_end_tokens_in_a_block_are_not_taken_for_padding(
        self,
        scorer: AdamwGpt2,
        toy_tokenizer: Tokenizer,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        warned: list[str] = []
        monkeypatch.setattr("transformers.modeling_utils.logger.warning_once", warned.append)
        save_gpt2(scorer.model, toy_tokenizer, tmp_path / "m")
        blocks = np.full((2, 4), toy_tokenizer.end_token_id)
        for model in (scorer, AdamwGpt2.load(tmp_path / "m")):
            model.token_nll(blocks, blocks)
        assert warned == []

    def test_replaces_what_is_there(
        self, scorer: AdamwGpt2, shape: GptShape, tmp_path: Path
    ) -> None:
        save_gpt2(
            AdamwGpt2.new(shape, end_token_id=0, seed=0).model,
            None,
            tmp_path / "m",
            {"old.json": 1},
        )
        save_gpt2(scorer.model, None, tmp_path / "m")
        loaded = load_gpt2(tmp_path / "m", remedy="")
        assert torch.equal(loaded.transformer.wte.weight, scorer.model.transformer.wte.weight)
        assert [path.name for path in tmp_path.iterdir()] == ["m"]
        assert not (tmp_path / "m" / "old.json").exists()

    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(ArtifactError, match=r"holds no GPT-2 checkpoint\n  run `clso baseline"):
            AdamwGpt2.load(tmp_path / "absent")

    def test_damaged(self, scorer: AdamwGpt2, tmp_path: Path) -> None:
        save_gpt2(scorer.model, None, tmp_path / "m")
        weights = tmp_path / "m" / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:1000])
        with pytest.raises(DamageError, match=r"model\.safetensors is damaged"):
            AdamwGpt2.load(tmp_path / "m")
        (tmp_path / "m" / CHECKSUMS).unlink()  # as another program writes it
        with pytest.raises(ArtifactError, match=r"the checkpoint .* is damaged"):
            AdamwGpt2.load(tmp_path / "m")

    def test_a_place_that_cannot_be_written(self, scorer: AdamwGpt2, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(ArtifactError, match="cannot be written"):
            save_gpt2(scorer.model, None, tmp_path / "file" / "m")


def test_training_goes_on_from_the_trained_network_also_elsewhere(
    tmp_path: Path, shape: GptShape, tokenizer: Tokenizer
) -> None:
    trained = AdamwGpt2.new(shape, end_token_id=tokenizer.end_token_id, seed=3)
    trained.save(tmp_path / "trained", tokenizer)
    inputs = np.arange(12)[None] % shape.vocab_size
    expected = trained.token_nll(inputs, inputs)
    start = FromTrained(tmp_path / "trained", 0, "cpu")
    copy = pickle.loads(pickle.dumps(start))
    assert copy.fingerprint == start.fingerprint
    for own in (start, copy):
        further = own.model(dropout=0.25)
        np.testing.assert_array_equal(further.token_nll(inputs, inputs), expected)
        dropouts = [m.p for m in further.model.modules() if isinstance(m, torch.nn.Dropout)]
        assert dropouts
        assert set(dropouts) == {0.25}
