"""How many threads arithmetic has, with and without torch."""

import os
import subprocess
import sys

import torch

from clso.threads import thread_count, torch_threads


def test_torch_decides_where_it_is_loaded() -> None:
    with torch_threads(3):
        assert thread_count() == 3
    assert thread_count() == torch.get_num_threads()


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
