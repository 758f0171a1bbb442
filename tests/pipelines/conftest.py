"""One smoke run, end to end, shared by the tests that only look at it."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from clso.artifacts import Run, load_run
from pipelines.cli import app

Invoke = Callable[..., str]

SHIPPED = Path(__file__).parents[2] / "configs" / "smoke.yaml"


@pytest.fixture(scope="session")
def smoke_yaml(tmp_path_factory: pytest.TempPathFactory) -> str:
    """`configs/smoke.yaml` with small splits to score; the slow tests run the file itself."""
    path = tmp_path_factory.mktemp("configs") / "smoke.yaml"
    sections = yaml.safe_load(SHIPPED.read_text())
    sections["data"]["fractions"] = {"train": 0.97, "tune": 0.01, "validation": 0.01, "test": 0.01}
    path.write_text(yaml.safe_dump(sections))
    return str(path)


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
