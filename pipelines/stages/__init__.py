"""The stages of a run as plain functions, in order, each done once and then reused.

Data sets and libraries are shared between runs; the other stages belong to one run. A stage's
marker (`pipelines.ledger`) alone decides on reuse.
"""

from __future__ import annotations

from contextlib import suppress

from clso.errors import ArtifactError
from pipelines.context import RunContext, versions
from pipelines.ledger import StageLedger
from pipelines.stages import analyze, baseline, search
from pipelines.stages.shared import make_dataset, make_library, open_dataset, shared_home

__all__ = ["STAGES", "run_stage", "run_stages", "through"]

STAGES = ("prepare", "library", "search", "baseline", "analyze")

_BUILT_ON = {
    "prepare": (),
    "library": (),
    "search": ("prepare", "library"),
    "baseline": ("prepare",),
    "analyze": ("prepare", "library", "search", "baseline"),
}
_WORK = {
    "prepare": make_dataset,
    "library": make_library,
    "search": search.run,
    "baseline": baseline.run,
    "analyze": analyze.run,
}
_CLEAR = {"search": search.clear, "baseline": baseline.clear, "analyze": analyze.clear}


def through(command: str) -> tuple[str, ...]:
    """Return the stages that a command comes down to, in order."""
    return STAGES if command == "run" else (*_BUILT_ON[command], command)


def run_stages(command: str, context: RunContext) -> None:
    """Run a command's stages one after the other."""
    for stage in through(command):
        run_stage(stage, context)


def run_stage(stage: str, context: RunContext) -> None:
    """Do a stage's work unless it is done; its time and joules go into its account."""
    if stage == "baseline" and not context.config.baseline.enabled:
        return
    home = shared_home(stage, context)
    if home is None:
        _run_or_reuse(stage, context, _own_ledger(stage, context))
    else:
        ledger = StageLedger(
            stage, root=home, begun=home.parent / f".{home.name}.{stage}.json", needs={}
        )
        # Of two runs that want the same, one makes it and the other finds it.
        with context.lock(home.parent / f".{home.name}.{stage}.lock"):
            _run_or_reuse(stage, context, ledger)
    if stage == "prepare":
        # A data set that is there may still be too small for what this run asks of it.
        open_dataset(context)
    if stage == "analyze":
        analyze.conclude(context)


def _own_ledger(stage: str, context: RunContext) -> StageLedger:
    return StageLedger(
        stage,
        root=context.folder.path,
        begun=context.folder.path / "stages" / f"{stage}.begun.json",
        needs={
            name: context.records[name].key for name in _BUILT_ON[stage] if name in context.records
        },
    )


def _run_or_reuse(stage: str, context: RunContext, ledger: StageLedger) -> None:
    record = ledger.finished()
    if record is not None:
        with context.reporter.task(stage, total=1) as task:
            task.update(1, "finished before, reused")
    else:
        if stage in _CLEAR and not ledger.resumable():
            # What an earlier outcome of other foundations left must not be taken up.
            _CLEAR[stage](context)
        context.note_work()
        context.note_stage(stage, "running")
        try:
            with ledger.attempt(context.monitor) as attempts:
                outcome = _WORK[stage](context, context.reporter)
            ledger.finish(outcome, attempts, owner=context.uid, versions=versions())
        except BaseException as error:
            status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
            # The failure is what matters; a full disk must not hide it behind its own.
            with suppress(ArtifactError):
                context.note_stage(stage, status)
            raise
        record = ledger.finished()
        assert record is not None, f"stage {stage} is not finished by its own marker"
    context.records[stage] = record
    context.note(**record.notes)
    context.note_stage(stage, "done")
