"""The stage commands as Prefect flows: what is run, retried and shown, and no logic.

Each flow takes the arguments of the function of its name in `pipelines` and returns the run:

    from pipelines.flows import FLOWS
    FLOWS["run"]("configs/quick.yaml", {"seed": 1}, out="artifacts")

A flow runs whole stages, never single genomes: a task costs some milliseconds, an evaluation may
cost less. Prefect's own cache is off, because a stage's completion marker alone decides on reuse.
`pipelines.prefect_pages` fills Prefect's pages.

Importing this module imports Prefect; call `prepare_environment` before.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from prefect import Flow, flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import Task

from clso.artifacts import Run
from clso.errors import DownloadError
from clso.progress import SILENT, Reporter
from pipelines.commands import STAGE_COMMANDS, StageCommand
from pipelines.config import ConfigSource, read_config
from pipelines.context import RunContext
from pipelines.prefect_pages import PrefectReporter, publish
from pipelines.stage import Stage

__all__ = ["FLOWS", "listener"]

_DOWNLOAD_RETRIES = 2
_RETRY_DELAY_S = 5

# Shows the progress besides Prefect; the command line sets its terminal here.
listener: ContextVar[Reporter] = ContextVar("listener", default=SILENT)


def _flow_of(command: StageCommand) -> Flow[..., Run]:
    @flow(name=f"clso-{command.name}", description=command.help, validate_parameters=False)
    def stages(
        config: ConfigSource,
        overrides: Mapping[str, Any] | None = None,
        *,
        out: str | Path = "artifacts",
        fresh: bool = False,
    ) -> Run:
        reporter = PrefectReporter(listener.get())
        run = command.execute(read_config(config, overrides), out, fresh, reporter, _as_task)
        publish(run)
        return run

    return stages


def _as_task(stage: Stage, run: RunContext) -> None:
    # The run stays in this closure: Prefect would search a parameter for futures, key by key.
    @task(
        name=stage.name,
        cache_policy=NO_CACHE,
        retries=_DOWNLOAD_RETRIES if stage.name == "prepare" else 0,
        retry_delay_seconds=_RETRY_DELAY_S,
        retry_condition_fn=_is_download_error,
    )
    def stage_task() -> None:
        stage.run(run)

    stage_task()


def _is_download_error(task: Task[..., object], run: TaskRun, state: State[object]) -> bool:
    """Return whether a retry may help; it does not help against a user's mistake."""
    return isinstance(state.result(raise_on_failure=False), DownloadError)


FLOWS = {command.name: _flow_of(command) for command in STAGE_COMMANDS}
"""A flow for each command that runs stages, by the command's name."""
