"""A run under way: its experiment, folder, manifest and finished stages."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from clso.artifacts import RunFolder, load_run, write_error
from clso.data import DatasetRecipe
from clso.energy import EnergyMonitor, Measurement
from clso.errors import ArtifactError
from clso.progress import Reporter
from pipelines.config import RunConfig
from pipelines.experiment import Experiment
from pipelines.ledger import StageRecord

__all__ = ["RunContext", "open_context", "run_identity", "versions"]

_PACKAGES = (
    "clso",
    "deap",
    "optuna",
    "torch",
    "datasets",
    "transformers",
    "tokenizers",
    "prefect",
    "nvidia-ml-py",
    "pyarrow",
    "numpy",
    "scipy",
    "scikit-learn",
)

# Entries of the manifest that hold a value per model family.
_BY_FAMILY = frozenset({"ablations", "best", "genes", "pareto", "savings", "search"})


@dataclass
class RunContext:
    """One run under way.

    Attributes:
        experiment: its configuration on its data set.
        run_id: the configuration's name and a hash of configuration and data.
        folder: where it writes.
        manifest: what is written of it in `manifest.json`.
        records: the stages that are finished, in this process or found so.
    """

    experiment: Experiment
    run_id: str
    folder: RunFolder
    manifest: dict[str, Any] = field(default_factory=dict)
    records: dict[str, StageRecord] = field(default_factory=dict)

    @property
    def config(self) -> RunConfig:
        """The configuration."""
        return self.experiment.config

    @property
    def monitor(self) -> EnergyMonitor:
        """What measures time and joules."""
        return self.experiment.monitor

    @property
    def reporter(self) -> Reporter:
        """What hears of the progress."""
        return self.experiment.reporter

    def spent(self, stage: str) -> Measurement:
        """Return what a stage took, with all stages that it was built on but `prepare`."""
        names: dict[str, None] = {}
        waiting = [stage]
        while waiting:
            name = waiting.pop()
            if name not in names and name != "prepare":
                names[name] = None
                waiting += self.records[name].needs
        # in the order of the stages, so that the sum is the same to the last bit
        return Measurement.total(
            record.measurement for name, record in self.records.items() if name in names
        )

    @property
    def uid(self) -> str:
        """Name of this very folder; a fresh start of the same run gets another."""
        return str(self.manifest["uid"])

    def note_work(self) -> None:
        """Say in the manifest with what, and where, the work that now begins is done."""
        self.note(config=self.config.model_dump(mode="json"), versions=versions(), host=_host())

    def note(self, **values: Any) -> None:  # noqa: ANN401 - any JSON value
        """Add to the run's manifest and write it; what is kept by family keeps the others'."""
        for name in _BY_FAMILY & values.keys():
            values[name] = {**self.manifest.get(name, {}), **values[name]}
        self.manifest.update(values)
        self.folder.write_manifest(self.manifest)

    def note_stage(self, stage: str, status: str) -> None:
        """Say in the manifest how a stage stands."""
        stages = dict(self.manifest.get("stages", {}))
        stages[stage] = {
            "status": status,
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        self.note(stages=stages)


def run_identity(config: RunConfig) -> tuple[str, str]:
    """Return a run's id, and the name of its data set.

    Raises:
        DataError: the text cannot be found.
    """
    fingerprint = DatasetRecipe(config.data, config.tokenizer, config.seed).fingerprint
    key = hashlib.sha256(f"{config.digest()}:{fingerprint}".encode()).hexdigest()[:10]
    return f"{config.name}-{key}", fingerprint


@contextmanager
def open_context(
    config: RunConfig, out: Path, reporter: Reporter, *, fresh: bool = False
) -> Iterator[RunContext]:
    """Open a run's folder for writing, resuming what is there.

    Args:
        fresh: put the run's earlier folder away first; data sets and libraries, which other
            runs share, stay.

    Raises:
        ArtifactError: the folder cannot be written, or another process works in it.
        DataError: the text cannot be found.
        MeterError: the meter asked for is not there.
    """
    run_id, fingerprint = run_identity(config)
    path = out / "runs" / run_id
    locks = out / ".locks"
    try:
        locks.mkdir(parents=True, exist_ok=True)
        lock = FileLock(locks / f"{run_id}.lock")
        lock.acquire(blocking=False)
    except Timeout:
        raise ArtifactError(
            f"another process works in {path}",
            remedy="wait for it to end, or write elsewhere with --out DIR",
        ) from None
    except OSError as error:
        raise write_error(locks, error) from error
    try:
        _sweep(path, out / ".trash", fresh=fresh)
        with config.energy.open() as monitor:
            context = RunContext(
                Experiment(config, fingerprint, out, monitor, reporter), run_id, RunFolder(path)
            )
            if context.folder.manifest_path.exists():
                context.manifest = load_run(path).manifest
            if "uid" not in context.manifest:
                context.note(
                    uid=uuid.uuid4().hex,
                    run_id=run_id,
                    seed=config.seed,
                    data_fingerprint=fingerprint,
                )
                context.note_work()
            yield context
    finally:
        lock.release()


def _sweep(path: Path, trash: Path, *, fresh: bool) -> None:
    """Delete what earlier fresh starts left, and the run's own folder for a new one.

    The folder is renamed first, so that an interrupted deletion leaves nothing to resume.
    """
    if fresh and path.exists():
        try:
            trash.mkdir(parents=True, exist_ok=True)
            os.replace(path, trash / uuid.uuid4().hex)
        except OSError as error:
            raise write_error(path, error) from error
    shutil.rmtree(trash, ignore_errors=True)


def versions() -> dict[str, str]:
    """Return the installed version of everything that can change a result."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _host() -> dict[str, Any]:
    return {
        "machine": platform.machine(),
        "system": platform.system(),
        "processor": _processor(),
        "cores": os.cpu_count(),
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
