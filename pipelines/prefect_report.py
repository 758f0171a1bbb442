"""What Prefect's pages show of a run: a bar per piece of work, the result table, the report."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)

from clso.artifacts import Run
from clso.progress import ProgressTask, Reporter
from clso.report.results import result_table

__all__ = ["PrefectReporter", "publish"]

# An update is a call to the server: rarely enough to cost nothing beside the work.
_UPDATE_EVERY_S = 3.0


class PrefectReporter:
    """Passes progress on to a listener and to a Prefect progress artifact."""

    def __init__(self, inner: Reporter) -> None:
        self._inner = inner

    @contextmanager
    def task(self, description: str, total: float | None = None) -> Iterator[ProgressTask]:
        """Open a piece of work; without a total Prefect shows nothing, having no bar to fill."""
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


def publish(run: Run) -> None:
    """Put a run's summary, and once it is analyzed its results and report, on Prefect's pages."""
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
    """Spell a text in what Prefect allows for keys: lowercase letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
