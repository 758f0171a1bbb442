"""One stage of a run: its foundations, work, outcome and reuse.

Order, commands, clearing and reuse follow from the list of stages (`pipelines.stages`). A stage's
marker (`pipelines.ledger`) alone decides on reuse.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from clso.artifacts import RunFolder
from clso.energy import Measurement
from clso.errors import ArtifactError
from clso.scoring import LanguageModel
from pipelines.config import RunConfig
from pipelines.context import RunContext, versions
from pipelines.experiment import Experiment
from pipelines.ledger import StageLedger, StageOutcome, StageRecord

__all__ = ["ModelAndCost", "Stage"]

Command = Literal["prepare", "library", "search", "baseline", "analyze"]
ModelAndCost = tuple[LanguageModel, Measurement]


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage.

    Attributes:
        name: in markers, in the manifest and in the table `energy`.
        command: the shortest command that runs it.
        work: does the work; called if there is nothing to reuse.
        needs: the stages that it is built on, which may depend on the configuration. If one of
            them is repeated, so is this stage. `None`: all stages before it.
        wanted: whether a run of this configuration has the stage.
        home: the folder of an outcome that runs share, named by its contents; `None`: the outcome
            is the run's own.
        clear: deletes the files of an earlier outcome in the run's folder, before new work.
        model: returns the stage's model and its cost; `None`: there is no model.
        makes: the name of its model, if `clso energy repeat` can make it again; else empty.
        winner_alone: returns the configuration that makes the model without the rest of a sweep,
            from the run's own and its manifest.
        conclude: called each time the stage is finished or reused.
    """

    name: str
    command: Command
    work: Callable[[RunContext], StageOutcome]
    needs: tuple[str, ...] | Callable[[RunConfig], tuple[str, ...]] | None = ()
    wanted: Callable[[RunConfig], bool] = lambda config: True
    home: Callable[[Experiment], Path] | None = None
    clear: Callable[[RunFolder], None] = lambda folder: None
    model: Callable[[RunContext], ModelAndCost] | None = None
    makes: str = ""
    winner_alone: Callable[[RunConfig, Mapping[str, Any]], RunConfig] = lambda config, _: config
    conclude: Callable[[RunContext], None] = lambda run: None

    def built_on(self, config: RunConfig) -> tuple[str, ...] | None:
        """Return the names of the stages that it is built on; `None`: all stages before it."""
        return self.needs(config) if callable(self.needs) else self.needs

    def run(self, run: RunContext) -> None:
        """Do or reuse the work, and record its time and joules."""
        if self.home is None:
            record = self._run_or_reuse(run, self._own_ledger(run))
        else:
            home = self.home(run.experiment)
            # before the lock is taken, so that no other process deletes what this run uses
            run.note_shared(self.name, home)
            ledger = self._shared_ledger(home)
            # Of two runs that need the same outcome, one makes it and the other reuses it.
            with run.experiment.lock(home.parent / f".{home.name}.{self.name}.lock"):
                record = self._run_or_reuse(run, ledger)
        run.records[self.name] = record
        run.note(**record.notes)
        run.note_stage(self.name, "done")
        self.conclude(run)

    def check_shared(self, experiment: Experiment) -> bool:
        """Return whether the shared outcome is there.

        Raises:
            ArtifactError: it is damaged.
        """
        assert self.home is not None, "the outcome is shared"
        return self._shared_ledger(self.home(experiment)).finished() is not None

    def _shared_ledger(self, home: Path) -> StageLedger:
        return StageLedger(
            self.name,
            root=home,
            begun=home.parent / f".{home.name}.{self.name}.json",
            needs={},
            belongs_to=home.name,
        )

    def _own_ledger(self, run: RunContext) -> StageLedger:
        needs = self.built_on(run.config)
        return StageLedger(
            self.name,
            root=run.folder.path,
            begun=run.folder.path / "stages" / f"{self.name}.begun.json",
            needs={
                name: record.key
                for name, record in run.records.items()
                if name != self.name and (needs is None or name in needs)
            },
            belongs_to=run.uid,
        )

    def _run_or_reuse(self, run: RunContext, ledger: StageLedger) -> StageRecord:
        record = ledger.finished()
        if record is not None:
            with run.reporter.task(self.name, total=1) as task:
                task.update(1, "finished before, reused")
            return record
        if not ledger.resumable():
            # Files of an outcome on other foundations must not be resumed.
            self.clear(run.folder)
        run.note_work()
        run.note_stage(self.name, "running")
        try:
            with ledger.attempt(run.monitor) as attempts:
                outcome = self.work(run)
            ledger.finish(outcome, attempts, owner=run.uid, versions=versions())
        except BaseException as error:
            # Ctrl-C, or the signal by which Prefect ends a run: no error of the work.
            status = "failed" if isinstance(error, Exception) else "interrupted"
            # A full disk must not hide the first error behind another one.
            with suppress(ArtifactError):
                run.note_stage(self.name, status)
            raise
        record = ledger.finished()
        assert record is not None, f"stage {self.name} is not finished by its own marker"
        return record
