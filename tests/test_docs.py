"""Every Python snippet of README and of two guides runs, and every example."""

import os
import re
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "docs/toolkit.md", "docs/scaling.md")
SLOW = ("pipelines",)  # snippets that run whole stages


def snippets() -> list[object]:
    params = []
    for page in PAGES:
        blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), flags=re.DOTALL)
        assert blocks, page
        for number, block in enumerate(blocks, 1):
            slow = any(re.search(rf"^from {name} import", block, re.MULTILINE) for name in SLOW)
            params.append(
                pytest.param(block, id=f"{page}-{number}", marks=[pytest.mark.slow] if slow else [])
            )
    return params


def run_python(arguments: list[str], cwd: Path) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("snippet", snippets())
def test_the_snippet_runs(
    snippet: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    (tmp_path / "snippet.py").write_text(snippet)
    monkeypatch.chdir(tmp_path)
    runpy.run_path("snippet.py", run_name="__main__")
    assert capsys.readouterr().out


@pytest.mark.parametrize("name", ["own_problem", "tune_own_problem"])
def test_the_example_runs(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(ROOT / "examples" / f"{name}.py"), run_name="__main__")
    assert capsys.readouterr().out


@pytest.mark.slow
def test_an_extended_example_ends_where_a_longer_one_does(tmp_path: Path) -> None:
    """The example has a process pool, so it runs in a process of its own."""
    example = str(ROOT / "examples" / "ask_and_tell.py")
    whole = run_python([example], tmp_path)
    run_python([example, "short", "80"], tmp_path)
    assert run_python([example, "short", "120"], tmp_path) == whole


@pytest.mark.slow
def test_runs_are_made_reloaded_and_drawn(tmp_path: Path) -> None:
    code = f"from pipelines import run; run({str(ROOT / 'configs' / 'smoke.yaml')!r}, out='made')"
    run_python(["-c", code], tmp_path)
    example = str(ROOT / "examples" / "reload_runs.py")
    shown = run_python([example, "made", "losses.svg"], tmp_path)
    assert "finished" in shown
    assert "adamw" in shown
    assert (tmp_path / "losses.svg").read_text().startswith("<?xml")


def test_the_example_package_offers_what_its_modules_hold() -> None:
    folder = ROOT / "examples" / "own_entries"
    project = tomllib.loads((folder / "pyproject.toml").read_text())
    points = project["project"]["entry-points"]
    for group, names in points.items():
        for module, attribute in (value.split(":") for value in names.values()):
            assert f"class {attribute}(" in (folder / f"{module}.py").read_text(), group
    assert project["tool"]["setuptools"]["py-modules"] == ["own_matrices", "own_functions"]


def test_every_example_is_explained() -> None:
    page = (ROOT / "docs" / "toolkit.md").read_text()
    for path in (ROOT / "examples").iterdir():
        assert path.name in page, path.name
