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

from typing import TYPE_CHECKING

from clso.lazy import lazy_names
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


if not TYPE_CHECKING:  # or a misspelt name would have a type
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            name: f"pipelines.studies.{name}" if name in STUDIES else "pipelines.commands"
            for name in __all__
        },
    )
