"""A configuration on its data set: what libraries, problems and models follow from.

An `Experiment` knows no run: nothing here depends on what a search has found. Studies make many
of them, one per configuration that they compare (`Experiment.varied`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from filelock import FileLock

from clso.artifacts import write_error
from clso.data import Dataset, DatasetRecipe, TokenSplit
from clso.energy import EnergyMonitor
from clso.errors import ConfigError
from clso.progress import Reporter
from pipelines.config import RunConfig

__all__ = ["Experiment"]


@dataclass(frozen=True)
class Experiment:
    """A configuration, its data set and the folders that all runs share.

    Attributes:
        config: the configuration.
        data_fingerprint: names the data set before it is built.
        out: the output folder (`artifacts/`).
        monitor: measures time and joules.
        reporter: hears of the progress.
    """

    config: RunConfig
    data_fingerprint: str
    out: Path
    monitor: EnergyMonitor
    reporter: Reporter

    @cached_property
    def dataset(self) -> Dataset:
        """The data set, which the stage `prepare` has built; opened once.

        Raises:
            ArtifactError: it is not there, or damaged.
            DataError: a split has less than one block.
        """
        path = self.datasets / self.data_fingerprint
        return Dataset.load(path, block_size=self.config.data.block_size)

    @cached_property
    def budget(self) -> Mapping[str, TokenSplit]:
        """All four splits, `train` and `tune` cut to `data.train_tokens`.

        Raises:
            DataError: the data set has fewer tokens than that.
        """
        return self.dataset.budget(self.config.data.train_tokens)

    @property
    def datasets(self) -> Path:
        """The folder of data sets."""
        return self.out / "datasets"

    @property
    def libraries(self) -> Path:
        """The folder of libraries."""
        return self.out / "libraries"

    @property
    def workers(self) -> int:
        """Genomes that are evaluated at once."""
        return self.config.runtime.workers or os.cpu_count() or 1

    @property
    def threads(self) -> int:
        """Cores that AdamW uses."""
        return self.config.runtime.threads or os.cpu_count() or 1

    @property
    def device(self) -> str:
        """Where models live: on a GPU if there is one and the configuration does not decline it.

        Raises:
            ConfigError: a GPU is asked for, and torch finds none.
        """
        import torch

        device = self.config.runtime.device
        if device == "cuda" and not torch.cuda.is_available():
            raise ConfigError(
                "runtime.device is cuda, but torch finds no GPU that it can use",
                remedy="set runtime.device to auto or cpu, or install a CUDA build of torch",
            )
        if device == "auto":
            return "cuda" if torch.cuda.is_available() else "cpu"
        return device

    def varied(self, config: RunConfig) -> Experiment:
        """Return the experiment of another configuration with the same folders and meters.

        The text is read again only if the configuration takes another one.
        """
        same_text = all(
            getattr(config, name) == getattr(self.config, name)
            for name in ("data", "tokenizer", "seed")
        )
        if not same_text:
            recipe = DatasetRecipe(config.data, config.tokenizer, config.seed)
            return replace(self, config=config, data_fingerprint=recipe.fingerprint)
        other = replace(self, config=config)
        for name in ("dataset", "budget"):
            if name in self.__dict__:
                other.__dict__[name] = self.__dict__[name]
        return other

    @contextmanager
    def lock(self, path: Path) -> Iterator[None]:
        """Hold a lock that other processes respect, waiting for it if need be.

        Raises:
            ArtifactError: the folder cannot be written.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(path)
            lock.acquire()
        except OSError as error:
            raise write_error(path.parent, error) from error
        try:
            yield
        finally:
            lock.release()
