"""One smoke run, end to end, shared by the tests that only look at it."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from clso.artifacts import Run, load_run
from pipelines.cli import app

ROOT = Path(__file__).parents[2]
SMOKE = str(ROOT / "configs" / "smoke.yaml")


def invoke(*arguments: str) -> str:
    """Run a command that must succeed and return what it printed."""
    done = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture(scope="session")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("artifacts")


@pytest.fixture(scope="session")
def smoke(out: Path) -> Run:
    invoke("run", SMOKE, "--no-prefect", "--out", str(out))
    (path,) = (out / "runs").iterdir()
    return load_run(path)
