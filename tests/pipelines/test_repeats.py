"""Models of a run made again: what is stored, resumed and refused, and that the run stays."""

import shutil
from hashlib import sha256
from pathlib import Path

import pytest
from typer.testing import CliRunner

from clso.artifacts import Run, load_run
from clso.energy import DeviceEnergy, Measurement
from clso.errors import ArtifactError, ConfigError
from pipelines import repeats
from pipelines.cli import app
from pipelines.repeats import repeat, repeated_run


@pytest.fixture
def own(smoke: Run, tmp_path: Path) -> Run:
    """A copy of the smoke run beside a link to its data set."""
    out = tmp_path / "out"
    (out / "runs").mkdir(parents=True)
    (out / "datasets").symlink_to(smoke.path.parents[1] / "datasets")
    shutil.copytree(smoke.path, out / "runs" / smoke.run_id)
    return load_run(out / "runs" / smoke.run_id)


class Makings:
    """Stands for the makings; `stop_at` interrupts one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: list[str] = []
        self.stop_at: int | None = None
        monkeypatch.setattr(repeats._Making, "measured", lambda making, _: self(making.model))

    def __call__(self, model: str) -> Measurement:
        if self.stop_at == len(self.made):
            raise KeyboardInterrupt
        self.made.append(model)
        joules = {"gpt": 10.0, "adamw": 20.0}[model] + len(self.made)
        return Measurement(1.0, (DeviceEnergy("cpu", joules, "rapl", False),), cpu_s=2.0)


@pytest.fixture
def makings(monkeypatch: pytest.MonkeyPatch) -> Makings:
    return Makings(monkeypatch)


def files(run: Run) -> dict[str, str]:
    """Return a digest of every file of a run but the repeats."""
    return {
        str(path.relative_to(run.path)): sha256(path.read_bytes()).hexdigest()
        for path in run.path.rglob("*")
        if path.is_file() and "energy_repeats" not in str(path)
    }


def test_models_take_turns_and_the_run_stays(own: Run, makings: Makings) -> None:
    before = files(own)
    table = repeat(own, 3)
    assert makings.made == ["gpt", "adamw"] * 3
    assert files(own) == before
    assert load_run(own.path).energy_repeats.equals(table)
    assert sorted(zip(*(table[name].to_pylist() for name in ("model", "repeat")), strict=True)) == [
        (model, number) for model in ("adamw", "gpt") for number in range(3)
    ]
    assert table["cpu_s"].to_pylist() == [2.0] * 6


def test_repeats_that_are_there_stay(own: Run, makings: Makings) -> None:
    makings.stop_at = 3
    with pytest.raises(KeyboardInterrupt):
        repeat(own, 2)
    half = load_run(own.path).energy_repeats
    assert half.num_rows == 3
    makings.stop_at = None
    whole = repeat(own, 2)
    assert makings.made == ["gpt", "adamw", "gpt", "adamw"]
    assert set(map(str, half.to_pylist())) <= set(map(str, whole.to_pylist()))
    assert repeat(own, 2).equals(whole)
    assert repeat(own, 3).num_rows == 6
    assert len(makings.made) == 6
    assert repeat(own, 2, fresh=True).num_rows == 4


def test_the_command_prints_shares_with_intervals(own: Run, makings: Makings) -> None:
    del makings
    arguments = [
        "energy",
        "repeat",
        own.run_id,
        "--repeats",
        "3",
        "--out",
        str(own.path.parents[1]),
    ]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "as a share of AdamW GPT-2" in " ".join(done.output.split())
    shown = CliRunner().invoke(app, ["energy", "show", *arguments[2:3], *arguments[-2:]])
    assert "Models made again, 3 repeats" in shown.output
    assert "Energy of making, and of use" in shown.output


def test_models_that_cannot_be_made_again_are_named(own: Run) -> None:
    with pytest.raises(ConfigError, match="no model 'hybrid' that can be made again"):
        repeat(own, 2, models=["hybrid", "gpt"])
    with pytest.raises(ConfigError, match="a ratio needs two"):
        repeat(own, 2, models=["gpt"])


def test_a_run_that_is_not_finished_is_refused(own: Run, makings: Makings, tmp_path: Path) -> None:
    own.folder.table("results").unlink()
    with pytest.raises(ArtifactError, match="has no results yet"):
        repeat(load_run(own.path), 2)
    assert makings.made == []
    config = tmp_path / "other.yaml"
    config.write_text("data: {source: package}\nseed: 5\n")
    with pytest.raises(ArtifactError, match="has no run in"):
        repeated_run(str(config), own.path.parents[1])


@pytest.mark.slow
def test_a_making_does_the_work_again(own: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Libraries and searches are made anew in a folder that is gone afterwards."""
    folders: list[Path] = []
    original = repeats.TemporaryDirectory

    def directory(prefix: str) -> object:
        made = original(prefix=prefix)
        folders.append(Path(made.name))
        return made

    monkeypatch.setattr(repeats, "TemporaryDirectory", directory)
    before = files(own)
    table = repeat(own, 2)
    assert files(own) == before
    assert len(folders) == 4
    assert not any(folder.exists() for folder in folders)
    stages = {row["stage"]: row["energy_j"] for row in own.energy.to_pylist()}
    for row in table.to_pylist():
        assert row["energy_source"] == "cpu_model"
        # the first making of the run took about as much; a cached one would take next to nothing
        made = stages["search"] if row["model"] == "gpt" else stages["baseline"]
        assert row["energy_j"] > 0.2 * made


def test_the_winner_is_made_without_the_rest_of_its_sweep(smoke: Run) -> None:
    from pipelines.config import RunConfig
    from pipelines.stages.baseline import BASELINE

    config = RunConfig.model_validate(smoke.config)
    wide = config.with_overrides({"baseline.learning_rates": [1e-3, 3e-3, 9e-3]}, where="test")
    alone = BASELINE.winner_alone(wide, smoke.manifest).baseline
    settings = smoke.manifest["baseline"]["winner"]["settings"]
    assert alone.learning_rates == (settings["lr"],)
    assert (alone.batch_sizes, alone.dropouts) == (
        (settings["batch_size"],),
        (settings["dropout"],),
    )
    assert (alone.schedules, alone.extend) == ((settings["schedule"],), 0)


def test_use_is_measured_for_every_model(smoke: Run) -> None:
    for row in smoke.results.to_pylist():
        assert row["scoring_j_per_token"] > 0
        assert row["generation_j_per_token"] > row["scoring_j_per_token"]
        assert (row["use_energy_source"], row["use_estimated"]) == ("cpu_model", True)
        assert row["cpu_s"] >= 0
