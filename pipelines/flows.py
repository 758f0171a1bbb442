"""The stage commands as Prefect flows: what is run, retried and shown, and no logic.

Each flow takes the arguments of the function of its name in `pipelines` and returns the run:

    from pipelines.flows import FLOWS
    FLOWS["run"]("configs/quick.yaml", {"seed": 1}, out="artifacts")

A flow runs whole stages, never single genomes: a task costs some milliseconds, an evaluation may
cost less. Prefect's own cache is off, because a stage's completion marker alone decides on reuse.
Prefect's pages show a bar per piece of work, the result table and the report.

Importing this module imports Prefect; call `prepare_environment` before.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect import Flow, flow, task
from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import Task

from clso.artifacts import Run
from clso.errors import DownloadError
from clso.progress import SILENT, ProgressTask, Reporter
from clso.report.results import result_table
from pipelines.commands import STAGE_COMMANDS, StageCommand
from pipelines.config import ConfigSource, read_config
from pipelines.context import RunContext
from pipelines.stage import Stage

__all__ = ["FLOWS", "listener"]

_DOWNLOAD_RETRIES = 2
_RETRY_DELAY_S = 5
# An update is a call to the server: rare enough to cost nothing beside the work.
_UPDATE_EVERY_S = 3.0

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
        reporter = _PrefectReporter(listener.get())
        run = command.execute(read_config(config, overrides), out, fresh, reporter, _as_task)
        _publish(run)
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


class _PrefectReporter:
    """Passes progress on to a listener and to a Prefect progress artifact."""

    def __init__(self, inner: Reporter) -> None:
        self._inner = inner

    @contextmanager
    def task(self, description: str, total: float | None = None) -> Iterator[ProgressTask]:
        """Open a piece of work; Prefect shows nothing without a total."""
        with self._inner.task(description, total) as inner:
            if not total:
                yield inner
                return
            artifact = create_progress_artifact(
                progress=0.0, key=_key(description), description=description
            )
            assert isinstance(artifact, UUID)
            yield _PrefectTask(inner, artifact, total)
            update_progress_artifact(artifact, progress=100.0)


class _PrefectTask:
    def __init__(self, inner: ProgressTask, artifact: UUID, total: float) -> None:
        self._inner = inner
        self._artifact = artifact
        self._total = total
        self._updated = time.monotonic()

    def update(self, completed: float, note: str = "") -> None:
        self._inner.update(completed, note)
        if time.monotonic() - self._updated >= _UPDATE_EVERY_S:
            self._updated = time.monotonic()
            share = min(100.0, 100.0 * completed / self._total)
            update_progress_artifact(self._artifact, progress=share, description=note or None)


def _publish(run: Run) -> None:
    """Put the stages of a run and, after the analysis, results and report on Prefect's pages."""
    stages = run.manifest.get("stages", {})
    lines = [f"# {run.run_id}", "", "| stage | status |", "|---|---|"]
    lines += [f"| {name} | {stage['status']} |" for name, stage in stages.items()]
    create_markdown_artifact("\n".join(lines), key=_key(run.run_id))
    if run.has("results"):
        create_table_artifact(result_table(run).records(), key=_key(f"{run.run_id}-results"))
    if run.folder.report_path.exists():
        create_link_artifact(
            run.folder.report_path.resolve().as_uri(),
            link_text="report",
            key=_key(f"{run.run_id}-report"),
        )


def _key(text: str) -> str:
    """Spell a text as a key of Prefect: lowercase letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


FLOWS = {command.name: _flow_of(command) for command in STAGE_COMMANDS}
"""A flow for each command that runs stages, by the command's name."""
