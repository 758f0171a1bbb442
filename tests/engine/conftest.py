"""Engines of all kinds, opened once."""

from __future__ import annotations

import gc
import importlib.util
import warnings
from collections.abc import Iterator

import pytest

from clso.energy import EnergyMonitor, EnergySettings
from clso.engine import Engine, local, open_engine

ENERGY = EnergySettings(meter="cpu_model")


@pytest.fixture(scope="session")
def monitor() -> Iterator[EnergyMonitor]:
    with ENERGY.open() as monitor:
        yield monitor


def _local(monitor: EnergyMonitor) -> Iterator[Engine]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local._LocalEngine, "_pays", lambda self, n_left, *_: n_left > 0)
        with open_engine("local", workers=2, monitor=monitor, energy=ENERGY) as engine:
            yield engine


def _dask_in_process(monitor: EnergyMonitor) -> Iterator[Engine]:
    from distributed import LocalCluster

    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=False, dashboard_address=":0"
        ) as cluster,
        open_engine("dask", cluster.scheduler_address, monitor=monitor, energy=ENERGY) as engine,
    ):
        yield engine


def _cluster_of_this_machine(kind: str, monitor: EnergyMonitor) -> Iterator[Engine]:
    if importlib.util.find_spec({"dask": "distributed"}.get(kind, kind)) is None:
        pytest.skip(f"{kind} is not installed")
    with open_engine(kind, workers=2, monitor=monitor, energy=ENERGY) as engine:  # type: ignore[arg-type]
        yield engine
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # Ray ends its processes, and waits not
        gc.collect()


@pytest.fixture(
    scope="session",
    params=[
        "local",
        "dask in process",
        pytest.param("dask", marks=pytest.mark.slow),
        pytest.param("ray", marks=pytest.mark.slow),
    ],
)
def engine(request: pytest.FixtureRequest, monitor: EnergyMonitor) -> Iterator[Engine]:
    match request.param:
        case "local":
            yield from _local(monitor)
        case "dask in process":
            yield from _dask_in_process(monitor)
        case kind:
            yield from _cluster_of_this_machine(kind, monitor)


@pytest.fixture
def processes(engine: Engine, request: pytest.FixtureRequest) -> Engine:
    """The engine, if its workers are processes of their own."""
    if "dask in process" in request.node.name:
        pytest.skip("its workers are threads of this process")
    return engine
