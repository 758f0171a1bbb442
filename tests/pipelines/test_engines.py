"""A run gives the same on every engine: its data columns, libraries and models."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from data_columns import data_columns

from clso.artifacts import Run, load_run
from clso.data.corpus import file_sha256

SETS = (
    "name=engines",
    "families=[gpt, mixture]",
    "mixture.slots=4",
    "mixture.search_tokens=1600",
    "mixture.library={class_maps: [k16], class_targets: [k16], gated_maps: [k16]}",
    "mixture.search={population: 8, generations: 3, finalists: 2}",
    "search.generations=3",
    "baseline={learning_rates: [1.0e-3, 3.0e-3], batch_sizes: [8, 16], eval_points: 2, extend: 1,"
    " strategy: one_at_a_time, warm_start: {enabled: true, eval_points: 2}}",
    "analysis.resamples=100",
    "runtime.workers=2",
)

pytestmark = pytest.mark.slow


def stored(folder: Path, suffix: str = "") -> dict[str, str]:
    """Return the digests of the files of a folder, without stages' records of time and joules."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {
        str(path.relative_to(folder)): file_sha256(path)
        for path in files
        if path.name.endswith(suffix) and path.suffix != ".json"
    }


def finished(smoke_yaml: str, out: Path, *more: str) -> Run:
    """Run in a process of its own, as a user does, and return the stored run."""
    sets = [part for value in (*SETS, *more) for part in ("--set", value)]
    command = [sys.executable, "-m", "pipelines", "run", smoke_yaml, "--no-prefect"]
    done = subprocess.run(
        [*command, "--out", str(out), *sets], capture_output=True, text=True, timeout=1800
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = (out / "runs").iterdir()
    return load_run(path)


@pytest.fixture(scope="module")
def local(smoke_yaml: str, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return finished(smoke_yaml, tmp_path_factory.mktemp("local"))


@pytest.mark.parametrize("engine", ["dask", "ray"])
def test_a_run_is_the_same_on_every_engine(
    engine: str, local: Run, smoke_yaml: str, tmp_path: Path
) -> None:
    own_out = local.path.parents[1]
    shutil.copytree(own_out / "datasets", tmp_path / "datasets")
    run = finished(smoke_yaml, tmp_path, f"runtime.engine={engine}")
    assert run.path.name == local.path.name
    for name in ("evaluations", "generations", "baseline", "warm_start", "results"):
        assert data_columns(run.table(name)) == data_columns(local.table(name)), name
    assert stored(own_out / "libraries") == stored(tmp_path / "libraries")
    assert stored(run.path / "models", ".safetensors") == stored(
        local.path / "models", ".safetensors"
    )
    winner = run.manifest["baseline"]["winner"]
    own_winner = local.manifest["baseline"]["winner"]
    assert winner["training"]["duration_s"] > 0
    assert {**winner, "training": 0} == {**own_winner, "training": 0}


def test_workers_and_threads_change_the_last_digits_of_networks_at_most(
    local: Run, smoke_yaml: str, tmp_path: Path
) -> None:
    single = finished(smoke_yaml, tmp_path, "runtime.workers=1", "runtime.threads=1")
    for name in ("evaluations", "generations"):
        assert data_columns(single.table(name)) == data_columns(local.table(name)), name
    rows = zip(single.results.to_pylist(), local.results.to_pylist(), strict=True)
    for mine, theirs in rows:
        network = mine["model"] in ("adamw", "warm_start", "hybrid")
        difference = abs(mine["test_loss"] - theirs["test_loss"])
        assert difference <= (1e-7 if network else 0.0), mine["model"]
    assert set(single.baseline["threads"].to_pylist()) == {1}
