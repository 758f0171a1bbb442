"""A run with a mixture and the hybrid: what they score, what is reused, what survives."""

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pytest
from data_columns import data_columns
from typer.testing import CliRunner

from clso.artifacts import Parts, Run, load_run
from clso.data import Dataset
from clso.errors import ConfigError
from clso.mixture.model import CrystallineMixture
from clso.mixture.weights import MixtureWeights
from pipelines.cli import app

SETS = (
    "families=[mixture]",
    "mixture.slots=4",
    "mixture.search_tokens=1600",
    "mixture.library={class_maps: [k16], class_targets: [k16], gated_maps: [k16], functions: []}",
    "mixture.search={population: 8, generations: 4, finalists: 2,"
    " surrogate: {kind: ridge, start: 2, full_eval_fraction: 0.5}}",
)


def arguments(smoke_yaml: str, out: Path, *more: str) -> list[str]:
    sets = [part for value in (*SETS, *more) for part in ("--set", value)]
    return ["run", smoke_yaml, "--no-prefect", "--out", str(out), *sets]


@pytest.fixture(scope="module")
def mixture(out: Path, smoke: Run, smoke_yaml: str, invoke: Callable[..., str]) -> Run:
    del smoke  # its data set lies there already
    invoke(*arguments(smoke_yaml, out, "name=mixture"))
    (path,) = (out / "runs").glob("mixture-*")
    return load_run(path)


def losses(run: Run) -> dict[str, float]:
    return {row["model"]: row["test_loss"] for row in run.results.to_pylist()}


def test_counting_and_pointing_beat_every_floor_and_the_small_network(mixture: Run) -> None:
    found = losses(mixture)
    assert list(found) == [
        "uniform",
        "unigram",
        "bigram",
        "kneser_ney",
        "mixture",
        "adamw",
        "hybrid",
    ]
    assert found["mixture"] < found["kneser_ney"] < found["adamw"]
    assert found["hybrid"] < found["adamw"]


def test_the_stored_model_gives_the_test_loss_and_sums_to_one(mixture: Run, out: Path) -> None:
    dataset = Dataset.load(out / "datasets" / mixture.manifest["data_fingerprint"], block_size=32)
    inputs, targets = dataset.splits["test"].blocks(slice(None))
    for name in ("mixture", "hybrid"):
        model = CrystallineMixture.load(mixture.path / "models" / name)
        nll = model.token_nll(inputs, targets)
        assert nll.mean() == pytest.approx(losses(mixture)[name], abs=1e-6)
        probabilities = model.probabilities(inputs[:1, :5])
        assert np.abs(probabilities.sum(axis=-1) - 1).max() < 1e-6


def test_the_joules_of_a_model_are_those_of_all_its_stages(mixture: Run) -> None:
    energy = {row["model"]: row["energy_j"] for row in mixture.results.to_pylist()}
    stages = {row["stage"]: row["energy_j"] for row in mixture.energy.to_pylist()}
    assert {"functions", "mixture", "hybrid"} <= stages.keys()
    assert "search" not in stages
    assert energy["mixture"] == pytest.approx(stages["functions"] + stages["mixture"])
    trained = mixture.manifest["baseline"]["winner"]["training"]["devices"][0]["energy_j"]
    assert energy["hybrid"] == pytest.approx(energy["mixture"] + stages["hybrid"] + trained)


def test_the_report_and_the_manifest_name_the_functions(mixture: Run) -> None:
    best = mixture.manifest["best"]["mixture"]
    assert 1 <= len(best["functions"]) <= 4
    assert mixture.manifest["hybrid"]["functions"] == [*best["functions"], "neural(adamw)"]
    (genes,) = mixture.manifest["genes"]["mixture"]
    assert genes["genes"] == 4
    assert "crystalline mixture" in mixture.folder.report_path.read_text(encoding="utf-8")


def test_another_search_reuses_the_columns(
    mixture: Run, out: Path, smoke_yaml: str, invoke: Callable[..., str]
) -> None:
    invoke(*arguments(smoke_yaml, out, "name=fewer", "mixture.slots=3", "baseline.enabled=false"))
    (path,) = (out / "runs").glob("fewer-*")
    reused = {row["stage"]: row["reused"] for row in load_run(path).energy.to_pylist()}
    assert reused["functions"]
    assert not reused["mixture"]
    assert "hybrid" not in losses(load_run(path))
    assert mixture.run_id != path.name


@pytest.mark.slow
def test_weights_are_fitted_on_all_text_by_folds(
    mixture: Run, out: Path, smoke_yaml: str, invoke: Callable[..., str]
) -> None:
    sets = ("mixture.folds=3", "mixture.trees=[count1*match>k16]", "baseline.enabled=false")
    invoke(*arguments(smoke_yaml, out, "name=folded", *sets))
    (path,) = (out / "runs").glob("folded-*")
    folded = load_run(path)
    found = losses(folded)
    assert found["mixture"] < found["kneser_ney"]
    assert found["mixture"] != losses(mixture)["mixture"]
    model = CrystallineMixture.load(path / "models" / "mixture")
    searched = folded.manifest["best"]["mixture"]["bucketing"]
    assert model.bucketing in {searched, "count1*match>k16"}
    dataset = Dataset.load(out / "datasets" / folded.manifest["data_fingerprint"], block_size=32)
    inputs, targets = dataset.splits["test"].blocks(slice(None))
    nll = model.token_nll(inputs, targets)
    assert nll.mean() == pytest.approx(found["mixture"], abs=1e-6)


@pytest.mark.slow
def test_a_killed_search_goes_on_and_both_families_share_the_tables(
    out: Path,
    tmp_path: Path,
    smoke_yaml: str,
    invoke: Callable[..., str],
    mixture: Run,
    smoke: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    both = ("families=[gpt, mixture]", "baseline.enabled=false", "name=both")
    written: list[str] = []
    original = Parts.write

    def killed(parts: Parts, part: int, rows: Iterable[Mapping[str, Any]]) -> None:
        if parts.folder.name == "mixture" and part == 2:
            raise KeyboardInterrupt
        written.append(f"{parts.folder.name}-{part}")
        original(parts, part, rows)

    monkeypatch.setattr(Parts, "write", killed)
    CliRunner().invoke(app, arguments(smoke_yaml, tmp_path, *both))
    assert "mixture-1" in written
    (path,) = (tmp_path / "runs").iterdir()
    halfway = load_run(path)
    families = pc.value_counts(halfway.evaluations["family"]).to_pylist()
    assert {row["values"] for row in families} == {"gpt", "mixture"}
    monkeypatch.undo()
    invoke(*arguments(smoke_yaml, tmp_path, *both))
    resumed = load_run(path)
    for run, family in ((smoke, "gpt"), (mixture, "mixture")):
        expected = data_columns(run.evaluations.filter(pc.field("family") == family))
        found = data_columns(resumed.evaluations.filter(pc.field("family") == family))
        assert found.drop_columns(["run_id"]).equals(expected.drop_columns(["run_id"]))
    assert json.dumps(resumed.manifest["best"]["mixture"]) == json.dumps(
        mixture.manifest["best"]["mixture"]
    )


def test_the_hybrids_weights_are_what_the_network_leaves_to_the_mixture() -> None:
    rng = np.random.default_rng(0)
    own = rng.dirichlet(np.ones(5), 7)
    joined = MixtureWeights(own.mean(axis=0), own).with_share(0.3)
    assert joined.table.shape == (7, 6)
    assert np.allclose(joined.table.sum(axis=1), 1.0, atol=1e-12)
    assert np.isclose(joined.shared.sum(), 1.0, atol=1e-12)
    probabilities = rng.random((7, 5))
    network = rng.random(7)
    expected = 0.7 * (own * probabilities).sum(axis=1) + 0.3 * network
    found = (joined.table * np.column_stack([probabilities, network])).sum(axis=1)
    assert np.allclose(found, expected)


@pytest.mark.slow
def test_the_found_gpt_can_be_a_function_that_mixtures_pick(
    out: Path, smoke: Run, smoke_yaml: str, invoke: Callable[..., str]
) -> None:
    del smoke  # its data set lies there already
    invoke(
        *arguments(
            smoke_yaml,
            out,
            "families=[gpt, mixture]",
            "name=network",
            "baseline.enabled=false",
            "mixture.crystalline_gpt=true",
            "mixture.slots=2",
            "gpt.library.size=2",
            "gpt.spectral={enabled: true, size: 4, embeddings: 2, readouts: 4, recent_width: 6,"
            " topic_width: 6}",
            "mixture.library={patterns: [], class_maps: [], class_targets: [], gated_maps: [],"
            " cache_half_lives: [], induction_lengths: [], functions: []}",
        )
    )
    (path,) = (out / "runs").glob("network-*")
    run = load_run(path)
    assert "neural(gpt)" in run.manifest["best"]["mixture"]["functions"]
    model = CrystallineMixture.load(path / "models" / "mixture")
    dataset = Dataset.load(out / "datasets" / run.manifest["data_fingerprint"], block_size=32)
    inputs, targets = dataset.splits["test"].blocks(slice(None))
    nll = model.token_nll(inputs, targets).mean()
    assert nll == pytest.approx(losses(run)["mixture"], abs=1e-6)
    energy = {row["model"]: row["energy_j"] for row in run.results.to_pylist()}
    assert energy["mixture"] > energy["gpt"]


def test_a_network_that_is_not_searched_cannot_be_picked(tmp_path: Path, smoke_yaml: str) -> None:
    command = arguments(smoke_yaml, tmp_path, "mixture.crystalline_gpt=true")
    with pytest.raises(ConfigError, match="add gpt to families"):
        CliRunner().invoke(app, command, catch_exceptions=False)
