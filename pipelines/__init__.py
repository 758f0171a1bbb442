"""The commands as functions, each the same as `clso` with its name.

    from pipelines import run
    result = run("quick", {"seed": 1}, out="artifacts")
    result.results.to_pandas()

Every function takes a configuration (the path of a YAML file, the name of a shipped one, a mapping
of sections, or a `RunConfig`) and overrides by dotted path, and returns the stored run. It reuses
finished work and resumes interrupted work. It runs without Prefect; `pipelines.flows` has
the same commands as Prefect flows.

A function's module is imported when the function is first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pipelines.studies import STUDIES

if TYPE_CHECKING:
    from pipelines.commands import analyze, baseline, library, prepare, run, search
    from pipelines.studies.ablate import ablate
    from pipelines.studies.continual import continual
    from pipelines.studies.multitask import multitask
    from pipelines.studies.pareto import pareto
    from pipelines.studies.rivals import rivals
    from pipelines.studies.savings import savings
    from pipelines.studies.transfer import transfer
    from pipelines.studies.tune import tune

__all__ = [
    "ablate",
    "analyze",
    "baseline",
    "continual",
    "library",
    "multitask",
    "pareto",
    "prepare",
    "rivals",
    "run",
    "savings",
    "search",
    "transfer",
    "tune",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - one of several functions
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = f"pipelines.studies.{name}" if name in STUDIES else "pipelines.commands"
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
