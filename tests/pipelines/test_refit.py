"""A mixture counted on all text: what it knows, what its card says, and that the run stays."""

import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from clso.artifacts import Run, load_run
from clso.data import Dataset
from clso.errors import ArtifactError, ClsoError, ConfigError
from clso.models import StoredModel
from pipelines import refit as module
from pipelines.cli import app
from pipelines.refit import refit

SETS = (
    "name=counted",
    "families=[mixture]",
    "baseline.enabled=false",
    "mixture.slots=3",
    "mixture.search_tokens=800",
    "mixture.library={class_maps: [k16], class_targets: [], gated_maps: [], functions: []}",
    "mixture.search={population: 4, generations: 1, finalists: 1, surrogate: {kind: none}}",
    "analysis.resamples=100",
)


@pytest.fixture(scope="module")
def counted(out: Path, smoke: Run, smoke_yaml: str, invoke: Callable[..., str]) -> Run:
    del smoke  # its data set lies there already
    sets = [part for value in SETS for part in ("--set", value)]
    invoke("run", smoke_yaml, "--no-prefect", "--out", str(out), *sets)
    (path,) = (out / "runs").glob("counted-*")
    return load_run(path)


@pytest.fixture(scope="module")
def folder(counted: Run, out: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    to = tmp_path_factory.mktemp("refit") / "all-text"
    arguments = ["refit", counted.run_id, "--to", str(to), "--out", str(out)]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "without a test figure" in done.output
    return to


@pytest.fixture(scope="module")
def dataset(counted: Run, out: Path) -> Dataset:
    path = out / "datasets" / counted.manifest["data_fingerprint"]
    return Dataset.load(path, block_size=counted.config["data"]["block_size"])


def test_it_is_a_proper_distribution_with_the_weights_of_the_run(
    counted: Run, folder: Path, dataset: Dataset
) -> None:
    own = StoredModel.load(counted.path / "models" / "mixture").model
    refitted = StoredModel.load(folder).model
    inputs, _ = dataset.splits["validation"].blocks(slice(0, 1))
    for length in (1, 5, 20):
        assert refitted.distribution(inputs[0, :length]).sum() == pytest.approx(1.0, abs=1e-9)
    assert np.array_equal(own.weights.table, refitted.weights.table)
    names = [function.name for function in refitted.functions]
    assert names == [function.name for function in own.functions]


def test_it_knows_what_only_test_had(
    counted: Run, folder: Path, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pairs of tokens that only test has are likelier than in a model that has not read test."""

    def pairs(name: str) -> list[tuple[int, int]]:
        stream = dataset.splits[name].stream
        return list(pairwise(stream.slice(0, len(stream)).tolist()))

    whole = module._whole
    monkeypatch.setattr(
        module,
        "_whole",
        lambda split: split.head(split.block_size) if split.name == "test" else whole(split),
    )
    refit(counted, tmp_path / "without")
    without, refitted = (StoredModel.load(path).model for path in (tmp_path / "without", folder))
    known = {pair for name in ("train", "tune", "validation") for pair in pairs(name)}
    new = [pair for pair in dict.fromkeys(pairs("test")) if pair not in known]
    assert new
    for first, second in new[:5]:
        history = np.array([first])
        assert refitted.distribution(history)[second] > without.distribution(history)[second]


def test_every_token_of_the_data_set_is_counted(folder: Path, dataset: Dataset) -> None:
    n_tokens = sum(len(split.stream) for split in dataset.splits.values())
    assert f"{n_tokens:,} tokens" in (folder / "README.md").read_text()


def test_its_card_says_that_there_is_no_test_figure(counted: Run, folder: Path) -> None:
    card = (folder / "README.md").read_text()
    for expected in (
        "It has no test figure",
        f"clso refit {counted.run_id} --to",
        "train ",
        "test ",
        "Counting took",
    ):
        assert expected in card
    assert "The results hold for text like its test split" not in card
    head = yaml.safe_load(card.split("---")[1])
    assert head["tags"] == ["clso", "crystalline"]


def test_the_run_stays_and_nothing_new_is_listed(counted: Run, folder: Path, out: Path) -> None:
    del folder
    assert load_run(counted.path).results.equals(counted.results)
    listed = CliRunner().invoke(app, ["ls", "--out", str(out)]).output
    assert "all-text" not in listed


@pytest.mark.parametrize("model", ["gpt", "adamw", "hybrid"])
def test_models_that_do_not_count_are_refused(smoke: Run, model: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is no model that only counts"):
        refit(smoke, tmp_path / "to", model)
    with pytest.raises(ConfigError, match="has no model that only counts"):
        refit(smoke, tmp_path / "to")


def test_folders_that_cannot_be_used_are_refused(counted: Run, tmp_path: Path) -> None:
    with pytest.raises(ClsoError, match="exists already"):
        refit(counted, tmp_path)
    with pytest.raises(ClsoError, match="lies in the run itself"):
        refit(counted, counted.path / "inside")


def test_a_missing_library_is_told(counted: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(counted.path, out / "runs" / counted.run_id)
    (out / "datasets").symlink_to(counted.path.parents[1] / "datasets")
    run = load_run(out / "runs" / counted.run_id)
    with pytest.raises(ArtifactError, match="is missing"):
        refit(run, tmp_path / "to")
    assert not (tmp_path / "to").exists()
