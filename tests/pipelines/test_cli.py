"""What users get wrong, and what they are told: one sentence, a remedy, status 2, no traceback."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import pytest
from typer.testing import CliRunner

from clso.artifacts import Run, read_sealed, write_sealed
from pipelines.cli import app, main
from pipelines.config import load_config


class Told(NamedTuple):
    status: int
    error: str


@pytest.fixture
def clso(capsys: pytest.CaptureFixture[str]) -> Callable[..., Told]:
    """Run a command as `clso` does and return its exit status and what went to stderr."""

    def run(*arguments: str) -> Told:
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        code = ended.value.code
        return Told(code if isinstance(code, int) else 0, " ".join(capsys.readouterr().err.split()))

    return run


def completed(words: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("_CLSO_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split(" ")) - 1))
    done = CliRunner().invoke(app, [], prog_name="clso", catch_exceptions=False)
    return done.output.split()


def test_a_shell_completes_commands_configurations_and_runs(
    smoke: Run, out: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("original.yaml", "original.txt"):
        (tmp_path / name).touch()
    (tmp_path / "originals").mkdir()
    assert completed("clso pre", monkeypatch) == ["prepare"]
    assert completed("clso run q", monkeypatch) == ["quick"]
    offered = completed("clso run original", monkeypatch)
    assert offered[-2:] == ["original.yaml", "originals/"]
    assert "original_full" in offered
    assert smoke.run_id in completed(f"clso show --out {out} smo", monkeypatch)


def test_the_version_is_that_of_the_package(invoke: Callable[..., str]) -> None:
    assert invoke("--version") == f"clso {metadata.version('clso')}\n"


def text_file(tmp_path: Path, content: bytes) -> list[str]:
    (tmp_path / "text.txt").write_bytes(content)
    return ["--set", "data.source=files", "--set", f"data.files.train={tmp_path}/text.txt"]


CONFIG_MISTAKES = {
    "unknown key": ("sede=1", "sede: unknown key; did you mean 'seed'?"),
    "wrong type": ("search.population=many", "search.population: input should be a valid integer"),
    "impossible value": ("model.n_head=3", "n_embd 32 is not divisible by n_head 3"),
    "library of one": ("gpt.library.size=1", "greater than or equal to 2"),
    "fraction 0": ("search.surrogate.full_eval_fraction=0", "greater than 0"),
    "missing package": ("data.package.module=no_such_package", "no_such_package"),
    "missing resource": ("data.package.resource=no/such.txt", "no/such.txt"),
    "missing tokenizer": ("tokenizer={kind: gpt2, path: /no/such/folder}", "/no/such/folder"),
    "more tokens than there are": ("data.train_tokens=99000000", "lower the budget"),
    "more batches than there are": ("evaluation.batches=90000", "evaluation.batches"),
    "an infinite number": ("baseline.weight_decay=.inf", "less than or equal to"),
    "a truth value": ("seed=yes", "seed is true, expected another value"),
    "the same twice": ("baseline.learning_rates=[1e-3, 0.001]", "the list has an item twice"),
    "a GPU that is not there": ("runtime.device=cuda", "torch finds no GPU"),
    "a screening without a ladder": ("evaluation.screening=true", "search.fidelity.kind is none"),
    "a meter that is not there": ("energy={meter: replay, replay: no.jsonl}", "no.jsonl"),
}


@pytest.mark.parametrize("mistake", CONFIG_MISTAKES)
def test_a_mistake_in_the_configuration_is_told(
    tmp_path: Path, mistake: str, smoke_yaml: str, clso: Callable[..., Told]
) -> None:
    override, expected = CONFIG_MISTAKES[mistake]
    done = clso("run", smoke_yaml, "--no-prefect", "--out", str(tmp_path), "--set", override)
    assert done.status == 2, done.error
    assert expected in done.error


def test_several_mistakes_are_told_at_once(
    tmp_path: Path, smoke_yaml: str, clso: Callable[..., Told]
) -> None:
    mistakes = ("--set", "seed=-1", "--set", "model.n_head=3", "--set", "sede=1")
    done = clso("run", smoke_yaml, "--no-prefect", "--out", str(tmp_path), *mistakes)
    assert done.status == 2
    assert "3 mistakes" in done.error
    assert not any(tmp_path.iterdir())


TEXTS = {
    "empty": (b"", "empty"),
    "blank": (b" \n\n ", "text"),
    "binary": (b"\x00\x01\xff" * 500, "text.txt"),
    "too small": (b"a few words\n", "tokens"),
}


@pytest.mark.parametrize("kind", TEXTS)
def test_text_that_is_none_is_told(
    tmp_path: Path, kind: str, smoke_yaml: str, clso: Callable[..., Told]
) -> None:
    content, expected = TEXTS[kind]
    files = text_file(tmp_path, content)
    done = clso("run", smoke_yaml, "--no-prefect", "--out", str(tmp_path / "out"), *files)
    assert done.status == 2, done.error
    assert expected in done.error


def test_missing_text_is_told(tmp_path: Path, smoke_yaml: str, clso: Callable[..., Told]) -> None:
    files = ["--set", "data.source=files", "--set", "data.files.train=no/such/*.txt"]
    done = clso("prepare", smoke_yaml, "--no-prefect", "--out", str(tmp_path), *files)
    assert done.status == 2
    assert "no/such/*.txt" in done.error


@pytest.mark.slow
def test_a_mistake_inside_a_flow_is_told_as_plainly(tmp_path: Path, smoke_yaml: str) -> None:
    command = [sys.executable, "-m", "pipelines", "prepare", smoke_yaml, "--out", str(tmp_path)]
    done = subprocess.run(
        [*command, "--set", "data.train_tokens=99000000"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "lower the budget" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("options", [[], ["--no-prefect"]])
def test_an_output_folder_that_is_a_file_is_told(
    tmp_path: Path, options: list[str], smoke_yaml: str, clso: Callable[..., Told]
) -> None:
    (tmp_path / "file").touch()
    done = clso("prepare", smoke_yaml, *options, "--out", str(tmp_path / "file"))
    assert done.status == 2, done.error
    assert "cannot be written" in done.error


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["show", "nothing"], "there is no run 'nothing'"),
        (["show", "latest"], "there is no run in"),
        (["report", "nothing"], "there is no run 'nothing'"),
        (["compare", "nothing", "nothing"], "there is no run 'nothing'"),
        (["compare", "nothing"], "compare needs two runs or more"),
        (["ls"], "there is no run in"),
        (["show", ""], "there is no run ''"),
        (["export", "nothing", "--to", "x"], "there is no run 'nothing'"),
        (["run", "no.yaml"], "there is no configuration no.yaml"),
    ],
)
def test_a_run_or_file_that_is_not_there_is_told(
    tmp_path: Path, arguments: list[str], expected: str, clso: Callable[..., Told]
) -> None:
    done = clso(*arguments, "--out", str(tmp_path))
    assert done.status == 2, done.error
    assert expected in done.error


def test_a_damaged_table_is_refused_by_name(
    smoke: Run, tmp_path: Path, clso: Callable[..., Told]
) -> None:
    run = tmp_path / "runs" / "copy"
    shutil.copytree(smoke.path, run)
    (run / "results.parquet").write_bytes(b"PAR1 torn")
    done = clso("show", "copy", "--out", str(tmp_path))
    assert done.status == 1, done.error
    assert "results.parquet is torn or no Parquet file" in done.error
    shutil.copy(run / "scores.parquet", run / "results.parquet")
    done = clso("show", "copy", "--out", str(tmp_path))
    assert done.status == 1, done.error
    assert "holds the table 'scores', expected 'results'" in done.error


def test_one_run_by_two_names_is_not_compared(
    smoke: Run, out: Path, clso: Callable[..., Told]
) -> None:
    told = clso("compare", "smoke", smoke.run_id, "--out", str(out))
    assert told.status == 2
    assert f"smoke and {smoke.run_id} are one run, {smoke.run_id}, and a run does not" in told.error


def test_show_ls_compare_export_and_report_tell_what_is_there(
    smoke: Run, out: Path, tmp_path: Path, smoke_yaml: str, invoke: Callable[..., str]
) -> None:
    assert smoke.run_id in invoke("ls", "--out", str(out))
    shown = invoke("show", "smoke", "--out", str(out))
    assert "AdamW" in shown
    assert "Energy by stage" in shown
    copy = shutil.copytree(smoke.path, tmp_path / "copy")
    compared = invoke("compare", smoke.run_id, str(copy), "--out", str(out))
    assert "minus" in compared
    assert "+0.000" in compared
    manifest = read_sealed(copy / "manifest.json")
    manifest["config"]["seed"] = 5
    write_sealed(copy / "manifest.json", manifest)
    compared = invoke("compare", smoke.run_id, str(copy), "--out", str(out))
    assert "over seeds 0, 5" in compared
    assert "minus AdamW" in compared
    target = tmp_path / "exported"
    invoke("export", smoke.run_id, "--to", str(target), "--model", "adamw", "--out", str(out))
    assert (target / "config.json").exists()
    made_by = load_config(str(target / "clso-config.yaml"))
    assert made_by.digest() == load_config(smoke_yaml).digest()
    assert "runtime" not in (target / "clso-config.yaml").read_text()
    assert "report.html" in invoke("report", smoke.run_id, "--out", str(out))


def test_doctor_names_the_meters_and_the_text_that_is_there(
    tmp_path: Path, invoke: Callable[..., str]
) -> None:
    printed = invoke("doctor", "--out", str(tmp_path))
    for expected in ("rapl", "nvml", "cpu_model", "King James text", "hub", "torch"):
        assert expected in printed


def test_doctor_names_the_extra_of_an_engine_that_is_missing(
    invoke: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.doctor.installed_engines", lambda: {"dask": False})
    assert "pip install 'clso[dask]'" in " ".join(invoke("doctor", "--out", str(tmp_path)).split())


@pytest.mark.slow  # imports Prefect in a process of its own
def test_doctor_names_the_server_of_a_profile_without_its_password(tmp_path: Path) -> None:
    profiles = tmp_path / "profiles.toml"
    profiles.write_text(
        'active = "mine"\n[profiles.mine]\nPREFECT_API_URL = "http://me:secret@127.0.0.1:9/api"\n'
    )
    others = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    done = subprocess.run(
        [sys.executable, "-m", "pipelines", "doctor", "--out", str(tmp_path / "out")],
        env={**others, "PREFECT_PROFILES_PATH": str(profiles)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "http://me:***@127.0.0.1:9/api" in done.stdout
    assert "secret" not in done.stdout
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("model", ["../state", "", ".", "mixture"])
def test_only_models_can_be_exported(
    smoke: Run, out: Path, tmp_path: Path, model: str, clso: Callable[..., Told]
) -> None:
    command = ["export", smoke.run_id, "--out", str(out), "--to", str(tmp_path / "new")]
    done = clso(*command, "--model", model)
    assert done.status == 2
    assert "it has adamw, gpt" in done.error
    assert not (tmp_path / "new").exists()


def test_a_damaged_model_is_not_exported_nor_one_put_into_the_run(
    smoke: Run, tmp_path: Path, clso: Callable[..., Told]
) -> None:
    run = shutil.copytree(smoke.path, tmp_path / "runs" / "copy")
    command = ["export", "copy", "--out", str(tmp_path), "--to"]
    assert "lies in the run itself" in clso(*command, str(run / "models" / "new")).error
    weights = run / "models" / "gpt" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    assert "is damaged" in clso(*command, str(tmp_path / "new")).error
    assert not (tmp_path / "new").exists()


def test_a_training_that_diverges_is_a_failure_of_the_work(
    tmp_path: Path, smoke_yaml: str, clso: Callable[..., Told]
) -> None:
    command = ["baseline", smoke_yaml, "--no-prefect", "--out", str(tmp_path)]
    done = clso(
        *command, "--set", "baseline.learning_rates=[1.0e+6]", "--set", "baseline.grad_clip=1e6"
    )
    assert done.status == 1
    assert "diverged" in done.error


def test_artifacts_is_the_default_folder_and_one_without_a_name_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    smoke_yaml: str,
    invoke: Callable[..., str],
    clso: Callable[..., Told],
) -> None:
    monkeypatch.chdir(tmp_path)
    invoke("library", smoke_yaml, "--no-prefect")
    assert [path.name for path in tmp_path.iterdir()] == ["artifacts"]
    done = clso("ls", "--out", "")
    assert done.status == 2
    assert "the folder has no name" in done.error
