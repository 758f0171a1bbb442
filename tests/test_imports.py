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


@pytest.mark.parametrize("heavy", ["torch", "transformers.models.gpt2.modeling_gpt2"])
def test_stages_do_not_import_while_they_are_measured(heavy: str) -> None:
    assert is_imported_by("pipelines.stages", heavy)
