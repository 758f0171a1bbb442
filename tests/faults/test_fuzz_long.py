"""The drawn examples of the fast tests, many times as many."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

_EXAMPLES = 1000
_TESTS = sorted(Path(__file__).parent.glob("test_fuzz_[cf]*.py"))


@pytest.mark.slow
@pytest.mark.parametrize("path", _TESTS, ids=lambda path: path.stem)
def test_a_thousand_examples_of_each_kind_settle(
    path: Path, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    line = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(path)]
    done = subprocess.run(
        [*line, "--basetemp", str(tmp_path / "drawn")],
        env={**os.environ, "CLSO_FUZZ": str(_EXAMPLES)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:]
    record_property("faults", f"{path.stem}: {_EXAMPLES:,} examples each, {_passed(done.stdout)}")


def _passed(output: str) -> str:
    return output.strip().splitlines()[-1]
