"""Opening a run's folder: what a fresh start keeps, and what the manifest says of the work."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer

from clso.artifacts import load_run
from clso.errors import ConfigError, DataError, EngineError
from clso.progress import SILENT
from pipelines import experiment
from pipelines.config import RunConfig, load_config
from pipelines.context import RunContext
from pipelines.folders import output_folder
from pipelines.options import interruptible
from pipelines.stages.analyze import energy_rows
from pipelines.stages.data import PREPARE


@pytest.fixture
def config(smoke_yaml: str) -> RunConfig:
    return load_config(smoke_yaml)


def opened(config: RunConfig, out: Path, *, fresh: bool = False) -> Path:
    with RunContext.open(config, out, SILENT, fresh=fresh) as run:
        return run.folder.path


def test_a_fresh_start_that_cannot_begin_loses_nothing(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = opened(config, tmp_path) / "work"
    work.touch()
    overrides = {"runtime.tracking": {"to": ["mlflow"], "mlflow_uri": "http://me:***@host"}}
    with pytest.raises(ConfigError):
        opened(config.with_overrides(overrides, where="here"), tmp_path, fresh=True)
    assert work.exists()

    def refused(*_: object, **__: object) -> None:
        raise EngineError("there is no cluster")

    with monkeypatch.context() as patch:
        patch.setattr(experiment, "open_engine", refused)
        with pytest.raises(EngineError):
            opened(config, tmp_path, fresh=True)
    assert work.exists()
    opened(config, tmp_path, fresh=True)
    assert not work.exists()
    assert [path.name for path in work.parents[1].iterdir()] == [work.parent.name]


def test_a_run_begins_with_the_file_that_starts_it_again(config: RunConfig, tmp_path: Path) -> None:
    file = opened(config, tmp_path) / "config.yaml"
    assert load_config(str(file)) == config
    opened(load_config(str(file)), tmp_path, fresh=True)
    assert load_config(str(file)) == config


def test_a_remainder_of_an_interrupted_fresh_start_is_deleted(
    config: RunConfig, tmp_path: Path
) -> None:
    path = opened(config, tmp_path)
    (path.parent / f".{path.name}.77-ab.old").mkdir()
    opened(config, tmp_path)
    assert list(path.parent.iterdir()) == [path]


def test_a_studys_section_is_noted_and_stays(config: RunConfig, tmp_path: Path) -> None:
    studied = config.with_overrides({"savings": {"seeds": 4}}, where="here")
    for asked in (config, studied, config):
        with RunContext.open(asked, tmp_path, SILENT) as run:
            run.note_work()
    assert load_run(run.folder.path).config["savings"]["seeds"] == 4


def test_a_tilde_is_the_users_home(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert output_folder("~/clso") == output_folder(Path("~/clso")) == tmp_path / "clso"
    assert opened(config, Path("~/clso")).is_relative_to(tmp_path / "clso")


def test_an_interrupt_that_a_library_makes_an_import_error_is_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    told = ModuleNotFoundError("no module")
    told.__cause__ = KeyboardInterrupt()
    with pytest.raises(typer.Exit) as ended, interruptible():
        raise told
    assert ended.value.exit_code == 130
    assert "interrupted; the same command continues" in capsys.readouterr().err
    with pytest.raises(ModuleNotFoundError, match="another"), interruptible():
        raise ModuleNotFoundError("another")


@pytest.fixture
def texts_config(config: RunConfig, tmp_path: Path) -> RunConfig:
    folder = tmp_path / "texts"
    folder.mkdir()
    for number in range(20):
        (folder / f"{number:02}.txt").write_text(f"{number} is a number of words. " * 40)
    overrides = {
        "data.source": "files",
        "data.files": {"train": str(folder / "*.txt")},
        "data.fractions": {"train": 0.7, "tune": 0.1, "validation": 0.1, "test": 0.1},
        "data.train_tokens": None,
        "data.block_size": 8,
        "model.n_layer": 1,
        "baseline.enabled": False,
    }
    return config.with_overrides(overrides, where="here")


def test_a_run_is_named_by_the_text_that_it_prepares(
    texts_config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_engine = experiment.open_engine

    def losing(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        for path in sorted((tmp_path / "texts").iterdir())[:15]:
            path.unlink()
        return open_engine(*args, **kwargs)

    monkeypatch.setattr(experiment, "open_engine", losing)
    with RunContext.open(texts_config, tmp_path / "out", SILENT) as run:
        assert run.run_id == texts_config.run_id(run.experiment.data_fingerprint)
        with pytest.raises(DataError, match="text has changed since the command began"):
            PREPARE.run(run)
    assert not list((tmp_path / "out" / "datasets").glob("[!.]*"))


def test_text_that_goes_after_prepare_changes_nothing_in_its_run(
    texts_config: RunConfig, tmp_path: Path
) -> None:
    with RunContext.open(texts_config, tmp_path / "out", SILENT) as run:
        PREPARE.run(run)
        used = run.manifest["dataset"]
        for path in sorted((tmp_path / "texts").iterdir())[:15]:
            path.unlink()
        PREPARE.run(run)
        assert run.manifest["dataset"] == used
        # another division of the text needs the text again
        other = texts_config.with_overrides({"seed": 7}, where="here")
        with pytest.raises(DataError, match="text has changed since the command began"):
            run.experiment.varied(other)


def test_permission_for_duplicates_makes_no_other_run(config: RunConfig) -> None:
    allowed = config.with_overrides({"data.duplicates": "allow"}, where="here")
    assert allowed.run_id("data") == config.run_id("data")


@pytest.mark.filterwarnings("ignore:none gives no energy")
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_stage_on_a_gpu_without_meter_has_not_the_processors_joules_alone(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    config = config.replaced(
        runtime=config.runtime.replaced(device=device),
        energy=config.energy.replaced(meter="cpu_model"),
    )
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    with (
        experiment.Experiment.open(config, tmp_path, SILENT, fingerprint="f") as base,
        base.monitor.window() as window,
    ):
        assert base.device == device
        sum(range(200_000))
    record = SimpleNamespace(measurement=window.measurement, owner="u")
    run = SimpleNamespace(
        records={"baseline": record}, run_id="r", uid="u", config=SimpleNamespace(seed=0)
    )
    rows = energy_rows(run)  # type: ignore[arg-type]
    joules = {row["device"]: row["energy_j"] for row in rows}
    if device == "cuda":
        assert joules == {"cpu": None, "gpu": None}
        reasons = {row["device"]: row["reason"] for row in rows}
        assert reasons["cpu"] is None
        assert "no meter of this run reads a GPU" in reasons["gpu"]
    else:
        assert joules["cpu"] > 0
