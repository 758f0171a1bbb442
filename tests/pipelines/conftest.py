"""One smoke run, end to end, shared by the tests that only look at it."""

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from clso.artifacts import Run, load_run
from pipelines.cli import app

Invoke = Callable[..., str]


@pytest.fixture(scope="session")
def smoke_yaml() -> str:
    return str(Path(__file__).parents[2] / "configs" / "smoke.yaml")


@pytest.fixture(scope="session")
def invoke() -> Invoke:
    """Run a command that must succeed and return what it printed."""

    def run(*arguments: str) -> str:
        done = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    return run


@pytest.fixture(scope="session")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("artifacts")


@pytest.fixture(scope="session")
def smoke(out: Path, smoke_yaml: str, invoke: Invoke) -> Run:
    invoke("run", smoke_yaml, "--no-prefect", "--out", str(out))
    (path,) = (out / "runs").iterdir()
    return load_run(path)
