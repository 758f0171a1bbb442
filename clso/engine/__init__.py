"""Hands pure tasks out to processes of this machine, or to the workers of a Dask or Ray cluster."""

from clso.engine.cluster import FatalTaskError
from clso.engine.engine import Engine, Task
from clso.engine.open import EngineKind, installed_engines, open_engine
from clso.engine.problem import shared_out
from clso.engine.shared import Shared

__all__ = [
    "Engine",
    "EngineKind",
    "FatalTaskError",
    "Shared",
    "Task",
    "installed_engines",
    "open_engine",
    "shared_out",
]
