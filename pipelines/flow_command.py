"""A command that does work: its flow, or without Prefect its function, on a terminal."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.commands import STAGE_COMMANDS
from pipelines.options import interruptible
from pipelines.studies import STUDIES, check_study

if TYPE_CHECKING:
    from clso.artifacts import Run

__all__ = ["FLOW_NAMES", "prepare_process", "run_command"]

FLOW_NAMES = (*(command.name for command in STAGE_COMMANDS), *STUDIES)
"""The commands that do work, each a flow."""


def prepare_process() -> None:
    """Set what libraries read from the environment when they are loaded."""
    # Waiting threads must sleep soon. Spinning costs joules, and on a busy machine small products
    # take 30 times as long.
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")
    # The tokenizers' own threads are wanted; unset, a later fork warns.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")


def run_command(
    name: str,
    config: str,
    overrides: Sequence[str] | None,
    *,
    out: Path,
    no_prefect: bool,
    **options: Any,  # noqa: ANN401 - the command's own
) -> Run:
    """Run the command of a name, and show its progress.

    Raises:
        ClsoError: the configuration is wrong, which is told before Prefect starts, or the work
            cannot be done.
    """
    from pipelines.config import load_config
    from pipelines.console import RichReporter
    from pipelines.extent import check_extent

    loaded = load_config(config, overrides or ())
    check_extent(loaded)
    with interruptible():
        if no_prefect:
            import pipelines

            # this imports a study, which takes seconds, so mistakes are reported before
            function: Callable[..., Run] = getattr(pipelines, name)
            return function(loaded, out=out, reporter=RichReporter(), **options)
        if name in STUDIES:
            check_study(name, loaded, **options)
        from pipelines.orchestration import orchestrated

        return orchestrated(name, loaded, out=out, reporter=RichReporter(), **options)
