"""The stage `prepare`: the data set, shared by all runs that ask for the same text."""

from __future__ import annotations

import numpy as np

from clso.baseline.heads import check_classes
from clso.baseline.plan import check_batch
from clso.counting import count_targets
from clso.data import SPLITS, TokenSplit
from clso.digest import digest_of
from pipelines.context import RunContext
from pipelines.ledger import StageOutcome
from pipelines.stage import Stage

__all__ = ["PREPARE"]


def _work(run: RunContext) -> StageOutcome:
    """Build the data set; its key follows from its contents alone."""
    experiment = run.experiment
    dataset = run.config.recipe.prepare(
        experiment.datasets, run.reporter, fingerprint=experiment.data_fingerprint
    )
    contents = [
        dataset.manifest["text_sha256"],
        dataset.manifest["split_sha256"],
        dataset.tokenizer.fingerprint,
    ]
    # the manifest has the checksums of the others, with which they are opened
    names = ["tokenizer.json", "splits.parquet", *map(TokenSplit.file_name, SPLITS)]
    return StageOutcome(
        (dataset.path / "manifest.json",),
        present=tuple(dataset.path / name for name in names),
        key=digest_of(contents),
    )


def _conclude(run: RunContext) -> None:
    """Note the tokens that the run uses; the data set may have too few."""
    run.note(
        dataset={
            **run.experiment.dataset.manifest,
            "used": {
                name: {"tokens": split.n_tokens, "unused_tokens": split.n_unused_tokens}
                for name, split in run.experiment.budget.items()
            },
        }
    )
    run.config.data.check_duplicates(run.experiment.dataset.duplicates, run.experiment.dataset.name)
    _check_trainings(run)


def _check_trainings(run: RunContext) -> None:
    """Check that the text is enough for every training, before a search is paid for."""
    baseline, models = run.config.baseline, run.config.opponents.models
    learned = [run.experiment.budget[name] for name in ("train", "tune")]
    for settings in (*((baseline,) if baseline.enabled else ()), *models):
        check_batch(max(settings.batch_sizes), sum(split.n_blocks for split in learned))
    wanted = [model.classes for model in models if model.classes is not None]
    if wanted:
        counts = count_targets(learned, run.experiment.dataset.vocab_size)
        check_classes(max(wanted), int(np.count_nonzero(counts)))


PREPARE = Stage(
    name="prepare",
    command="prepare",
    work=_work,
    home=lambda experiment: experiment.dataset_path,
    conclude=_conclude,
)
