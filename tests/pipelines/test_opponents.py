"""Gradient models beside the write-up's: their stage, the best of them, what it is used for."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from clso.artifacts import Run, load_run
from clso.baseline.network_model import NetworkModel, load_network
from clso.baseline.trainable import mean_nll
from clso.data import Dataset
from clso.errors import ConfigError
from clso.mixture.model import CrystallineMixture
from pipelines.config import RunConfig
from pipelines.stages.opponents import OPPONENTS

pytestmark = pytest.mark.slow

MODELS = (
    "opponents.models=["
    "{network: lstm, n_layer: 1, n_embd: 8, learning_rates: [2.0e-2], batch_sizes: [16],"
    " dropouts: [0.1], weight_decays: [0.1], passes: [1, 2], extend: 0},"
    "{network: gpt, head: full, optimizer: muon, learning_rates: [1.0e-3], batch_sizes: [16],"
    " dropouts: [0.0], weight_decays: [0.1], passes: [1], extend: 0}]"
)


def arguments(smoke_yaml: str, out: Path, *sets: str, command: str = "baseline") -> list[str]:
    options = [part for value in sets for part in ("--set", value)]
    return [command, smoke_yaml, "--no-prefect", "--out", str(out), *options]


@pytest.fixture(scope="module")
def run(out: Path, smoke: Run, smoke_yaml: str, invoke: Callable[..., str]) -> Run:
    del smoke  # its data set lies there already
    sets = (MODELS, "opponents.seeds=2", "name=opponents", "baseline.learning_rates=[1.0e-4]")
    invoke(*arguments(smoke_yaml, out, *sets))
    (path,) = (out / "runs").glob("opponents-*")
    return load_run(path)


def test_the_best_by_validation_is_saved_with_its_own_cost(run: Run, out: Path) -> None:
    found = run.manifest["opponents"]
    losses = {model["kind"]: model["validation_loss"] for model in found["candidates"]}
    winner = found["winner"]
    assert winner["validation_loss"] == min(losses.values())
    assert winner["validation_loss"] < run.manifest["baseline"]["winner"]["validation_loss"]
    assert any(kind.startswith("GPT, full softmax, Muon, 1 pass") for kind in losses)
    assert any("passes, average of 2" in kind for kind in losses)
    model = load_network(run.path / "models" / "opponent")
    assert isinstance(model, NetworkModel)
    assert len(model.members) == winner["members"]
    assert model.cache.to_record() == winner["cache"]
    assert winner["kind"].endswith(", cache") is (model.cache.share > 0)
    dataset = Dataset.load(out / "datasets" / run.manifest["data_fingerprint"], block_size=32)
    nll = model.token_nll(*dataset.splits["validation"].blocks(slice(None)))
    assert nll.mean() == pytest.approx(winner["validation_loss"], abs=1e-6)


def test_every_trial_has_its_rows(run: Run, out: Path) -> None:
    rows = run.opponents.to_pylist()
    assert {(row["network"], row["head"], row["optimizer"]) for row in rows} == {
        ("lstm", "classes", "adamw"),
        ("gpt", "full", "muon"),
    }
    assert {row["passes"] for row in rows if row["network"] == "lstm"} == {1, 2}
    assert {row["training_seed"] for row in rows} == {0, 1}
    validated = [row["validation_loss"] for row in rows if row["validation_loss"] is not None]
    dataset = Dataset.load(out / "datasets" / run.manifest["data_fingerprint"], block_size=32)
    trained = [
        load_network(run.path / "state/opponents" / name) for name in ("model-0-0", "model-1-0")
    ]
    losses = [mean_nll(network, dataset.splits["validation"]) for network in trained]
    assert min(losses) == pytest.approx(min(validated), abs=1e-9)
    singles = [m["validation_loss"] for m in run.manifest["opponents"]["candidates"][:2]]
    assert all(single <= loss for single, loss in zip(singles, losses, strict=True))  # with caches


def test_it_writes_and_is_exported(run: Run, invoke: Callable[..., str], tmp_path: Path) -> None:
    options = ("--model", "opponent", "--prompt", "In the beginning", "--max-tokens", "5")
    assert invoke("generate", str(run.path), *options).startswith("In the beginning")
    told = invoke("export", str(run.path), "--model", "opponent", "--to", str(tmp_path / "new"))
    assert "trust_remote_code=True" in told
    card = (tmp_path / "new" / "README.md").read_text()
    kind = run.manifest["opponents"]["winner"]["kind"]
    assert "# Strongest gradient model of the run" in card
    assert f"strongest model of its run that gradients trained: {kind}." in card


def test_the_hybrid_takes_the_pass_with_which_it_is_best(
    out: Path, smoke_yaml: str, invoke: Callable[..., str]
) -> None:
    sets = (
        MODELS,
        "name=with-hybrid",
        "opponents.seeds=2",
        "baseline.enabled=false",
        "families=[mixture]",
        "mixture.slots=4",
        "mixture.search_tokens=1600",
        "mixture.library={class_maps: [k16], class_targets: [k16], gated_maps: [k16]}",
        "mixture.search={population: 4, generations: 1, finalists: 1, surrogate: {kind: none}}",
    )
    invoke(*arguments(smoke_yaml, out, *sets, command="run"))
    (path,) = (out / "runs").glob("with-hybrid-*")
    run = load_run(path)
    hybrid = run.manifest["hybrid"]
    fits = {fit["step"]: fit["loss"] for fit in hybrid["fits"]}
    assert len(fits) >= 2
    assert fits[hybrid["network_step"]] == min(fits.values())
    assert hybrid["network"] == "opponent"
    assert hybrid["functions"][-1] == "neural(opponent)"
    model = CrystallineMixture.load(run.path / "models" / "hybrid")
    assert abs(model.distribution(np.arange(8)).sum() - 1) < 1e-6
    row = {row["model"]: row for row in run.results.to_pylist()}
    trained = run.manifest["opponents"]["winner"]["training"]["devices"][0]["energy_j"]
    assert row["opponent"]["energy_j"] == pytest.approx(trained)
    assert row["hybrid"]["energy_j"] > row["mixture"]["energy_j"] + trained
    report = (path / "report.html").read_text()
    kind = run.manifest["opponents"]["winner"]["kind"]
    assert f"The strongest gradient model is {kind}." in report
    assert "The strongest gradient model: the best of each" in report
    assert all(model["trial"] in report for model in run.manifest["opponents"]["candidates"])


def test_the_winner_can_be_made_alone(run: Run) -> None:
    config = RunConfig.parsed(run.config, "the run", "correct it")
    winner = run.manifest["opponents"]["winner"]
    alone = OPPONENTS.winner_alone(config, run.manifest)
    (model,) = alone.opponents.models
    assert {name: values[0] for name, values in model.grids.items()} == winner["settings"]
    assert all(len(values) == 1 for values in model.grids.values())
    assert alone.opponents.seeds == winner["members"]
    assert OPPONENTS.built_on(alone) == ("prepare",)


def test_a_better_baseline_is_the_strongest(
    out: Path, smoke_yaml: str, invoke: Callable[..., str]
) -> None:
    weak = MODELS.replace("2.0e-2", "1.0e-9").replace("1.0e-3", "1.0e-9")
    invoke(*arguments(smoke_yaml, out, weak, "name=weak", "baseline.batch_sizes=[2]"))
    (path,) = (out / "runs").glob("weak-*")
    found = load_run(path).manifest
    assert found["opponents"]["winner"]["kind"] == "GPT-2, AdamW, 1 pass"
    model, adamw = (load_network(path / "models" / name) for name in ("opponent", "adamw"))
    tokens = np.arange(10)
    np.testing.assert_array_equal(model.distribution(tokens), adamw.distribution(tokens))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("{classes: 512}", "512 classes, the training text has"),
        ("{batch_sizes: [4000]}", "a batch has 4000 blocks, the training text only"),
        ("{optimizer: muon}", "the optimizer is muon, which PyTorch"),
    ],
)
def test_mistakes_are_told(
    value: str,
    message: str,
    smoke: Run,
    smoke_yaml: str,
    out: Path,
    invoke: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    del smoke
    monkeypatch.delattr(torch.optim, "Muon", raising=False)
    sets = (f"opponents.models=[{value}]", "name=wrong", "baseline.enabled=false")
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        invoke(*arguments(smoke_yaml, out, *sets))
    assert caught.value.exit_status == 2
