"""The stages of a run as plain functions, in order, each done once and then reused.

Data sets and libraries are shared between runs; the other stages belong to one run. A stage's
marker (`pipelines.ledger`) alone decides on reuse.
"""

from __future__ import annotations

from contextlib import suppress

from clso.errors import ArtifactError
from pipelines.config import RunConfig
from pipelines.context import RunContext, versions
from pipelines.ledger import StageLedger
from pipelines.stages import analyze, baseline, functions, hybrid, mixture, search, warm_start
from pipelines.stages.shared import make_dataset, make_library, open_dataset, shared_home

__all__ = ["COMMANDS", "STAGES", "run_stage", "run_stages", "through"]

STAGES = (
    "prepare",
    "library",
    "functions",
    "search",
    "mixture",
    "baseline",
    "warm_start",
    "hybrid",
    "analyze",
)
COMMANDS = {
    "prepare": ("prepare",),
    "library": ("prepare", "library", "functions"),
    "search": ("prepare", "library", "functions", "search", "mixture"),
    "baseline": ("prepare", "baseline"),
    "analyze": STAGES,
    "run": STAGES,
}
_BUILT_ON = {
    "prepare": (),
    "library": (),
    "functions": ("prepare",),
    "search": ("prepare", "library"),
    "mixture": ("prepare", "functions"),
    "baseline": ("prepare",),
    "warm_start": ("prepare", "search", "baseline"),
    "hybrid": ("prepare", "functions", "mixture", "baseline"),
    "analyze": STAGES[:-1],
}
_WORK = {
    "prepare": make_dataset,
    "library": make_library,
    "functions": functions.run,
    "search": search.run,
    "mixture": mixture.run,
    "baseline": baseline.run,
    "warm_start": warm_start.run,
    "hybrid": hybrid.run,
    "analyze": analyze.run,
}
_CLEAR = {
    "search": search.clear,
    "mixture": mixture.clear,
    "baseline": baseline.clear,
    "warm_start": warm_start.clear,
    "hybrid": hybrid.clear,
    "analyze": analyze.clear,
}


def through(command: str, config: RunConfig) -> tuple[str, ...]:
    """Return the stages that a command comes down to, in order."""
    return tuple(stage for stage in COMMANDS[command] if _wanted(stage, config))


def _wanted(stage: str, config: RunConfig) -> bool:
    has_mixture = "mixture" in config.families
    return {
        "library": "gpt" in config.families,
        "search": "gpt" in config.families,
        "functions": has_mixture,
        "mixture": has_mixture,
        "baseline": config.baseline.enabled,
        "warm_start": "gpt" in config.families
        and config.baseline.enabled
        and config.baseline.warm_start.enabled,
        "hybrid": has_mixture and config.baseline.enabled and config.mixture.hybrid,
    }.get(stage, True)


def run_stages(command: str, context: RunContext) -> None:
    """Run a command's stages one after the other."""
    for stage in through(command, context.config):
        run_stage(stage, context)


def run_stage(stage: str, context: RunContext) -> None:
    """Do a stage's work unless it is done; its time and joules go into its account."""
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
            name: context.records[name].key
            for name in _built_on(stage, context.config)
            if name in context.records
        },
    )


def _built_on(stage: str, config: RunConfig) -> tuple[str, ...]:
    if stage == "mixture" and config.mixture.crystalline_gpt:
        return (*_BUILT_ON[stage], "library", "search")
    return _BUILT_ON[stage]


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
