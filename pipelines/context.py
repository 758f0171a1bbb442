"""Everything that the stages of one run share: configuration, folders, meters, listeners."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from clso.artifacts import RunFolder, read_json, write_error
from clso.config import RunConfig
from clso.data import dataset_fingerprint
from clso.energy import EnergyMonitor, open_monitor
from clso.errors import ArtifactError
from clso.progress import Reporter
from pipelines.ledger import StageLedger

__all__ = ["RunContext", "open_context", "versions"]

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


@dataclass
class RunContext:
    """One run under way.

    Attributes:
        out: the output folder (`artifacts/`).
        run_id: the configuration's name and a hash of configuration and data.
        data_fingerprint: names the data set before it is built.
    """

    config: RunConfig
    out: Path
    run_id: str
    data_fingerprint: str
    folder: RunFolder
    monitor: EnergyMonitor
    reporter: Reporter
    manifest: dict[str, Any] = field(default_factory=dict)

    @property
    def datasets(self) -> Path:
        """Where data sets lie, shared by all runs."""
        return self.out / "datasets"

    @property
    def libraries(self) -> Path:
        """Where libraries lie, shared by all runs."""
        return self.out / "libraries"

    @property
    def workers(self) -> int:
        """Genomes that are evaluated at once."""
        return self.config.runtime.workers or os.cpu_count() or 1

    @property
    def threads(self) -> int:
        """Cores that AdamW uses."""
        return self.config.runtime.threads or os.cpu_count() or 1

    def ledger(self, stage: str) -> StageLedger:
        """Return the account of a stage of this run."""
        return StageLedger(
            stage,
            folder=self.folder.path / "stages",
            costs=self.folder.state / f"{stage}.costs.json",
            run_id=self.run_id,
        )

    def shared_ledger(self, stage: str, home: Path) -> StageLedger:
        """Return the account of a stage whose result, the folder `home`, all runs share."""
        return StageLedger(
            stage,
            folder=home,
            costs=home.parent / f".{home.name}.costs.json",
            run_id=self.run_id,
        )

    def note(self, **values: Any) -> None:  # noqa: ANN401 - any JSON value
        """Add to the run's manifest and write it."""
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
    fingerprint = dataset_fingerprint(config.data, config.tokenizer, config.seed)
    key = hashlib.sha256(f"{config.digest()}:{fingerprint}".encode()).hexdigest()[:10]
    run_id = f"{config.name}-{key}"
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
        if fresh:
            shutil.rmtree(path, ignore_errors=True)
        with open_monitor(
            config.energy.meter,
            cpu_power_w=config.energy.cpu_power_w,
            replay=config.energy.replay,
        ) as monitor:
            context = RunContext(
                config=config,
                out=out,
                run_id=run_id,
                data_fingerprint=fingerprint,
                folder=RunFolder(path),
                monitor=monitor,
                reporter=reporter,
            )
            if context.folder.manifest_path.exists():
                context.manifest = dict(read_json(context.folder.manifest_path))
            context.note(
                run_id=run_id,
                config=config.model_dump(mode="json"),
                seed=config.seed,
                versions=versions(),
                host=_host(),
                data_fingerprint=fingerprint,
            )
            yield context
    finally:
        lock.release()


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
