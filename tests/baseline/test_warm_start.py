"""AdamW from a checkpoint with an untied head and idle branches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from elsewhere import Elsewhere
from transformers import GPT2Config, GPT2LMHeadModel

from clso.artifacts import table_from_rows
from clso.baseline import (
    AdamwGpt2,
    BaselineSettings,
    Blocks,
    Sweep,
    SweepResult,
    Trial,
)
from clso.baseline.settings import WarmStartSettings
from clso.checkpoint import load_gpt2, save_gpt2
from clso.data.tokenizer import Tokenizer
from clso.energy import EnergyMonitor
from clso.errors import ArtifactError, WorkError
from clso.gpt import GptShape

RATES = (1e-3, 1e-2)


def untied(shape: GptShape) -> GPT2LMHeadModel:
    """A model whose first MLP and second attention are idle."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = GPT2LMHeadModel(
            GPT2Config(
                vocab_size=shape.vocab_size,
                n_positions=shape.block_size,
                n_embd=shape.n_embd,
                n_layer=shape.n_layer,
                n_head=shape.n_head,
                resid_pdrop=0.0,
                embd_pdrop=0.0,
                attn_pdrop=0.0,
                bos_token_id=0,
                eos_token_id=0,
                tie_word_embeddings=False,
            )
        )
    first, second = model.transformer.h
    with torch.no_grad():
        model.transformer.wte.weight.mul_(20.0)
        first.mlp.c_fc.weight.zero_()
        second.attn.c_attn.weight.zero_()
        second.attn.c_proj.weight.zero_()
    return model.eval()


def logits(model: GPT2LMHeadModel, tokens: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return model(input_ids=tokens).logits


@pytest.fixture
def found(shape: GptShape, tmp_path: Path) -> Path:
    save_gpt2(untied(shape), None, tmp_path / "found")
    return tmp_path / "found"


def test_waking_changes_no_logit_and_leaves_no_dead_branch(shape: GptShape, found: Path) -> None:
    tokens = torch.arange(2 * shape.block_size).view(2, -1)
    before = logits(untied(shape), tokens)
    network = AdamwGpt2.trainable(found, dropout=0.0, seed=1)
    model = network.model
    np.testing.assert_allclose(logits(model, tokens), before, atol=1e-4)
    network.gradients(tokens, tokens)
    for block in model.transformer.h:
        for name in ("attn.c_proj.weight", "mlp.c_proj.weight"):
            assert block.get_parameter(name).grad.any(), name


def test_waking_is_a_function_of_the_seed(found: Path) -> None:
    weights = []
    for seed in (1, 1, 2):
        model = AdamwGpt2.trainable(found, dropout=0.0, seed=seed).model
        weights.append(model.transformer.h[0].mlp.c_fc.weight.detach().numpy())
    np.testing.assert_array_equal(weights[0], weights[1])
    assert (weights[0] != weights[2]).any()


def test_a_tied_head_is_refused(tmp_path: Path) -> None:
    model = GPT2LMHeadModel(GPT2Config(vocab_size=10, n_embd=4, n_layer=1, n_head=1))
    save_gpt2(model, None, tmp_path / "tied")
    with pytest.raises(ValueError, match="tied"):
        AdamwGpt2.trainable(tmp_path / "tied", dropout=0.0, seed=0)


@pytest.fixture
def arguments(
    shape: GptShape,
    train: Sequence[Blocks],
    validation: Blocks,
    tokenizer: Tokenizer,
    tmp_path: Path,
) -> dict[str, Any]:
    save_gpt2(untied(shape), tokenizer, tmp_path / "gpt")
    return {
        "found": tmp_path / "gpt",
        "train": train,
        "validation": validation,
        "settings": BaselineSettings(warm_start={"learning_rates": RATES, "eval_points": 3}),
        "tokenizer": tokenizer,
        "seed": 0,
        "fingerprint": "data",
        "state": tmp_path / "state",
        "checkpoint": tmp_path / "warm_start",
        "monitor": EnergyMonitor(),
    }


def warm_start(arguments: dict[str, Any]) -> SweepResult:
    others = {name: value for name, value in arguments.items() if name != "found"}
    return Sweep(**others).from_checkpoint(arguments["found"], Trial(1.0, batch_size=4))


def test_it_begins_at_the_found_model_s_loss_and_improves_on_it(
    arguments: dict[str, Any], validation: Blocks
) -> None:
    result = warm_start(arguments)
    inputs, targets = validation.blocks(np.arange(validation.n_blocks))
    found = AdamwGpt2(load_gpt2(arguments["found"], remedy=""))
    assert result.start_loss == pytest.approx(found.token_nll(inputs, targets).mean(), abs=1e-4)
    assert result.best.loss is not None
    assert result.start_loss is not None
    assert result.best.loss < result.start_loss
    kept = AdamwGpt2.load(arguments["checkpoint"], name="warm_start")
    assert kept.token_nll(inputs, targets).mean() == pytest.approx(result.best.loss, abs=1e-6)
    assert [trial.trial.lr for trial in result.trials] == list(RATES)
    rows = [
        row for trial in result.trials for row in trial.table_rows(run_id="r", seed=0, passes=1)
    ]
    assert table_from_rows(rows, "warm_start").num_rows == len(rows)


def test_a_trial_needs_the_checkpoint_s_files_and_no_folder(
    arguments: dict[str, Any],
) -> None:
    alone = warm_start(arguments)

    class Apart(Elsewhere):
        def map(self, *given: Any) -> Iterator[tuple[int, Any]]:  # noqa: ANN401
            found, hidden = arguments["found"], arguments["found"].with_name("hidden")
            finished = super().map(*given)
            last = next(finished)
            found.rename(hidden)
            rest = [*finished]
            hidden.rename(found)
            yield from (last, *rest)

    folders = {"state": arguments["state"] / "2", "checkpoint": arguments["checkpoint"] / "2"}
    other = warm_start({**arguments, **folders, "engine": Apart()})
    assert [trial.loss for trial in other.trials] == [trial.loss for trial in alone.trials]
    weights = [
        (folder / "model.safetensors").read_bytes()
        for folder in (arguments["checkpoint"], folders["checkpoint"])
    ]
    assert weights[0] == weights[1]


def test_steps_to_a_loss_are_the_first_that_have_it(arguments: dict[str, Any]) -> None:
    result = warm_start(arguments)
    assert result.start_loss is not None
    assert result.steps_to(result.start_loss) == 0
    assert result.steps_to(0.0) is None
    assert result.best.loss is not None
    steps = result.steps_to(result.best.loss)
    assert steps is not None
    assert 0 < steps <= result.best.n_steps


def test_finished_trials_are_reused(
    arguments: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = warm_start(arguments)

    def fail(*_: object, **__: object) -> SweepResult:
        raise AssertionError("trained again")

    monkeypatch.setattr("clso.baseline.task.train_trial", fail)
    again = warm_start(arguments)
    assert again.best.loss == first.best.loss
    stored = next(arguments["state"].glob("*.json"))
    stored.write_text("{}")
    with pytest.raises(ArtifactError, match="is damaged"):
        warm_start(arguments)


def test_all_diverged_is_an_error(arguments: dict[str, Any]) -> None:
    wild = WarmStartSettings().model_copy(update={"learning_rates": (1e30,)})
    with pytest.raises(
        WorkError, match=r"all 1 AdamW trials diverged[\s\S]*warm_start\.learning_rates"
    ):
        warm_start({**arguments, "settings": BaselineSettings(warm_start=wild)})
