"""The stage `prepare`: the data set, shared by all runs that ask for the same text."""

from __future__ import annotations

from clso.data import SPLITS, TokenSplit
from clso.digest import digest_of
from clso.errors import DataError
from pipelines.context import RunContext
from pipelines.ledger import StageOutcome
from pipelines.stage import Stage

__all__ = ["PREPARE"]


def _work(run: RunContext) -> StageOutcome:
    """Build the data set; its key follows from its contents alone."""
    experiment = run.experiment
    dataset = run.config.recipe.prepare(experiment.datasets, run.reporter)
    if dataset.path.name != experiment.data_fingerprint:
        raise DataError(
            f"the text has changed since the run {run.run_id} began",
            remedy="start the command again; other text makes another run",
        )
    contents = [
        dataset.manifest["text_sha256"],
        dataset.manifest["split_sha256"],
        dataset.tokenizer.fingerprint,
    ]
    names = ["manifest.json", "splits.parquet", *map(TokenSplit.file_name, SPLITS)]
    return StageOutcome(tuple(dataset.path / name for name in names), key=digest_of(contents))


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


PREPARE = Stage(
    name="prepare",
    command="prepare",
    work=_work,
    home=lambda experiment: experiment.datasets / experiment.data_fingerprint,
    conclude=_conclude,
)
