"""What the wheel and the source distribution hold, and that the wheel alone runs.

`make wheel-smoke` installs the wheel with everything that it needs, for every supported Python.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def smoke() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "wheel_smoke", Path(__file__).with_name("wheel_smoke.py")
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def built(smoke: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    wheel, archive = smoke.build(tmp_path_factory.mktemp("built"))
    return wheel, archive


def test_the_wheel_holds_all_modules_configurations_templates_and_type_markers(
    built: tuple[Path, Path],
) -> None:
    with zipfile.ZipFile(built[0]) as wheel:
        held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.splitlines()
    packages = ("clso/", "search/", "pipelines/")
    expected = {name for name in tracked if name.startswith(packages)}
    expected |= {f"pipelines/{name}" for name in tracked if name.startswith("configs/")}
    assert held == expected
    assert {"clso/py.typed", "pipelines/configs/quick.yaml"} < held


def test_the_source_distribution_holds_what_a_checkout_has(built: tuple[Path, Path]) -> None:
    with tarfile.open(built[1]) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.splitlines()
    assert {name for name in tracked if not name.startswith(".ci/")} <= held


def test_the_wheel_alone_runs_smoke_from_an_empty_folder(
    built: tuple[Path, Path], smoke: ModuleType, tmp_path: Path
) -> None:
    venv = tmp_path / "venv"
    smoke.run([sys.executable, "-m", "venv", str(venv)], tmp_path)
    python = venv / "bin" / "python"
    pip = [str(python), "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    smoke.run([*pip, str(built[0])], tmp_path)
    # the packages that CLSO needs are those of this environment; its own CLSO is not among them,
    # because a path in a .pth file brings no .pth files of that folder
    (site,) = venv.glob("lib/python*/site-packages")
    (site / "others.pth").write_text(f"{sysconfig.get_paths()['purelib']}\n")
    where = smoke.run([str(python), "-c", "import clso; print(clso.__file__)"], tmp_path)
    assert Path(where.strip()).is_relative_to(site)
    smoke.check(str(venv / "bin" / "clso"), tmp_path / "empty")
