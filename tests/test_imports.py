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


@pytest.mark.parametrize(
    "heavy", ["torch", "prefect", "transformers", "datasets", "matplotlib", "optuna"]
)
def test_the_command_line_starts_without_heavy_imports(heavy: str) -> None:
    code = f"import sys, pipelines.cli; sys.exit({heavy!r} in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False)
    assert done.returncode == 0, f"importing pipelines.cli imports {heavy}"
