"""Runs and studies on clusters: equal tables, and what a fault costs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from dask_processes import DaskProcesses
from data_columns import data_columns
from tiny_studies import TINY

import clso
from clso.artifacts import Run, load_run
from clso.engine import open as engines
from pipelines.cli import main

_ROOT = Path(clso.__file__).parents[1]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("config") / "tiny.yaml"
    path.write_text(
        TINY.replace("search: {population: 6,", "search: {population: 6, generations: 6,")
    )
    return str(path)


def command(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "pipelines", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": str(_ROOT)},
    )


def done(*arguments: str) -> str:
    process = command(*arguments)
    printed, _ = process.communicate()
    assert process.returncode == 0, printed
    return printed


def only_run(out: Path) -> Run:
    (path,) = (out / "runs").iterdir()
    return load_run(path)


@pytest.fixture(scope="module")
def local(config: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("local")
    done("search", config, "--no-prefect", "--out", str(out))
    done("ablate", config, "--no-prefect", "--out", str(out))
    done("tune", config, "--no-prefect", "--out", str(out))
    return out


SEARCH = ("evaluations", "generations")
STUDY = ("ablations", "selections")
TUNING = ("trials", "checks", "importances")


def only_study(out: Path) -> Run:
    (path,) = (out / "studies").iterdir()
    return load_run(path)


def assert_equal_tables(first: Run, second: Run, tables: Iterable[str]) -> None:
    for table in tables:
        assert data_columns(first.table(table)).equals(data_columns(second.table(table))), table


def prepared(local: Path, out: Path) -> Path:
    """An output folder that has data set and library already, and no run."""
    for name in ("datasets", "libraries"):
        shutil.copytree(local / name, out / name)
    return out


@pytest.fixture
def namespace() -> Iterator[str]:
    """A network namespace, and the only address at which it reaches this one."""
    if os.geteuid() != 0 or shutil.which("ip") is None or shutil.which("unshare") is None:
        pytest.skip("a network namespace needs root, ip and unshare")
    name = f"clso-test-{os.getpid()}"
    link = f"clso{os.getpid() % 10_000}"
    subnet = 1 + os.getpid() % 250

    def ip(*arguments: str) -> bool:
        return subprocess.run(["ip", *arguments], capture_output=True).returncode == 0

    if not ip("netns", "add", name):
        pytest.skip("this kernel makes no network namespaces")
    try:
        made = (
            ip("link", "add", f"{link}a", "type", "veth", "peer", "name", f"{link}b")
            and ip("link", "set", f"{link}b", "netns", name)
            and ip("addr", "add", f"10.197.{subnet}.1/24", "dev", f"{link}a")
            and ip("link", "set", f"{link}a", "up")
            and ip("-n", name, "addr", "add", f"10.197.{subnet}.2/24", "dev", f"{link}b")
            and ip("-n", name, "link", "set", f"{link}b", "up")
            and ip("-n", name, "link", "set", "lo", "up")
        )
        if not made:
            pytest.skip("this kernel makes no veth pairs")
        yield f"{name} 10.197.{subnet}.1"
    finally:
        ip("link", "delete", f"{link}a")
        ip("netns", "delete", name)


@pytest.mark.slow
def test_workers_of_another_network_without_the_folders_give_the_same_tables(
    config: str, local: Path, namespace: str, tmp_path: Path
) -> None:
    name, host = namespace.split()
    out = tmp_path / "out"
    out.mkdir()
    hidden = f'mount -t tmpfs none "{out}" && mount -t tmpfs none "{local}" && exec "$@"'
    within = ["ip", "netns", "exec", name, "unshare", "--mount", "sh", "-c", hidden, "sh"]
    with DaskProcesses(tmp_path, host) as dask:
        for _ in range(2):
            dask.add_worker(cwd=Path("/"), within=within)
        on_dask = ["runtime.engine=dask", f"runtime.address={dask.address}"]
        options = [word for value in on_dask for word in ("--set", value)]
        done("search", config, "--no-prefect", "--out", str(out), *options)
        done("ablate", config, "--no-prefect", "--out", str(out), *options)
    assert_equal_tables(only_run(local), only_run(out), SEARCH + STUDY)
    meters = only_run(out).table("evaluations")["energy_source"].unique().to_pylist()
    assert set(meters) <= {"cpu_model", None}


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["dask", "ray"])
def test_a_cluster_of_this_machine_gives_the_same_studies(
    config: str, local: Path, engine: str, tmp_path: Path
) -> None:
    out = prepared(local, tmp_path)
    options = ["--set", f"runtime.engine={engine}", "--set", "runtime.workers=2"]
    done("ablate", config, "--no-prefect", "--out", str(out), *options)
    assert_equal_tables(only_run(local), only_run(out), STUDY)
    done("tune", config, "--no-prefect", "--out", str(out), *options)
    assert_equal_tables(only_study(local), only_study(out), TUNING)


@pytest.mark.slow
def test_a_scheduler_that_dies_ends_the_command_and_the_same_command_goes_on(
    config: str, local: Path, tmp_path: Path
) -> None:
    out = prepared(local, tmp_path)
    with DaskProcesses(tmp_path) as dask:
        dask.add_worker()
        on_dask = ["--set", "runtime.engine=dask", "--set", f"runtime.address={dask.address}"]
        process = command("search", config, "--no-prefect", "--out", str(out), *on_dask)
        try:
            while not list(out.glob("runs/*/state/search-gpt.journal")):
                assert process.poll() is None, process.stdout and process.stdout.read()
                time.sleep(0.02)
            dask.scheduler.kill()
            printed, _ = process.communicate()
        finally:
            process.kill()
            process.wait()
    assert process.returncode == 1, printed
    assert "does not answer any more" in printed
    assert "the same command goes on" in printed
    assert "Traceback" not in printed
    done("search", config, "--no-prefect", "--out", str(out))
    assert_equal_tables(only_run(local), only_run(out), SEARCH)


@pytest.mark.slow
def test_a_worker_with_other_code_is_a_mistake(config: str, tmp_path: Path) -> None:
    code = tmp_path / "code"
    for package in ("clso", "search", "pipelines"):
        shutil.copytree(_ROOT / package, code / package, ignore=shutil.ignore_patterns("*.pyc"))
    with (code / "search" / "ladder.py").open("a") as module:
        module.write("# another version\n")
    with DaskProcesses(tmp_path) as dask:
        dask.add_worker(code=code)
        on_dask = ["--set", "runtime.engine=dask", "--set", f"runtime.address={dask.address}"]
        process = command("run", config, "--no-prefect", "--out", str(tmp_path / "out"), *on_dask)
        printed, _ = process.communicate()
    assert process.returncode == 2, printed
    assert "has other code than this command: sources of clso" in " ".join(printed.split())


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["runtime.engine=spark"], "runtime.engine"),
        (["runtime.address=tcp://127.0.0.1:1"], "engine is local"),
        (["runtime.engine=dask", "runtime.address=nonsense://x"], "no Dask scheduler answers"),
    ],
)
def test_a_wrong_engine_or_address_is_a_sentence(
    config: str,
    overrides: list[str],
    sentence: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = [word for value in overrides for word in ("--set", value)]
    arguments = ["search", config, "--no-prefect", "--out", str(tmp_path), *options]
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert sentence in " ".join(capsys.readouterr().err.split())


def test_an_engine_that_is_not_installed_names_its_extra(
    config: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engines, "installed_engines", lambda: {"local": True, "ray": False})
    arguments = ["search", config, "--no-prefect", "--out", str(tmp_path)]
    with pytest.raises(SystemExit) as end:
        main([*arguments, "--set", "runtime.engine=ray"])
    assert end.value.code == 2
    assert "clso[ray]" in capsys.readouterr().err
