"""The stages of a run in order, and the stages that each command runs.

Runs share data sets and libraries; the other stages belong to one run.
"""

from __future__ import annotations

from clso.errors import ConfigError
from pipelines.config import RunConfig
from pipelines.stage import Stage
from pipelines.stages.analyze import analyze_stage
from pipelines.stages.baseline import BASELINE
from pipelines.stages.data import PREPARE
from pipelines.stages.opponents import OPPONENTS
from pipelines.stages.search import search_stage

__all__ = ["through"]


def through(command: str, config: RunConfig) -> list[Stage]:
    """Return the stages that a command runs, in order; `run` runs all.

    Raises:
        ConfigError: two stages have the same name.
    """
    stages = _stages_of(config)
    if command == "run":
        return stages
    wanted = {"prepare", *(stage.name for stage in stages if stage.command == command)}
    for stage in reversed(stages):
        if stage.name in wanted:
            needs = stage.built_on(config)
            wanted |= {other.name for other in stages} if needs is None else set(needs)
    return [stage for stage in stages if stage.name in wanted]


def _stages_of(config: RunConfig) -> list[Stage]:
    families = config.searched_families()
    before = [
        PREPARE,
        *(stage for family in families for stage in family.foundations),
        *(search_stage(family) for family in families),
        BASELINE,
        OPPONENTS,
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
