"""Install the built wheel in clean environments, and run smoke there: `make wheel-smoke`.

    python tests/packaging/wheel_smoke.py [PYTHON ...]

Without arguments, Python 3.11, 3.12 and 3.13 are looked for on the path and in pyenv's folder. What
is not there is named and left out. Each environment has only what pip installs of the wheel, under
`constraints.txt`. The command runs in an empty folder, with Prefect.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
VERSIONS = ("3.11", "3.12", "3.13")


def interpreters() -> dict[str, str | None]:
    """Return the interpreter of each version that CLSO supports; `None`: there is none here."""
    found: dict[str, str | None] = {}
    for version in VERSIONS:
        pyenv = sorted((Path.home() / ".pyenv" / "versions").glob(f"{version}.*/bin/python"))
        found[version] = str(pyenv[-1]) if pyenv else shutil.which(f"python{version}")
    return found


def build(folder: Path, python: str = sys.executable) -> tuple[Path, Path]:
    """Build a source distribution and, from it alone, a wheel; returns both files."""
    # a copy without build/ and *.egg-info, which would add old files
    source = folder / "source"
    files = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.split("\0")
    for name in filter(None, files):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, source / name)
    run([python, "-m", "build", "--outdir", str(folder / "dist"), str(source)], folder)
    (wheel,) = (folder / "dist").glob("*.whl")
    (archive,) = (folder / "dist").glob("*.tar.gz")
    return wheel, archive


def check(clso: str, folder: Path) -> None:
    """Run commands of an installed CLSO in an empty folder."""
    folder.mkdir()
    run([clso, "--version"], folder)
    run([clso, "run", "smoke"], folder)
    (made,) = (folder / "artifacts" / "runs").glob("smoke-*")
    for name in ("results.parquet", "report.html", "models/gpt/config.json"):
        assert (made / name).exists(), f"{made} lacks {name}"
    run([clso, "init", "mine"], folder)
    run([clso, "prepare", "mine/smoke.yaml", "--no-prefect"], folder)
    assert len(list((folder / "artifacts" / "runs").iterdir())) == 1, "a copy is another run"


def run(command: list[str], folder: Path) -> str:
    """Run a command without `PYTHONPATH`, which could show it this checkout; returns its output."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command, cwd=folder, env=kept, check=False, capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout}\n{done.stderr}")
    return done.stdout


def main(wanted: list[str]) -> int:
    """Check all interpreters, or those that are named; returns the number of failures."""
    named = dict.fromkeys(wanted) if wanted else interpreters()
    failures = 0
    with tempfile.TemporaryDirectory() as temporary:
        wheel, _ = build(Path(temporary))
        for name, found in named.items():
            python = found if found or not wanted else name
            if python is None:
                print(f"Python {name}: not found here, left out")
                continue
            begun = time.monotonic()
            home = Path(temporary) / f"python-{name.replace(os.sep, '-')}"
            try:
                run([python, "-m", "venv", str(home / "venv")], Path(temporary))
                pip = [str(home / "venv" / "bin" / "python"), "-m", "pip", "install", "--quiet"]
                run([*pip, "-c", str(ROOT / "constraints.txt"), str(wheel)], Path(temporary))
                run([str(home / "venv" / "bin" / "python"), "-m", "pip", "check"], home)
                check(str(home / "venv" / "bin" / "clso"), home / "empty")
            except (RuntimeError, AssertionError) as error:
                failures += 1
                print(f"Python {name}: {error}")
            else:
                print(f"Python {name}: smoke ran from the wheel, {time.monotonic() - begun:.0f} s")
            shutil.rmtree(home, ignore_errors=True)
    return failures


if __name__ == "__main__":
    sys.exit(min(main(sys.argv[1:]), 1))
