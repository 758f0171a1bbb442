"""What Dask says, as sentences."""

from __future__ import annotations

import logging
import time
from concurrent.futures import CancelledError
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from dask_processes import DaskProcesses
from distributed.comm import CommClosedError
from distributed.scheduler import KilledWorker

from clso.engine.cluster import FatalTaskError, Lost
from clso.engine.dask import _DaskCluster, dask_cluster
from clso.errors import EngineError, WorkError


def _cluster(status: str) -> _DaskCluster:
    cluster = object.__new__(_DaskCluster)
    cluster._where = "tcp://10.0.0.1:8786"
    cluster._client = SimpleNamespace(status=status)  # type: ignore[assignment]  # all that is asked
    return cluster


def _killed() -> KilledWorker:
    return KilledWorker("task", SimpleNamespace(address="tcp://10.0.0.2:1"), 3)  # type: ignore[arg-type]  # all that is printed


def test_errors_of_worker_code_and_cluster_are_told_apart() -> None:
    cluster = _cluster("running")
    sentences = [
        (_killed(), FatalTaskError, "ended its worker again and again"),
        (ModuleNotFoundError("No module named 'clso'"), EngineError, "install the same CLSO"),
        (RuntimeError("odd"), WorkError, "Dask failed: RuntimeError: odd"),
    ]
    for error, kind, sentence in sentences:
        explained = cluster.explained(error)
        assert type(explained) is kind
        assert sentence in str(explained)


@pytest.mark.parametrize("error", [CommClosedError("closed"), CancelledError("task")])
def test_a_scheduler_that_goes_is_told_whether_or_not_the_client_knows_it_yet(
    error: Exception,
) -> None:
    assert isinstance(_cluster("running").explained(error), Lost)  # tried again, or told

    def fail() -> None:
        raise error

    for status in ("running", "closed"):
        with pytest.raises(WorkError, match=r"10\.0\.0\.1:8786 does not answer any more"):
            _cluster(status)._told(fail)


@pytest.mark.slow
def test_a_client_that_is_closed_while_it_looks_for_its_scheduler_is_quiet(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with DaskProcesses(tmp_path) as dask:
        dask.add_worker()
        cluster = dask_cluster(dask.address, 1)
        assert isinstance(cluster, _DaskCluster)
        dask.scheduler.kill()
        while cluster._client.status != "connecting":
            time.sleep(0.05)
        cluster.close()
        time.sleep(1)  # for its thread
    assert not [one for one in caplog.records if one.levelno >= logging.WARNING]
    assert "Traceback" not in capfd.readouterr().err


def _listening() -> set[tuple[str, int]]:
    own = psutil.Process()
    pids = {own.pid, *(child.pid for child in own.children(recursive=True))}
    return {
        (one.laddr.ip, one.laddr.port)
        for one in psutil.net_connections("tcp")
        if one.status == psutil.CONN_LISTEN and one.pid in pids
    }


@pytest.mark.slow
def test_a_cluster_of_this_machine_listens_on_loopback_alone() -> None:
    before = _listening()  # such as Ray's, of a test before
    cluster = dask_cluster(None, 1)
    try:
        added = _listening() - before
    finally:
        cluster.close()
    assert {address for address, _ in added} == {"127.0.0.1"}
