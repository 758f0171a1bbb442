"""The stages of a run in order; what a command runs follows from what its stages are built on.

Data sets and libraries are shared between runs; the other stages belong to one run.
"""

from __future__ import annotations

from clso.errors import ConfigError
from pipelines.config import RunConfig
from pipelines.context import RunContext
from pipelines.families import FAMILIES, AnyFamily
from pipelines.stage import Stage
from pipelines.stages.analyze import analyze_stage
from pipelines.stages.baseline import BASELINE
from pipelines.stages.data import PREPARE
from pipelines.stages.search import search_stage

__all__ = ["families_of", "run_foundations", "stages_of", "through"]


def families_of(config: RunConfig) -> list[AnyFamily]:
    """Return the model families of a run, built-in ones first."""
    return [FAMILIES.get(name) for name in FAMILIES.names() if name in config.families]


def stages_of(config: RunConfig) -> list[Stage]:
    """Return all stages of a run, in order.

    Raises:
        ConfigError: two stages have the same name.
    """
    families = families_of(config)
    before = [
        PREPARE,
        *(stage for family in families for stage in family.foundations),
        *(search_stage(family) for family in families),
        BASELINE,
        *(stage for family in families for stage in family.continued),
    ]
    before = [stage for stage in dict.fromkeys(before) if stage.wanted(config)]
    stages = [*before, analyze_stage(families, before)]
    names = [stage.name for stage in stages]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(
                f"two stages of the families {', '.join(config.families)} are called {name!r}",
                remedy="give the plug-in's stage another name, or search the families apart",
            )
    return stages


def through(command: str, config: RunConfig) -> list[Stage]:
    """Return the stages that a command comes down to, in order.

    Args:
        command: one that a stage names, or `run` for all.
        config: of the run.
    """
    stages = stages_of(config)
    if command == "run":
        return stages
    wanted = {"prepare", *(stage.name for stage in stages if stage.command == command)}
    for stage in reversed(stages):
        if stage.name in wanted:
            needs = stage.built_on(config)
            wanted |= {other.name for other in stages} if needs is None else set(needs)
    return [stage for stage in stages if stage.name in wanted]


def run_foundations(run: RunContext, family: AnyFamily) -> None:
    """Make what a family's problem is built on, where it is not there yet."""
    for stage in (PREPARE, *family.foundations):
        stage.run(run)
