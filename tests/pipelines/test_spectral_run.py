"""A run whose library follows from the data, and AdamW from the model that it finds."""

from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM

from clso.artifacts import Run, load_run
from clso.data import Dataset
from clso.models import StoredModel

SPECTRAL = (
    "families=[gpt]",
    "gpt.share_layers=false",
    "gpt.library.size=2",
    "gpt.spectral={enabled: true, size: 4, embeddings: 2, readouts: 4, recent_width: 6, "
    "topic_width: 6, topic_reach: 6}",
    "search.surrogate.kind=none",
)
WARM = "baseline.warm_start={enabled: true, learning_rates: [1.0e-3], eval_points: 2}"


@pytest.fixture(scope="module")
def spectral(out: Path, smoke: Run, smoke_yaml: str, invoke: Callable[..., str]) -> Run:
    del smoke  # its data set and library lie there already
    sets = [part for value in (*SPECTRAL, WARM, "name=spectral") for part in ("--set", value)]
    invoke("run", smoke_yaml, "--no-prefect", "--out", str(out), *sets)
    (path,) = (out / "runs").glob("spectral-*")
    return load_run(path)


def test_it_is_a_language_model_without_gradients(spectral: Run) -> None:
    losses = {row["model"]: row["test_loss"] for row in spectral.results.to_pylist()}
    assert losses["gpt"] < losses["unigram"]
    genes = [gene["slot"] for gene in spectral.manifest["genes"]["gpt"]]
    assert (genes[0], genes[-1]) == ("embedding", "readout")
    assert len(spectral.manifest["best"]["gpt"]["genome"]) == len(genes) == 6


def test_the_library_is_another_s_where_the_data_are(spectral: Run, smoke: Run, out: Path) -> None:
    reused = {row["stage"]: row["reused"] for row in spectral.energy.to_pylist()}
    assert reused["prepare"]
    assert not reused["library"]
    libraries = [path.name for path in (out / "libraries").iterdir() if path.is_dir()]
    assert len(libraries) >= 2
    assert smoke.manifest["config"]["gpt"]["spectral"]["enabled"] is False


def test_plain_transformers_gives_the_test_loss(spectral: Run, out: Path) -> None:
    gpt2 = AutoModelForCausalLM.from_pretrained(spectral.path / "models" / "gpt")
    assert not gpt2.config.tie_word_embeddings
    dataset = Dataset.load(out / "datasets" / spectral.manifest["data_fingerprint"], block_size=32)
    model = StoredModel.load(spectral.path / "models" / "gpt").model
    inputs, targets = dataset.splits["test"].blocks(slice(None))
    told = {row["model"]: row["test_loss"] for row in spectral.results.to_pylist()}
    assert model.token_nll(inputs, targets).mean() == pytest.approx(told["gpt"], abs=1e-5)


def test_the_warm_start_is_told_apart_from_the_sweep(spectral: Run) -> None:
    note = spectral.manifest["warm_start"]
    told = {row["model"]: row for row in spectral.results.to_pylist()}
    assert note["start_loss"] == pytest.approx(told["gpt"]["validation_loss"], abs=1e-3)
    assert note["validation_loss"] == pytest.approx(told["warm_start"]["validation_loss"])
    assert note["validation_loss"] < note["start_loss"]
    assert note["scratch_loss"] == pytest.approx(told["adamw"]["validation_loss"])
    assert spectral.warm_start["lr"].unique().to_pylist() == [1e-3]
    assert spectral.baseline["lr"].unique().to_pylist() == [3e-3]
    stages = {row["stage"] for row in spectral.energy.to_pylist()}
    assert "warm_start" in stages
    # all that the found model took, and the steps from it
    assert told["warm_start"]["energy_j"] > told["gpt"]["energy_j"]
    report = (spectral.path / "report.html").read_text()
    assert "From the crystalline GPT that the search found" in report


def test_muon_goes_on_from_the_found_model_too(
    spectral: Run, out: Path, smoke_yaml: str, invoke: Callable[..., str]
) -> None:
    muon = WARM.replace("enabled: true", "enabled: true, optimizer: muon")
    opponent = (
        "opponents.models=[{network: lstm, n_embd: 8, learning_rates: [1.0e-3], dropouts: [0.0], "
        "weight_decays: [0.1], passes: [1]}]"
    )
    values = (*SPECTRAL, muon, opponent, "name=muon")
    sets = [part for value in values for part in ("--set", value)]
    invoke("run", smoke_yaml, "--no-prefect", "--out", str(out), *sets)
    (path,) = (out / "runs").glob("muon-*")
    run = load_run(path)
    note, other = run.manifest["warm_start"], spectral.manifest["warm_start"]
    assert note["start_loss"] == other["start_loss"]
    assert note["validation_loss"] < note["start_loss"]
    assert note["validation_loss"] != other["validation_loss"]
    page = (path / "report.html").read_text()
    assert "Muon, warm start" in page
    assert "AdamW, warm start" not in page
    assert "of the strongest gradient model" in page


def test_smoke_has_none_of_it(smoke: Run) -> None:
    assert not smoke.has("warm_start")
    assert "warm_start" not in smoke.results["model"].to_pylist()
