"""AdamW from the found crystalline GPT: how far, and how soon, its gradients take that."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from clso.artifacts import remove
from clso.baseline import AdamwGpt2, TrainingSettings, Trial
from clso.baseline.warm_start import run_warm_start
from clso.energy import Measurement
from clso.progress import Reporter
from pipelines.context import RunContext
from pipelines.ledger import StageOutcome
from pipelines.stages.problems import device
from pipelines.stages.shared import open_dataset

__all__ = ["NAME", "clear", "run", "warm_started"]

NAME = "warm_start"


def clear(context: RunContext) -> None:
    """Delete what an earlier warm start left."""
    context.folder.remove_table(NAME)
    remove(context.folder.model(NAME))
    remove(context.folder.state / NAME)


def run(context: RunContext, reporter: Reporter) -> StageOutcome:
    """Train on from the found model, and note how soon it is where AdamW ended from scratch."""
    config, folder = context.config, context.folder
    dataset = open_dataset(context)
    splits = dataset.budget(config.data.train_tokens)
    scratch = context.manifest["baseline"]["winner"]
    section = config.baseline
    result = run_warm_start(
        folder.model("gpt"),
        [splits["train"], splits["tune"]],
        splits["validation"],
        like=Trial(**scratch["settings"]),
        learning_rates=section.warm_start.learning_rates,
        settings=TrainingSettings(
            passes=section.passes,
            warmup_fraction=section.warmup_fraction,
            weight_decay=section.weight_decay,
            grad_clip=section.grad_clip,
            eval_points=section.warm_start.eval_points,
        ),
        tokenizer=dataset.tokenizer,
        seed=config.seed,
        fingerprint=f"{context.data_fingerprint} {context.records['search'].key}",
        state=folder.state / NAME,
        checkpoint=folder.model(NAME),
        monitor=context.monitor,
        device=device(config),
        reporter=reporter,
    )
    rows = [
        {
            "run_id": context.run_id,
            "seed": config.seed,
            **asdict(trial.trial),
            "passes": section.passes,
            **row,
        }
        for trial in result.trials
        for row in trial.rows
    ]
    folder.write_rows(NAME, rows)
    notes: dict[str, Any] = {
        NAME: {
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
    return StageOutcome((folder.table(NAME), folder.model(NAME) / "model.safetensors"), notes)


def warm_started(context: RunContext) -> tuple[AdamwGpt2, Measurement]:
    """Load the model that was trained on, with the cost of its best trial's steps."""
    record = context.manifest[NAME]["training"]
    model = AdamwGpt2.load(context.folder.model(NAME), name=NAME, device=device(context.config))
    return model, Measurement.from_record(record)
