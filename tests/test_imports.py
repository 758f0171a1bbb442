"""Who may import whom; the rules themselves stand in pyproject.toml."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def modules_importing(name: str) -> set[str]:
    found = set()
    for package in ("clso", "search", "pipelines"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Import):
                    names = [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom):
                    names = [f"{node.module}.{alias.name}" for alias in node.names]
                else:
                    continue
                if any(f"{imported}.".startswith(f"{name}.") for imported in names):
                    found.add(path.relative_to(ROOT).as_posix())
    return found


def test_packages_import_in_one_direction_and_libraries_stay_in_their_place() -> None:
    command = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [command, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_parquet_is_written_in_one_place() -> None:
    writers = {
        path
        for path in modules_importing("pyarrow.parquet")
        if any(name in (ROOT / path).read_text() for name in ("pq.write", "ParquetWriter"))
    }
    assert writers == {"clso/artifacts/tables.py"}


def is_imported_by(module: str, heavy: str) -> bool:
    code = f"import sys, {module}; sys.exit(10 + ({heavy!r} in sys.modules))"
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 11


@pytest.mark.parametrize(
    "heavy", ["torch", "prefect", "transformers", "datasets", "matplotlib", "optuna"]
)
def test_the_command_line_starts_without_heavy_imports(heavy: str) -> None:
    assert not is_imported_by("pipelines.cli", heavy)


@pytest.mark.parametrize(
    "module",
    [
        "pipelines.config",
        "pipelines.score",
        "pipelines.generate",
        "clso.models",
        "clso.mixture.model",
    ],
)
@pytest.mark.parametrize("heavy", ["torch", "transformers"])
def test_a_mistake_is_told_and_a_mixture_is_used_without(heavy: str, module: str) -> None:
    assert not is_imported_by(module, heavy)


@pytest.mark.parametrize(
    ("package", "module"),
    [("clso.baseline", "settings"), ("clso.gpt", "frame"), ("clso.library", "zero")],
)
def test_a_package_has_its_names_and_its_modules(package: str, module: str) -> None:
    code = (
        f"import {package} as package; package.{module}; "
        "[getattr(package, name) for name in package.__all__]; "
        "assert {*package.__all__} <= {*dir(package)}; assert not hasattr(package, 'nothing')"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


_OPEN_AN_EXPERIMENT = """
import sys
from pathlib import Path
from clso.progress import SILENT
from pipelines.config import read_config
from pipelines.experiment import Experiment
with Experiment.open(read_config("smoke"), Path(sys.argv[1]), SILENT):
    print({"torch", "transformers.models.gpt2.modeling_gpt2"} <= {*sys.modules})
"""


def test_nothing_heavy_is_imported_once_work_is_measured(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _OPEN_AN_EXPERIMENT, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"
