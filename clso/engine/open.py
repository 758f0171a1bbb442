"""The engines by name, opened and closed."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, get_args

from clso.cores import available_cores
from clso.energy import EnergyMonitor, EnergySettings
from clso.engine.cluster import Cluster
from clso.engine.engine import Engine
from clso.engine.local import local_engine
from clso.errors import EngineError

__all__ = ["EngineKind", "installed_engines", "open_engine"]

EngineKind = Literal["local", "dask", "ray"]

_MODULES = {"dask": "distributed", "ray": "ray"}


def installed_engines() -> dict[str, bool]:
    """Return the names of all engines, and whether their packages are installed."""
    return {
        name: name not in _MODULES or importlib.util.find_spec(_MODULES[name]) is not None
        for name in get_args(EngineKind)
    }


@contextmanager
def open_engine(
    kind: EngineKind = "local",
    address: str | None = None,
    *,
    workers: int | None = None,
    monitor: EnergyMonitor | None = None,
    energy: EnergySettings | None = None,
) -> Iterator[Engine]:
    """Open an engine, and free its workers when the block ends.

        with open_engine("dask", "tcp://10.0.0.1:8786") as engine:
            result = minimize(shared_out(problem, engine))

    Args:
        kind: `local`, `dask` or `ray`.
        address: of a Dask scheduler or a Ray cluster; `None`: workers on this machine.
        workers: processes of this machine, where there is no address; `None`: one per core that
            this process may use (`clso.cores`).
        monitor: its open windows get the workers' joules.
        energy: how workers measure them; `None`: they do not.

    Raises:
        EngineError: the engine is not known or installed, cannot be reached, or has other code;
            or an argument does not fit it.
    """
    _check(kind, address, workers)
    n_workers = workers or available_cores()
    if kind == "local":
        engine = local_engine(n_workers, monitor=monitor, energy=energy)
    else:
        cluster = _cluster(kind, address, n_workers)
        try:
            engine = Engine(cluster, monitor=monitor, energy=energy)
        except BaseException:
            cluster.close()
            raise
    try:
        yield engine
    finally:
        engine.close()


def _check(kind: str, address: str | None, workers: int | None) -> None:
    """Check the arguments of `open_engine`.

    Raises:
        EngineError: one of them is wrong, or the engine is not installed.
    """
    installed = installed_engines()
    if kind not in installed:
        raise EngineError(
            f"there is no engine {kind!r}", remedy=f"name one of {', '.join(installed)}"
        )
    if not installed[kind]:
        raise EngineError(
            f"runtime.engine is {kind}, but the package {_MODULES[kind]} is not installed",
            remedy=f"pip install 'clso[{kind}]', or set runtime.engine to local",
        )
    if kind == "local" and address is not None:
        raise EngineError(
            f"the engine is local, but its address is {address}",
            remedy="name dask or ray, or leave the address out",
        )
    if workers is not None and workers < 1:
        raise EngineError(f"the engine has {workers} workers", remedy="ask for one or more")


def _cluster(kind: EngineKind, address: str | None, n_workers: int) -> Cluster:
    # Late: they are extras.
    if kind == "dask":
        from clso.engine.dask import dask_cluster

        return dask_cluster(address, n_workers)
    from clso.engine.ray import ray_cluster

    return ray_cluster(address, n_workers)
