"""AdamW from the found crystalline GPT: how far, and how soon, its gradients take that."""

from __future__ import annotations

from typing import Any

from clso.artifacts import RunFolder, remove
from clso.baseline import AdamwGpt2, Sweep, Trial
from clso.energy import Measurement
from pipelines.context import RunContext
from pipelines.ledger import StageOutcome
from pipelines.stage import ModelAndCost, Stage

__all__ = ["WARM_START"]

_NAME = "warm_start"


def _clear(folder: RunFolder) -> None:
    """Delete what an earlier warm start left."""
    folder.remove_table(_NAME)
    remove(folder.model(_NAME))
    remove(folder.state / _NAME)


def _work(run: RunContext) -> StageOutcome:
    """Train on from the found model, and note how soon it is where AdamW ended from scratch."""
    config, folder, experiment = run.config, run.folder, run.experiment
    splits = experiment.budget
    scratch = run.manifest["baseline"]["winner"]
    sweep = Sweep(
        [splits["train"], splits["tune"]],
        splits["validation"],
        settings=config.baseline,
        tokenizer=experiment.dataset.tokenizer,
        seed=config.seed,
        fingerprint=f"{experiment.data_fingerprint} {run.records['search'].key}",
        state=folder.state / _NAME,
        checkpoint=folder.model(_NAME),
        monitor=run.monitor,
        device=experiment.device,
        reporter=run.reporter,
    )
    result = sweep.from_checkpoint(folder.model("gpt"), Trial(**scratch["settings"]))
    columns = {"run_id": run.run_id, "seed": config.seed, "passes": config.baseline.passes}
    rows = [row for trial in result.trials for row in trial.table_rows(**columns)]
    folder.write_rows(_NAME, rows)
    notes: dict[str, Any] = {
        _NAME: {
            "trial": str(result.best.trial),
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
    return StageOutcome((folder.table(_NAME), folder.model(_NAME) / "model.safetensors"), notes)


def _model(run: RunContext) -> ModelAndCost:
    """Load the model that was trained on, with the cost of its best trial's steps."""
    trained = Measurement.from_record(run.manifest[_NAME]["training"])
    model = AdamwGpt2.load(run.folder.model(_NAME), name=_NAME, device=run.experiment.device)
    return model, Measurement.total([run.spent("search"), trained])


WARM_START = Stage(
    name=_NAME,
    command="analyze",
    work=_work,
    needs=("prepare", "search", "baseline"),
    wanted=lambda config: config.baseline.enabled and config.baseline.warm_start.enabled,
    clear=_clear,
    model=_model,
)
