"""The AdamW baseline: a sweep at equal tokens, the winner kept with what it alone took."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from clso.artifacts import RunFolder, remove
from clso.baseline import AdamwGpt2, SweepGrid, TrainingSettings, run_sweep
from clso.energy import Measurement
from clso.progress import Reporter
from pipelines.context import RunContext
from pipelines.ledger import StageOutcome
from pipelines.stages.problems import device, gpt_shape
from pipelines.stages.shared import open_dataset

__all__ = ["clear", "run", "winner"]


def clear(context: RunContext) -> None:
    """Delete what an earlier sweep left."""
    context.folder.remove_table("baseline")
    remove(_checkpoint(context.folder))
    remove(_state(context.folder))


def run(context: RunContext, reporter: Reporter) -> StageOutcome:
    """Train every trial of the sweep and keep the best."""
    config = context.config
    grid = config.baseline
    dataset = open_dataset(context)
    splits = dataset.budget(config.data.train_tokens)
    result = run_sweep(
        [splits["train"], splits["tune"]],
        splits["validation"],
        shape=gpt_shape(config, dataset),
        grid=SweepGrid(
            learning_rates=grid.learning_rates,
            schedules=grid.schedules,
            batch_sizes=grid.batch_sizes,
            dropouts=grid.dropouts,
            extend=grid.extend,
            strategy=grid.strategy,
        ),
        settings=TrainingSettings(
            passes=grid.passes,
            warmup_fraction=grid.warmup_fraction,
            weight_decay=grid.weight_decay,
            grad_clip=grid.grad_clip,
            eval_points=grid.eval_points,
        ),
        tokenizer=dataset.tokenizer,
        seed=config.seed,
        run_id=context.run_id,
        fingerprint=context.data_fingerprint,
        state=_state(context.folder),
        checkpoint=_checkpoint(context.folder),
        sink=context.folder.sink("adamw"),
        monitor=context.monitor,
        threads=context.threads,
        device=device(config),
        reporter=reporter,
    )
    context.folder.compact("baseline")
    notes = {
        "baseline": {
            "winner": {
                "trial": str(result.best.trial),
                "settings": asdict(result.best.trial),
                "validation_loss": result.loss,
                "best_step": result.best.best_step,
                "training": result.best.training.to_record(),
            },
            "trials": len(result.trials),
            "sweep": result.total.to_record(),
        }
    }
    table = context.folder.table("baseline")
    return StageOutcome((table, _checkpoint(context.folder) / "model.safetensors"), notes)


def winner(context: RunContext) -> tuple[AdamwGpt2, Measurement]:
    """Load the baseline with the cost of its winning trial's steps alone.

    Its validations and the rest of the sweep are left out, in AdamW's favour; the energy of the
    whole stage stands beside it.
    """
    record = context.manifest["baseline"]["winner"]["training"]
    model = AdamwGpt2.load(_checkpoint(context.folder), device=device(context.config))
    return model, Measurement.from_record(record)


def _state(folder: RunFolder) -> Path:
    return folder.state / "baseline"


def _checkpoint(folder: RunFolder) -> Path:
    return folder.model("adamw")
