"""The command `clso refit`: the functions that a search has picked, counted on all text.

A result needs text that its model has not read. A model for use does not: this one has read
validation and test too, so it has no test figure and belongs to no result table.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from clso.artifacts import Run
from clso.data import Dataset, TokenSplit
from clso.errors import ArtifactError, ConfigError
from clso.progress import SILENT, Reporter
from clso.report.card import refit_card
from pipelines.config import RunConfig
from pipelines.experiment import Experiment
from pipelines.families import FAMILIES, AnyFamily
from pipelines.run_model import RunModel

__all__ = ["refit"]


def refit(run: Run, to: Path, model: str | None = None, *, reporter: Reporter = SILENT) -> str:
    """Count a model's functions on all text of the run's data set, and write it to a folder.

    The weights of the functions stay those that the run has fitted on text which the functions had
    not read.

    Args:
        run: has the model; it stays as it is.
        to: a folder that does not exist yet, outside of the run.
        model: a name; `None`: the first family of the run whose models can be counted again.
        reporter: shows the progress.

    Returns:
        A sentence on what was counted and how to open it.

    Raises:
        ArtifactError: the run has no such model, or its data set or library is missing.
        ConfigError: the model is not of a kind that counts.
        ClsoError: the folder cannot be used.
    """
    config = RunConfig.parsed(run.config, run.run_id, "make the run again with `clso run`")
    chosen = RunModel.find(run, _name(run, config, model))
    chosen.check_export(to)
    out, fingerprint = run.path.resolve().parents[1], run.manifest["data_fingerprint"]
    dataset = Dataset.load(
        out / "datasets" / fingerprint,
        block_size=config.data.block_size,
        fingerprint=fingerprint,
    )
    text = {name: _whole(split) for name, split in dataset.splits.items()}
    with (
        Experiment.open(config, out, reporter, fingerprint=fingerprint) as experiment,
        TemporaryDirectory(prefix="clso-") as scratch,
    ):
        experiment.__dict__.update(dataset=dataset, budget=text)
        family, path = FAMILIES.get(chosen.name), Path(scratch) / chosen.name
        _check_libraries(run, family, experiment)
        with experiment.monitor.window() as window:
            refitted = family.counted_again(experiment, family.load(chosen.path), tuple(text))
        family.save(refitted, experiment, path)
        counted = {name: len(split.stream) for name, split in text.items()}
        command = f"clso refit {run.run_id} --to {to}"
        card = refit_card(run, chosen.name, counted, window.measurement, command)
        told = chosen.write_folder(path, to, card)
    tokens = f"{sum(counted.values()):,} tokens"
    return f"{tokens} counted, validation and test among them, so without a test figure\n{told}"


def _name(run: Run, config: RunConfig, asked: str | None) -> str:
    """Return the name of the model that is counted again.

    Raises:
        ConfigError: it is not of a kind that counts, or the run has none.
    """
    counting = [family.name for family in config.searched_families() if family.counts]
    if asked is None and counting:
        return counting[0]
    if asked in counting:
        return asked
    what = f"{run.run_id} has no model" if asked is None else f"{asked} is no model"
    others = f"name one that does: {', '.join(counting)}" if counting else "search a mixture"
    raise ConfigError(
        f"{what} that only counts: a GPT's matrices are picked and a network is trained, so "
        "counting more text changes neither",
        remedy=others,
    )


def _check_libraries(run: Run, family: AnyFamily, experiment: Experiment) -> None:
    """Check that the foundations of a family are still there, as they were written.

    Raises:
        ArtifactError: one is missing or damaged.
    """
    for stage in family.foundations:
        if stage.home is not None and not stage.check_shared(experiment):
            raise ArtifactError(
                f"the library {stage.home(experiment)} of {run.run_id} is missing",
                remedy=f"the run makes it again: `clso run {run.path / 'config.yaml'}`",
            )


def _whole(split: TokenSplit) -> TokenSplit:
    """Return a split to its last token, which blocks leave out."""
    return replace(split, block_size=1, n_blocks=len(split.stream) - 1)
