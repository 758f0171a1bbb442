"""The AdamW baseline: a sweep at equal tokens; the winner is kept with its own cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from clso.artifacts import CHECKSUMS, RunFolder, remove
from clso.baseline import AdamwGpt2, Sweep, TrialResult
from clso.energy import Measurement
from pipelines.config import RunConfig
from pipelines.context import RunContext
from pipelines.ledger import StageOutcome
from pipelines.stage import Stage

__all__ = ["BASELINE", "sweep_of", "winner"]


def _clear(folder: RunFolder) -> None:
    folder.remove_table("baseline")
    remove(_checkpoint(folder))
    remove(_state(folder))


def _work(run: RunContext) -> StageOutcome:
    """Train every trial of the sweep and keep the best."""
    config, experiment = run.config, run.experiment
    sweep = sweep_of(run, experiment.data_fingerprint, _state(run.folder), _checkpoint(run.folder))
    sink = run.folder.sink("adamw")
    columns = {"run_id": run.run_id, "seed": config.seed, "passes": config.baseline.passes}

    def store(number: int, trial: TrialResult) -> None:
        sink.append("baseline", number, trial.table_rows(**columns))

    result = sweep.from_scratch(experiment.gpt_shape, on_result=store)
    run.folder.compact("baseline")
    notes = {
        "baseline": {
            "winner": {
                "trial": str(result.best.trial),
                "settings": asdict(result.best.trial),
                "validation_loss": result.best.loss,
                "best_step": result.best.best_step,
                "threads": result.best.threads,
                "training": result.best.training.to_record(),
            },
            "trials": len(result.trials),
            "sweep": result.total.to_record(),
        }
    }
    return StageOutcome(
        (_checkpoint(run.folder) / CHECKSUMS,),
        notes,
        present=(run.folder.table("baseline"), _checkpoint(run.folder) / "model.safetensors"),
    )


def sweep_of(run: RunContext, fingerprint: str, state: Path, checkpoint: Path) -> Sweep:
    """Return the sweep of a run's settings over its splits.

    `fingerprint` names what the trials learn from and start from.
    """
    config, experiment = run.config, run.experiment
    splits = experiment.budget
    return Sweep(
        [splits["train"], splits["tune"]],
        splits["validation"],
        settings=config.baseline,
        tokenizer=experiment.dataset.tokenizer,
        seed=config.seed,
        fingerprint=fingerprint,
        belongs_to=run.uid,
        state=state,
        checkpoint=checkpoint,
        monitor=run.monitor,
        device=experiment.device,
        threads=experiment.threads,
        engine=experiment.engine,
        reporter=run.reporter,
    )


def winner(run: RunContext) -> tuple[AdamwGpt2, Measurement]:
    """Load the baseline with the cost of the winning trial's training steps alone.

    The cost leaves out validations and the other trials, in AdamW's favour. The table `energy` has
    the whole stage.
    """
    record = run.manifest["baseline"]["winner"]["training"]
    model = AdamwGpt2.load(_checkpoint(run.folder), device=run.experiment.device)
    return model, Measurement.from_record(record)


def _winner_alone(config: RunConfig, manifest: Mapping[str, Any]) -> RunConfig:
    """Return the configuration whose sweep is the winning trial of a finished run."""
    trial = manifest["baseline"]["winner"]["settings"]
    grids = {
        "learning_rates": trial["lr"],
        "schedules": trial["schedule"],
        "batch_sizes": trial["batch_size"],
        "dropouts": trial["dropout"],
    }
    only = {f"baseline.{name}": [value] for name, value in grids.items()}
    return config.with_overrides({**only, "baseline.extend": 0}, where="the winning trial")


def _state(folder: RunFolder) -> Path:
    return folder.state / "baseline"


def _checkpoint(folder: RunFolder) -> Path:
    return folder.model("adamw")


BASELINE = Stage(
    name="baseline",
    command="baseline",
    work=_work,
    needs=("prepare",),
    wanted=lambda config: config.baseline.enabled,
    clear=_clear,
    model=winner,
    makes="adamw",
    winner_alone=_winner_alone,
)
