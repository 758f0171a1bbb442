"""The two stages whose results all runs share: data set and library, named by their contents."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from clso.artifacts import write_error
from clso.data import SPLITS, Dataset, prepare_dataset
from clso.data.dataset import token_file_name
from clso.digest import digest_of
from clso.library import BasisLibrary, FamilySpec, ResidualLayout
from clso.library.cooccurrence import factorize
from clso.library.spectral_library import SpectralSpec, with_spectral
from clso.progress import SILENT, Reporter
from pipelines.config import RunConfig
from pipelines.context import RunContext
from pipelines.ledger import StageOutcome

__all__ = [
    "functions_home",
    "generate_library",
    "make_dataset",
    "make_library",
    "open_dataset",
    "open_library",
    "residual_layout",
    "shared_home",
]

# Raised whenever a change of code changes the matrices that a configuration stands for.
_LIBRARY_VERSION = 1
# The same for the columns and costs of basis functions.
_FUNCTIONS_VERSION = 2


def shared_home(stage: str, context: RunContext) -> Path | None:
    """Return the folder of a stage's outcome that runs share, `None` for a run's own stages."""
    homes = {
        "prepare": context.datasets / context.data_fingerprint,
        "library": _library_home(context),
        "functions": functions_home(context),
    }
    return homes.get(stage)


def make_dataset(context: RunContext, reporter: Reporter) -> StageOutcome:
    """Build the data set; its key is what is in it, so the same text made again is the same."""
    dataset = open_dataset(context, reporter)
    contents = [
        dataset.manifest["text_sha256"],
        dataset.manifest["split_sha256"],
        dataset.tokenizer.fingerprint,
    ]
    names = ["manifest.json", "splits.parquet", *(token_file_name(split) for split in SPLITS)]
    return StageOutcome(tuple(dataset.path / name for name in names), key=digest_of(contents))


def open_dataset(context: RunContext, reporter: Reporter = SILENT) -> Dataset:
    """Return the data set, its blocks as long as the run wants them; build it if need be."""
    config = context.config
    dataset = prepare_dataset(
        config.data,
        config.tokenizer,
        seed=config.seed,
        root=context.datasets,
        reporter=reporter,
    )
    used = dataset.budget(config.data.train_tokens)
    context.note(
        dataset={
            **dataset.manifest,
            "used": {
                name: {"tokens": split.n_tokens, "unused_tokens": split.n_unused_tokens}
                for name, split in used.items()
            },
        }
    )
    return dataset


def _library_home(context: RunContext) -> Path:
    config = context.config
    key = digest_of(
        {
            "version": _LIBRARY_VERSION,
            "n_embd": config.model.n_embd,
            "seed": config.seed,
            "library": config.gpt.library.model_dump(mode="json"),
            # what is drawn from a seed alone is the same whatever the data
            **(_spectral_key(context) if config.gpt.spectral.enabled else {}),
        }
    )
    return context.libraries / key[:16]


def _spectral_key(context: RunContext) -> dict[str, Any]:
    config = context.config
    return {
        "spectral": config.gpt.spectral.model_dump(mode="json"),
        "n_head": config.model.n_head,
        "data": context.data_fingerprint,
        "train_tokens": config.data.train_tokens,
        "block_size": config.data.block_size,
    }


def functions_home(context: RunContext) -> Path:
    """Return the folder of columns and class maps, named by what they follow from."""
    config = context.config
    key = digest_of(
        {
            "version": _FUNCTIONS_VERSION,
            "data": context.data_fingerprint,
            "train_tokens": config.data.train_tokens,
            "block_size": config.data.block_size,
            "seed": config.seed,
            "functions": config.mixture.library.model_dump(mode="json"),
            "search_tokens": config.mixture.search_tokens,
        }
    )
    return context.libraries / f"mixture-{key[:16]}"


def make_library(context: RunContext, reporter: Reporter) -> StageOutcome:
    """Generate and store the library; its key is what is in it."""
    home = _library_home(context)
    with reporter.task("library", total=1) as task:
        library = generate_library(context, ("train", "tune"))
        try:
            home.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise write_error(home, error) from error
        path = home / "library.parquet"
        library.save(path)
        task.update(1, f"{library.size} entries for each of {len(library)} slots")
    return StageOutcome((path,), key=library.fingerprint)


def residual_layout(config: RunConfig) -> ResidualLayout:
    """Return which coordinates the spectral entries use for what."""
    spectral = config.gpt.spectral
    return ResidualLayout(
        config.model.n_embd, spectral.recent_width, spectral.topic_width, config.data.block_size
    )


def generate_library(context: RunContext, counted: Sequence[str]) -> BasisLibrary:
    """Return the library whose derived entries follow from these splits of the budget."""
    config = context.config
    # matrices this small take a second thread's joules and none of the time
    with threadpool_limits(1):
        library = BasisLibrary.generate(
            config.model.n_embd,
            config.gpt.library.size,
            family_specs(config),
            config.gpt.library.gain,
            config.seed,
        )
        return _add_spectral(context, library, counted) if config.gpt.spectral.enabled else library


def _add_spectral(
    context: RunContext, library: BasisLibrary, counted: Sequence[str]
) -> BasisLibrary:
    config = context.config
    spectral = config.gpt.spectral
    dataset = open_dataset(context)
    splits = dataset.budget(config.data.train_tokens)
    factors = factorize(
        [splits[split] for split in counted],
        dataset.vocab_size,
        residual_layout(config),
        recent_reach=spectral.recent_reach,
        topic_reach=spectral.topic_reach,
        seed=config.seed,
        source=context.data_fingerprint,
    )
    reaches = {"enabled", "recent_width", "topic_width", "recent_reach", "topic_reach"}
    spec = SpectralSpec(**spectral.model_dump(exclude=reaches))
    return with_spectral(library, factors, spec, n_head=config.model.n_head, seed=config.seed)


def open_library(context: RunContext) -> BasisLibrary:
    """Load the library."""
    return BasisLibrary.load(_library_home(context) / "library.parquet")


def family_specs(config: RunConfig) -> list[FamilySpec]:
    """Translate the configured families for the library."""
    return [
        FamilySpec(
            family=family.family,
            share=family.share,
            parameters=family.model_dump(exclude={"family", "share"}),
        )
        for family in config.gpt.library.families
    ]
