"""A configuration on its data set: the base of libraries, problems and models.

An `Experiment` knows no run: nothing here depends on the result of a search. Studies make many
experiments, one per configuration that they compare (`Experiment.varied`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from clso.artifacts import write_error
from clso.cores import available_cores
from clso.data import Dataset, TokenSplit
from clso.energy import EnergyMonitor
from clso.engine import Engine, open_engine
from clso.errors import ConfigError
from clso.progress import Reporter
from pipelines.config import RunConfig
from pipelines.extent import check_extent

if TYPE_CHECKING:  # loads torch
    from clso.gpt import GptShape

__all__ = ["Experiment"]


@dataclass(frozen=True)
class Experiment:
    """A configuration, its data set and the folders that all runs share.

    Attributes:
        config: the configuration.
        data_fingerprint: the name of the data set, known before it is built.
        out: the output folder (`artifacts/`).
        monitor: measures time and joules.
        engine: hands out tasks; its workers' joules count in the monitor.
        reporter: shows the progress.
    """

    config: RunConfig
    data_fingerprint: str
    out: Path
    monitor: EnergyMonitor
    engine: Engine
    reporter: Reporter

    @classmethod
    @contextmanager
    def open(
        cls, config: RunConfig, out: Path, reporter: Reporter, *, fingerprint: str | None = None
    ) -> Iterator[Experiment]:
        """Open the meters and the engine of a configuration, and free them when the block ends.

        `fingerprint` names a stored data set, for which no text is needed; `None`: that of the
        configuration's text.

        Raises:
            ConfigError: the work would take more memory or time than it may.
            DataError: the text cannot be found.
            EngineError: the configured engine cannot be used.
            MeterError: the configured meter does not exist here.
        """
        check_extent(config)
        fingerprint, runtime = fingerprint or config.recipe.fingerprint, config.runtime
        with (
            config.energy.open() as monitor,
            open_engine(
                runtime.engine,
                runtime.address,
                workers=runtime.workers,
                monitor=monitor,
                energy=config.energy,
            ) as engine,
        ):
            # now, or the seconds of importing torch and transformers would be joules of the first
            # model that is measured
            import pipelines.stages  # noqa: F401

            yield cls(config, fingerprint, out, monitor, engine, reporter)

    @cached_property
    def dataset(self) -> Dataset:
        """The data set that the stage `prepare` has built; opened once.

        Raises:
            ArtifactError: the data set is missing or damaged.
            DataError: a split has less than one block.
        """
        return Dataset.load(
            self.dataset_path,
            block_size=self.config.data.block_size,
            fingerprint=self.data_fingerprint,
        )

    @property
    def dataset_path(self) -> Path:
        """The folder of the data set."""
        return self.datasets / self.data_fingerprint

    @cached_property
    def budget(self) -> Mapping[str, TokenSplit]:
        """All four splits, `train` and `tune` cut to `data.train_tokens`.

        Raises:
            DataError: the data set has fewer tokens.
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
        """Number of genomes that are evaluated at once."""
        return self.config.runtime.workers or available_cores()

    @property
    def threads(self) -> int:
        """Number of cores that AdamW uses."""
        return self.config.runtime.threads or available_cores()

    @property
    def device(self) -> str:
        """`cuda` or `cpu`: the GPU, if torch finds one and `runtime.device` allows it.

        From then on, windows have no sum of joules without those of the GPU.

        Raises:
            ConfigError: the configuration asks for a GPU, and torch finds none.
        """
        import torch

        if not self.config.runtime.on_gpu:
            return "cpu"
        if not torch.cuda.is_available():
            raise ConfigError(
                "runtime.device is cuda, but torch finds no GPU that it can use",
                remedy="set runtime.device to auto or cpu, or install a CUDA build of torch",
            )
        self.monitor.need_gpu()
        return "cuda"

    @property
    def gpt_shape(self) -> GptShape:
        """The shape that crystalline GPT and AdamW's GPT-2 share."""
        from clso.gpt import GptShape

        return GptShape(
            **self.config.model.model_dump(),
            block_size=self.config.data.block_size,
            vocab_size=self.dataset.vocab_size,
        )

    def varied(self, config: RunConfig) -> Experiment:
        """Return the experiment of another configuration with the same folders and meters.

        The text is read again only if data, tokenizer or seed differ.

        Raises:
            DataError: the same text is to be read again, and has changed.
        """
        if config.recipe != self.config.recipe:
            if config.data.text == self.config.data.text and self.dataset_path.exists():
                config.data.check_unchanged(self.dataset.manifest["source"])
            return replace(self, config=config, data_fingerprint=config.recipe.fingerprint)
        other = replace(self, config=config)
        for name in ("dataset", "budget"):
            if name in self.__dict__:
                other.__dict__[name] = self.__dict__[name]
        return other

    @contextmanager
    def lock(self, path: Path) -> Iterator[None]:
        """Wait for a lock between processes, and hold it.

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
