"""One Prefect flow per stage and one for all: what is run, retried and shown, and no logic.

Every flow runs whole stages, never single genomes: a task costs some milliseconds, an evaluation
may cost less. Prefect's own cache is off, because a stage's completion marker alone says what is
reused. Importing this module imports Prefect; call `prepare_environment` before.
"""

from __future__ import annotations

from contextvars import ContextVar
from pathlib import Path

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import Task

from clso.errors import DownloadError
from clso.progress import SILENT, Reporter
from pipelines.config import RunConfig
from pipelines.context import RunContext, open_context
from pipelines.prefect_report import PrefectReporter, publish
from pipelines.stage import Stage
from pipelines.stages import through

__all__ = ["FLOWS", "analyze", "baseline", "library", "listener", "prepare", "run", "search"]

_DOWNLOAD_RETRIES = 2
_RETRY_DELAY_S = 5


@flow(name="clso-prepare")
def prepare(config: RunConfig, out: Path, fresh: bool = False) -> Path:
    """Prepare the data set."""
    return _run("prepare", config, out, fresh)


@flow(name="clso-library")
def library(config: RunConfig, out: Path, fresh: bool = False) -> Path:
    """Generate the libraries."""
    return _run("library", config, out, fresh)


@flow(name="clso-search")
def search(config: RunConfig, out: Path, fresh: bool = False) -> Path:
    """Search for the best genome."""
    return _run("search", config, out, fresh)


@flow(name="clso-baseline")
def baseline(config: RunConfig, out: Path, fresh: bool = False) -> Path:
    """Train the AdamW baseline."""
    return _run("baseline", config, out, fresh)


@flow(name="clso-analyze")
def analyze(config: RunConfig, out: Path, fresh: bool = False) -> Path:
    """Score the test split once, compare and report."""
    return _run("analyze", config, out, fresh)


@flow(name="clso-run")
def run(config: RunConfig, out: Path, fresh: bool = False) -> Path:
    """Run every stage, from data to report."""
    return _run("run", config, out, fresh)


FLOWS = {
    "prepare": prepare,
    "library": library,
    "search": search,
    "baseline": baseline,
    "analyze": analyze,
    "run": run,
}

# What a flow tells of its progress besides Prefect; the command line sets its terminal here.
listener: ContextVar[Reporter] = ContextVar("listener", default=SILENT)


def _run(command: str, config: RunConfig, out: Path, fresh: bool) -> Path:
    reporter = PrefectReporter(listener.get())
    with open_context(config, out, reporter, fresh=fresh) as context:
        for stage in through(command, config):
            _stage_task(stage, context)()
        publish(context)
        return context.folder.path


def _stage_task(stage: Stage, context: RunContext) -> Task[[], None]:
    # The context stays in this closure: Prefect would search a parameter for futures, key by key.
    @task(
        name=stage.name,
        cache_policy=NO_CACHE,
        retries=_DOWNLOAD_RETRIES if stage.name == "prepare" else 0,
        retry_delay_seconds=_RETRY_DELAY_S,
        retry_condition_fn=_may_pass,
    )
    def stage_task() -> None:
        stage.run(context)

    return stage_task


def _may_pass(task: Task[..., object], run: TaskRun, state: State[object]) -> bool:
    """Retry a download cut short; a user's mistake stays one."""
    return isinstance(state.result(raise_on_failure=False), DownloadError)
