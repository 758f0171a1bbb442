"""What Ray says, as sentences."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

import clso
from clso.engine.cluster import FatalTaskError
from clso.engine.ray import _RayCluster
from clso.errors import EngineError, WorkError

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed"),
]

_HEAD = """
import sys, ray
context = ray.init(address="local", num_cpus=0, include_dashboard=False)
print(context.address_info["gcs_address"], flush=True)
sys.stdin.read()
"""
_COMMAND = """
import sys
from clso.engine import open_engine
from clso.engine import ray as module
from clso.errors import EngineError
module._WORKERS_S = 2.0
try:
    with open_engine("ray", sys.argv[1]):
        pass
except EngineError as error:
    print(error)
"""


def _python(code: str, *arguments: str, home: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={
            **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
            "HOME": str(home),
            "PYTHONPATH": str(Path(clso.__file__).parents[1]),
            "RAY_USAGE_STATS_ENABLED": "0",
        },
    )


def test_a_cluster_with_a_token_is_reached_and_one_without_free_workers_is_a_sentence(
    tmp_path: Path,
) -> None:
    head = _python(_HEAD, home=tmp_path)
    try:
        assert head.stdout is not None
        address = head.stdout.readline().strip()
        assert (tmp_path / ".ray" / "auth_token").exists()
        printed, _ = _python(_COMMAND, address, home=tmp_path).communicate(timeout=240)
    finally:
        head.communicate()
    assert f"the Ray cluster at {address} has no free workers\n  see `ray status`" in printed


def test_errors_of_memory_code_and_cluster_are_told_apart() -> None:
    from ray import exceptions

    cluster = object.__new__(_RayCluster)
    cluster._where = "10.0.0.1:6379"
    sentences = [
        (
            exceptions.OutOfMemoryError("killed: low on memory"),
            FatalTaskError,
            "its worker: killed",
        ),
        (
            exceptions.ObjectStoreFullError("full"),
            WorkError,
            "for the data of a task: full",
        ),
        (exceptions.OutOfDiskError("full"), WorkError, "for the data of a task: full"),
        (exceptions.WorkerCrashedError(), FatalTaskError, "ended its worker 4 times"),
        (ModuleNotFoundError("No module named 'clso'"), EngineError, "install the same CLSO"),
        (exceptions.LocalRayletDiedError(), WorkError, "does not answer any more"),
        (ConnectionError("refused"), WorkError, "does not answer any more"),
        (exceptions.TaskUnschedulableError("no node"), WorkError, "Ray failed: TaskUnsched"),
    ]
    for error, kind, sentence in sentences:
        explained = cluster.explained(error)
        assert type(explained) is kind
        assert sentence in str(explained)
