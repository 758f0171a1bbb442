"""The commands as functions, each the same as `clso` with its name.

    from pipelines import run
    result = run("configs/quick.yaml", {"seed": 1}, out="artifacts")
    result.results.to_pandas()

What a function needs is imported when it is first asked for. `pipelines.flows` has the stages'
commands as Prefect flows.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipelines.commands import (
        ablate,
        analyze,
        baseline,
        library,
        pareto,
        prepare,
        rivals,
        run,
        savings,
        search,
        tune,
    )

__all__ = [
    "ablate",
    "analyze",
    "baseline",
    "library",
    "pareto",
    "prepare",
    "rivals",
    "run",
    "savings",
    "search",
    "tune",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - one of several functions
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("pipelines.commands"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
