"""Damaged files, and files of another run: never another number, always the file's name."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from damage import interrupt, made_twice, reading, try_damages
from typer.testing import CliRunner

from clso.artifacts import Run, load_run
from pipelines.cli import app

MIXED = (
    "families=[gpt, mixture]",
    "mixture.slots=4",
    "mixture.search_tokens=1600",
    "mixture.library={class_maps: [k16], class_targets: [k16], gated_maps: [k16], functions: []}",
    "mixture.search={population: 8, generations: 4, finalists: 2,"
    " surrogate: {kind: ridge, start: 2, full_eval_fraction: 0.5}}",
    "opponents.models=[{network: lstm, n_layer: 1, n_embd: 8, learning_rates: [2.0e-2],"
    " batch_sizes: [16], dropouts: [0.1], weight_decays: [0.1], passes: [1], extend: 0}]",
)


def damaged_at_random(
    root: Path, smoke_yaml: str, invoke: Callable[..., str], count: int, *sets: str
) -> None:
    def make(out: Path, seed: int) -> None:
        options = [part for value in (*sets, f"seed={seed}") for part in ("--set", value)]
        invoke("run", smoke_yaml, "--no-prefect", "--out", str(out), *options)

    run, twins = made_twice(make, root)
    interrupt(run)
    with reading(run) as readers:
        tally = try_damages(readers, twins, count, seed=count)
    print(tally)
    assert sum(tally.tried.values()) == count
    assert tally.wrong == []
    assert min(tally.refused.values()) > 0


def test_random_damages_are_refused_by_name_or_change_nothing(
    tmp_path: Path, smoke_yaml: str, invoke: Callable[..., str]
) -> None:
    damaged_at_random(tmp_path, smoke_yaml, invoke, 60)


@pytest.mark.slow
def test_of_a_thousand_damages_none_shows_a_wrong_number(
    tmp_path: Path, smoke_yaml: str, invoke: Callable[..., str]
) -> None:
    damaged_at_random(tmp_path, smoke_yaml, invoke, 1000, *MIXED)


@pytest.fixture
def copied(smoke: Run, tmp_path: Path) -> Run:
    """A copy of a run in an output folder of its own, with the run's data set and library."""
    out = smoke.path.parents[1]
    for name in ("datasets", "libraries"):
        (tmp_path / name).symlink_to(out / name)
    return load_run(shutil.copytree(smoke.path, tmp_path / "runs" / smoke.run_id))


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


COMMANDS = {
    "manifest.json": (["show"], ["report"], ["compare"], ["generate"], ["export"], ["watch"]),
    "results.parquet": (["show"], ["report"], ["compare"], ["watch"]),
    "stages/search.done.json": (["watch"],),
    "models/adamw/model.safetensors": (["generate"], ["export"]),
    "models/adamw/tokenizer.json": (["generate"], ["export"]),
    "models/adamw/checksums.json": (["generate"], ["export"]),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_refuses_a_damaged_file_by_name(
    copied: Run, smoke: Run, tmp_path: Path, name: str
) -> None:
    flip(copied.path / name)
    run, out = str(copied.path), str(tmp_path)
    more = {
        "compare": [str(smoke.path)],
        "generate": ["--model", "adamw"],
        "export": ["--model", "adamw", "--to", str(tmp_path / "exported")],
    }
    for (command,) in COMMANDS[name]:
        asked = [command, run, *more.get(command, []), "--out", out]
        error = CliRunner().invoke(app, asked).exception
        assert getattr(error, "exit_status", None) == 1, (command, error)
        assert name in str(error), (command, error)
    assert not (tmp_path / "exported").exists()


def test_other_runs_are_listed_beside_one_with_a_damaged_manifest(
    copied: Run, tmp_path: Path, invoke: Callable[..., str]
) -> None:
    other = shutil.copytree(copied.path, tmp_path / "runs" / "other")
    flip(other / "manifest.json")
    listed = invoke("ls", "--out", str(tmp_path))
    assert copied.run_id in listed
    assert "damaged" in listed
