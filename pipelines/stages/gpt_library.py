"""The stage `library`: structured matrices for every slot of the crystalline GPT."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from clso.artifacts import write_error
from clso.digest import digest_of
from clso.library import BasisLibrary, ResidualLayout
from clso.library.cooccurrence import SpectralFactors
from clso.library.spectral_library import with_spectral
from pipelines.config import RunConfig
from pipelines.context import RunContext
from pipelines.experiment import Experiment
from pipelines.ledger import StageOutcome
from pipelines.stage import Stage

__all__ = ["LIBRARY", "generate_library", "open_library", "residual_layout"]

# Raised whenever a change of code changes the matrices that a configuration stands for.
_VERSION = 1


def _work(run: RunContext) -> StageOutcome:
    """Generate and store the library; its key is what is in it."""
    home = _home(run.experiment)
    with run.reporter.task("library", total=1) as task:
        library = generate_library(run.experiment, ("train", "tune"))
        try:
            home.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise write_error(home, error) from error
        path = home / "library.parquet"
        library.save(path)
        task.update(1, f"{library.size} entries for each of {len(library)} slots")
    return StageOutcome((path,), key=library.fingerprint)


def _home(experiment: Experiment) -> Path:
    config = experiment.config
    key = digest_of(
        {
            "version": _VERSION,
            "n_embd": config.model.n_embd,
            "seed": config.seed,
            "library": config.gpt.library.model_dump(mode="json"),
            # what is drawn from a seed alone is the same whatever the data
            **(_spectral_key(experiment) if config.gpt.spectral.enabled else {}),
        }
    )
    return experiment.libraries / key[:16]


def _spectral_key(experiment: Experiment) -> dict[str, Any]:
    config = experiment.config
    return {
        "spectral": config.gpt.spectral.model_dump(mode="json"),
        "n_head": config.model.n_head,
        "data": experiment.data_fingerprint,
        "train_tokens": config.data.train_tokens,
        "block_size": config.data.block_size,
    }


LIBRARY = Stage(name="library", command="library", work=_work, needs=("prepare",), home=_home)


def residual_layout(config: RunConfig) -> ResidualLayout:
    """Return which coordinates the spectral entries use for what."""
    spectral = config.gpt.spectral
    return ResidualLayout(
        config.model.n_embd, spectral.recent_width, spectral.topic_width, config.data.block_size
    )


def open_library(experiment: Experiment) -> BasisLibrary:
    """Load the library."""
    return BasisLibrary.load(_home(experiment) / "library.parquet")


def generate_library(experiment: Experiment, counted: Sequence[str]) -> BasisLibrary:
    """Return the library whose derived entries follow from these splits of the budget."""
    config = experiment.config
    # matrices this small take a second thread's joules and none of the time
    with threadpool_limits(1):
        library = BasisLibrary.generate(
            config.model.n_embd,
            config.gpt.library.size,
            config.gpt.library.families,
            config.gpt.library.gain,
            config.seed,
        )
        if not config.gpt.spectral.enabled:
            return library
        return _with_spectral(experiment, library, counted)


def _with_spectral(
    experiment: Experiment, library: BasisLibrary, counted: Sequence[str]
) -> BasisLibrary:
    config = experiment.config
    spectral = config.gpt.spectral
    factors = SpectralFactors.fit(
        [experiment.budget[split] for split in counted],
        experiment.dataset.vocab_size,
        residual_layout(config),
        recent_reach=spectral.recent_reach,
        topic_reach=spectral.topic_reach,
        seed=config.seed,
        source=experiment.data_fingerprint,
    )
    return with_spectral(library, factors, spectral, n_head=config.model.n_head, seed=config.seed)
