"""The studies of searches and of several texts: a module each, with the function of its name.

Each also has `check`, which takes the study's options and raises what is wrong with them for a
configuration, before any work.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipelines.config import RunConfig

__all__ = ["STUDIES", "check_study"]

STUDIES = (
    *("ablate", "pareto", "rivals", "savings", "tune"),
    *("transfer", "multitask", "continual"),
)


def check_study(name: str, config: RunConfig, **options: Any) -> None:  # noqa: ANN401 - its own
    """Check that the study of a name can be made of a configuration with these options.

    Raises:
        ConfigError: an option is wrong, or the configuration lacks what the study needs.
    """
    import_module(f"pipelines.studies.{name}").check(config, **options)
