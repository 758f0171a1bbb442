"""AdamW or Muon that starts from the crystalline GPT of the search, instead of random weights."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from clso.artifacts import CHECKSUMS, RunFolder, remove
from clso.baseline import AdamwGpt2, Trial
from clso.energy import Measurement
from pipelines.context import RunContext
from pipelines.ledger import StageOutcome
from pipelines.stage import ModelAndCost, Stage
from pipelines.stages.baseline import sweep_of

__all__ = ["warm_start_stage"]

_NAME = "warm_start"


def _clear(folder: RunFolder) -> None:
    folder.remove_table(_NAME)
    remove(folder.model(_NAME))
    remove(folder.state / _NAME)


def _work(family: str, search: str, run: RunContext) -> StageOutcome:
    """Train the found model, and note after how many steps it reaches the baseline's loss."""
    config, folder = run.config, run.folder
    scratch = run.manifest["baseline"]["winner"]
    fingerprint = f"{run.experiment.data_fingerprint} {run.records[search].key}"
    optimizer = config.baseline.warm_start.optimizer
    if optimizer != "adamw":
        fingerprint += f" {optimizer}"
    sweep = sweep_of(run, fingerprint, folder.state / _NAME, folder.model(_NAME))
    sweep = replace(sweep, optimizer=optimizer)
    result = sweep.from_checkpoint(folder.model(family), Trial(**scratch["settings"]))
    columns = {"run_id": run.run_id, "seed": config.seed, "passes": config.baseline.passes}
    rows = [row for trial in result.trials for row in trial.table_rows(**columns)]
    folder.write_rows(_NAME, rows)
    notes: dict[str, Any] = {
        _NAME: {
            "trial": str(result.best.trial),
            "optimizer": optimizer,
            "start_loss": result.start_loss,
            "validation_loss": result.best.loss,
            "best_step": result.best.best_step,
            "n_steps": result.best.n_steps,
            "scratch_loss": scratch["validation_loss"],
            "steps_to_scratch_loss": result.steps_to(scratch["validation_loss"]),
            "training": result.best.training.to_record(),
            "total": result.total.to_record(),
        }
    }
    path = folder.model(_NAME)
    present = (folder.table(_NAME), path / "model.safetensors")
    return StageOutcome((path / CHECKSUMS,), notes, present)


def _model(search: str, run: RunContext) -> ModelAndCost:
    """Load the trained model, with the cost of the search and of the best trial's steps."""
    trained = Measurement.from_record(run.manifest[_NAME]["training"])
    model = AdamwGpt2.load(run.folder.model(_NAME), name=_NAME, device=run.experiment.device)
    return model, Measurement.total([run.spent(search), trained])


def warm_start_stage(family: str, search: str) -> Stage:
    """Return the stage that trains a family's GPT-2 checkpoint, found by the stage `search`."""
    return Stage(
        name=_NAME,
        command="analyze",
        work=partial(_work, family, search),
        needs=("prepare", search, "baseline"),
        wanted=lambda config: config.baseline.enabled and config.baseline.warm_start.enabled,
        clear=_clear,
        model=partial(_model, search),
    )
