"""The stages of a run as plain functions, in order, each done once and then reused.

A stage writes its data, then its completion marker, which alone decides on reuse. Data sets and
libraries are shared between runs; the other stages belong to one run.
"""

from __future__ import annotations

from clso.progress import ProgressTask
from pipelines.context import RunContext
from pipelines.stages import analyze, baseline, search
from pipelines.stages.shared import library_ledger, make_dataset, make_library, prepare_ledger

__all__ = ["STAGES", "run_stage", "run_stages", "through"]

STAGES = ("prepare", "library", "search", "baseline", "analyze")

_NEEDS = {
    "prepare": ("prepare",),
    "library": ("library",),
    "search": ("prepare", "library", "search"),
    "baseline": ("prepare", "baseline"),
    "analyze": STAGES,
    "run": STAGES,
}
_WORK = {
    "prepare": make_dataset,
    "library": make_library,
    "search": search.run,
    "baseline": baseline.run,
    "analyze": analyze.run,
}


def through(command: str) -> tuple[str, ...]:
    """Return the stages that a command comes down to, in order."""
    return _NEEDS[command]


def run_stages(command: str, context: RunContext) -> None:
    """Run a command's stages one after the other."""
    for stage in through(command):
        run_stage(stage, context)


def run_stage(stage: str, context: RunContext) -> None:
    """Do a stage's work unless it is done; its time and joules go into its account."""
    if stage == "baseline" and not context.config.baseline.enabled:
        return
    ledger = {"prepare": prepare_ledger, "library": library_ledger}.get(stage)
    account = ledger(context) if ledger else context.ledger(stage)
    record = account.finished()
    if record is None:
        context.note_stage(stage, "running")
        try:
            with account.attempt(context.monitor, context.reporter) as reporter:
                _WORK[stage](context, reporter)
        except BaseException as error:
            status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
            context.note_stage(stage, status)
            raise
    else:
        task: ProgressTask
        with context.reporter.task(stage, total=1) as task:
            task.update(1, "finished before, reused")
    context.note_stage(stage, "done")
    if stage == "analyze":
        analyze.conclude(context)
