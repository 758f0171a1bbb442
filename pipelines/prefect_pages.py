"""What Prefect's pages show of a run: name, tags, log, progress, results and report.

Importing this module imports Prefect.
"""

from __future__ import annotations

import logging
import platform
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID
from weakref import ReferenceType, ref

from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext
from prefect.logging import get_run_logger
from prefect.logging.handlers import PrefectConsoleHandler

from clso.artifacts import Run
from clso.errors import ClsoError
from clso.progress import ProgressTask, Reporter
from clso.report.formats import DURATION, ENERGY
from clso.report.markdown import page_markdown, section_markdown
from clso.report.results import result_table
from pipelines.config import RunConfig
from pipelines.context import RunContext
from pipelines.flow_link import tell
from pipelines.stage import Stage

__all__ = ["RunPage", "log_to_server"]

# An update is a call to the server: rare enough to cost nothing beside the work.
_UPDATE_EVERY_S = 3.0
# Work that is done sooner leaves no bar: nobody looks at one that is full.
_BAR_AFTER_S = 1.0
_LINE_EVERY_S = 60.0
_RUN_LOGGERS = ("prefect.flow_runs", "prefect.task_runs")


@dataclass(frozen=True)
class RunPage:
    """The page of the flow run that is under way.

    Attributes:
        run_id: of the run; it names the flow run and begins the key of every artifact.
        reporter: shows the progress on the page, and where the listener shows it.
    """

    run_id: str
    reporter: Reporter

    @classmethod
    def begin(cls, config: RunConfig, listener: Reporter) -> RunPage:
        """Name the flow run by the run's id, and tag it with configuration, seed and families.

        Raises:
            DataError: the text, which the id depends on, cannot be found.
        """
        run_id = config.run_id(config.recipe.fingerprint)
        tags = [f"config={config.name}", f"seed={config.seed}"]
        tell(_label, run_id, [*tags, *(f"family={family}" for family in config.families)])
        return cls(run_id, _PrefectReporter(listener, run_id))

    @contextmanager
    def study(self, name: str) -> Iterator[None]:
        """Log the begin and the end of a study."""
        started = time.monotonic()
        _log("study %s: begun", name)
        yield
        _log("study %s: done in %s", name, DURATION.text(time.monotonic() - started))

    def run_stage(self, stage: Stage, run: RunContext) -> None:
        """Run a stage, or reuse its outcome, and log its cost over all attempts."""
        _log("stage %s: begun", stage.name)
        stage.run(run)
        cost = run.records[stage.name].measurement
        spent = f"{DURATION.text(cost.duration_s)}, {ENERGY.text(cost.energy_j)}"
        _log("stage %s: done; cost %s", stage.name, spent)

    def publish_run(self, run: Run) -> None:
        """Show the stages of a run or, after the analysis, its results and its report."""
        from clso.report.run import report_page

        if not run.has("results"):
            stages = run.manifest.get("stages", {}).items()
            rows = [f"| {name} | {stage['status']} | {stage['at']} |" for name, stage in stages]
            self._publish_report(
                run, "\n".join(["| stage | status | at |", "|---|---|---|", *rows])
            )
            return
        table = result_table(run)
        text = "Test loss in nats per token, lowest first, and its interval in brackets."
        create_table_artifact(table.records(), key=self._key("results"), description=text)
        for row in table.rows:
            (model, _), (loss, interval) = row.texts()[:2]
            get_run_logger().info("%s: test loss %s (%s)", model, loss, interval)
        self._publish_report(run, page_markdown(report_page(run)))

    def publish_study(self, name: str, run: Run) -> None:
        """Show what a study found."""
        from clso.studies import study_sections
        from clso.studies.tuning import TuningReport

        if name == "tune":
            text = page_markdown(TuningReport(run).page())
        else:
            table = "ablations" if name == "ablate" else name
            text = "\n\n".join(map(section_markdown, study_sections(run, table)))
        self._publish_report(run, text, name)

    def _publish_report(self, run: Run, text: str, name: str = "report") -> None:
        where = f"`{run.path}` on `{platform.node()}`"
        get_run_logger().info("everything is in %s", where.replace("`", ""))
        create_markdown_artifact(
            f"{where}\n\n{text}", key=self._key(name), description=f"{name} of {run.run_id}"
        )

    def _key(self, name: str) -> str:
        return _key(f"{self.run_id} {name}")


class _PrefectReporter:
    """Passes progress on to a listener, the log and a progress artifact of Prefect."""

    def __init__(self, inner: Reporter, run_id: str) -> None:
        self._inner = inner
        self._run_id = run_id
        self._opened: Counter[str] = Counter()

    @contextmanager
    def task(self, description: str, total: float | None = None) -> Iterator[ProgressTask]:
        """Open a piece of work; there is no bar without a total."""
        key = _key(f"{self._run_id} {description}")
        self._opened[key] += 1
        if self._opened[key] > 1:  # another piece of work, not another version of the bar
            key = f"{key}-{self._opened[key]}"
        with self._inner.task(description, total) as inner:
            task = _PrefectTask(inner, key, description, total)
            yield task
            task.finish()


class _PrefectTask:
    """A piece of work; its bar appears when it has lasted a second."""

    def __init__(
        self, inner: ProgressTask, key: str, description: str, total: float | None
    ) -> None:
        self._inner = inner
        self._key = key
        self._description = description
        self._total = total
        self._note = ""
        self._bar: UUID | None = None
        self._started = self._logged = time.monotonic()
        self._due = self._started + _BAR_AFTER_S

    def update(self, completed: float, note: str = "") -> None:
        self._inner.update(completed, note)
        self._note = note or self._note
        now = time.monotonic()
        if now < self._due:
            return
        self._due = now + _UPDATE_EVERY_S
        share = min(100.0, 100.0 * completed / self._total) if self._total else None
        if share is not None:
            self._show(share)
        if now - self._logged >= _LINE_EVERY_S:
            self._logged = now
            part = "" if share is None else f"{share:.0f} % "
            _log("%s: %s%s", self._description, part, self._note)

    def finish(self) -> None:
        """Fill the bar, and log how the work ended."""
        if self._bar is not None:
            self._show(100.0)
        lasted = DURATION.text(time.monotonic() - self._started)
        _log("%s: %s (%s)", self._description, self._note or "done", lasted)

    def _show(self, share: float) -> None:
        text = f"{self._description}: {self._note}" if self._note else self._description
        if self._bar is None:
            made = tell(create_progress_artifact, progress=share, key=self._key, description=text)
            self._bar = made if isinstance(made, UUID) else None
        else:
            tell(update_progress_artifact, self._bar, progress=share, description=text)


def log_to_server() -> None:
    """Let the lines of runs pass to a server of the user's, where Prefect is otherwise quiet."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, PrefectConsoleHandler):
            handler.setLevel(logging.getLogger("prefect").level)
    for name in _RUN_LOGGERS:
        logging.getLogger(name).setLevel(logging.INFO)
    # Lines that a server does not take, since it has gone away, are not told one by one.
    logging.raiseExceptions = False


def _log(text: str, *values: str) -> None:
    """Log a line of the run; a thread of its own and a flow's plain function have no run."""
    if FlowRunContext.get() is not None:
        get_run_logger().info(text, *values)


def _label(name: str, tags: Sequence[str]) -> None:
    """Name the flow run that is under way, and add tags to those it has."""
    context = FlowRunContext.get()
    flow_run = None if context is None else context.flow_run
    if flow_run is None:
        return
    every = sorted({*flow_run.tags, *tags})
    with get_client(sync_client=True) as client:
        client.update_flow_run(flow_run.id, name=name, tags=every)
    # what the log and the artifacts of this process are marked with
    flow_run.name, flow_run.tags = name, every


def _key(text: str) -> str:
    """Spell a text as a key of Prefect: lowercase letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


class _BriefMistakes(logging.Filter):
    """Logs a user's mistake once, as its sentence; Prefect adds a traceback and says it twice."""

    def __init__(self) -> None:
        super().__init__()
        self._logged: ReferenceType[ClsoError] | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if not isinstance(error, ClsoError):
            return True
        if self._logged is not None and self._logged() is error:
            return False
        self._logged = ref(error)
        record.msg, record.args, record.exc_info = str(error), (), None
        return True


for _name in _RUN_LOGGERS:
    logging.getLogger(_name).addFilter(_BriefMistakes())
