"""How many threads arithmetic has, with and without torch."""

import os
import subprocess
import sys
from types import ModuleType

import pytest
import torch

from clso.threads import one_thread, thread_count, torch_threads


def test_torch_decides_where_it_is_loaded() -> None:
    with torch_threads(3):
        assert thread_count() == 3
    assert thread_count() == torch.get_num_threads()


def test_a_torch_that_another_thread_is_importing_is_not_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "torch", ModuleType("torch"))
    assert thread_count() >= 1
    with one_thread():
        pass


def test_the_environment_decides_without_torch_as_it_does_with_it() -> None:
    script = (
        "import sys; from clso.threads import thread_count; alone = thread_count();"
        "assert 'torch' not in sys.modules; import torch; print(alone, thread_count())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["1", "1"]
