"""A run under way: experiment, folder, manifest and finished stages."""

from __future__ import annotations

import glob
import os
import platform
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from clso.artifacts import Run, RunFolder, atomic_write_bytes, load_run, remove, write_error
from clso.cores import available_cores
from clso.energy import EnergyMonitor, Measurement
from clso.errors import ArtifactError
from clso.progress import Reporter
from clso.watch import following
from pipelines.config import STUDY_SECTIONS, RunConfig
from pipelines.disposal import discard
from pipelines.experiment import Experiment
from pipelines.folders import output_folder
from pipelines.ledger import StageRecord

__all__ = ["RunContext", "processor", "run_lock", "versions"]

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

# `clso watch` holds the lock for a moment when it asks whether a process works.
_LOCK_S = 0.5

# Entries of the manifest that hold a value per model family, and one that has them per task.
_BY_FAMILY = frozenset(
    {
        *("best", "genes", "search"),
        *("ablations", "finetunings", "pareto", "savings"),
        *("transfer", "multitask", "continual"),
    }
)


@dataclass
class RunContext:
    """One run under way.

    Attributes:
        experiment: the configuration on its data set.
        run_id: the configuration's name and a hash of configuration and data.
        folder: the run's folder.
        manifest: the contents of `manifest.json`.
        records: the finished stages, by name.
    """

    experiment: Experiment
    run_id: str
    folder: RunFolder
    manifest: dict[str, Any] = field(default_factory=dict)
    records: dict[str, StageRecord] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if "uid" in self.manifest:
            self._know_uid()

    @classmethod
    @contextmanager
    def open(
        cls, config: RunConfig, out: str | Path, reporter: Reporter, *, fresh: bool = False
    ) -> Iterator[RunContext]:
        """Open a run's folder in the output folder `out` for writing, to resume the work in it.

        `fresh` deletes the run's earlier folder first; data sets and libraries, which other runs
        share, stay.

        Raises:
            ArtifactError: the folder cannot be written, or another process works in it.
            DataError: the text cannot be found.
            EngineError: the configured engine cannot be used.
            MeterError: the configured meter does not exist here.
        """
        out = output_folder(out).resolve()
        fingerprint = config.recipe.fingerprint
        run_id = config.run_id(fingerprint)
        path = out / "runs" / run_id
        with (
            run_lock(out, run_id),
            Experiment.open(config, out, reporter, fingerprint=fingerprint) as experiment,
        ):
            trackers = config.runtime.tracking.open(run_id, out)
            # now that nothing is amiss
            _sweep(path, fresh=fresh)
            with following(path, trackers):
                folder = RunFolder(path)
                found = load_run(path).manifest if folder.manifest_path.exists() else {}
                run = cls(experiment, run_id, folder, found)
                if "uid" not in run.manifest:
                    run.begin()
                yield run

    @classmethod
    @contextmanager
    def reopen(cls, stored: Run, config: RunConfig, reporter: Reporter) -> Iterator[RunContext]:
        """Open a stored run to add to it; the text that its data set was made of is not read.

        Raises:
            ArtifactError: another process works in the run.
            EngineError, MeterError: as for `open`.
        """
        out, fingerprint = stored.path.resolve().parents[1], stored.manifest["data_fingerprint"]
        with (
            run_lock(out, stored.run_id),
            Experiment.open(config, out, reporter, fingerprint=fingerprint) as experiment,
        ):
            yield cls(experiment, stored.run_id, stored.folder, load_run(stored.path).manifest)

    def _know_uid(self) -> None:
        self.folder = replace(self.folder, known_uid=self.uid)

    def begin(self) -> None:
        """Write the manifest of a new folder, and the configuration as a file that starts it."""
        from clso.report.settings import CONFIG_FILE, config_yaml

        # where only the manifest is gone, tables and models are still this run's
        self.manifest["uid"] = self.folder.uid_of_stages or uuid.uuid4().hex
        self._know_uid()
        self.note(
            run_id=self.run_id,
            seed=self.config.seed,
            data_fingerprint=self.experiment.data_fingerprint,
        )
        self.note_work()
        yaml = config_yaml(load_run(self.folder.path))
        atomic_write_bytes(self.folder.path / CONFIG_FILE, yaml.encode())

    @property
    def config(self) -> RunConfig:
        """The configuration."""
        return self.experiment.config

    @property
    def out(self) -> Path:
        """The output folder."""
        return self.experiment.out

    @property
    def monitor(self) -> EnergyMonitor:
        """The meters of time and joules."""
        return self.experiment.monitor

    @property
    def reporter(self) -> Reporter:
        """The display of the progress."""
        return self.experiment.reporter

    def spent(self, stage: str) -> Measurement:
        """Return the cost of a stage and of all stages that it needed, except `prepare`."""
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
        """The folder's own name; a fresh start of the same run gets another one."""
        return str(self.manifest["uid"])

    def note_work(self) -> None:
        """Note configuration, versions and machine of the work that begins now.

        Sections of studies stay that this configuration lacks: the studies' tables came of them.
        """
        config, before = self.config.model_dump(mode="json"), self.manifest.get("config", {})
        for name in STUDY_SECTIONS:
            config[name] = config[name] or before.get(name)
        self.note(config=config, versions=versions(), host=_host())

    def note(self, **values: Any) -> None:  # noqa: ANN401 - any JSON value
        """Update the manifest and write it; entries by family keep those of other families."""
        for name in _BY_FAMILY & values.keys():
            values[name] = {**self.manifest.get(name, {}), **values[name]}
        self.manifest.update(values)
        self.folder.write_manifest(self.manifest)

    def note_shared(self, stage: str, home: Path) -> None:
        """Note the folder of data set or library that a stage uses, relative to `out`."""
        shared = {**self.manifest.get("shared", {}), stage: os.path.relpath(home, self.out)}
        if shared != self.manifest.get("shared"):
            self.note(shared=shared)

    def note_stage(self, stage: str, status: str) -> None:
        """Note the status of a stage in the manifest."""
        stages = dict(self.manifest.get("stages", {}))
        stages[stage] = {
            "status": status,
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        self.note(stages=stages)


@contextmanager
def run_lock(out: Path, run_id: str) -> Iterator[None]:
    """Keep other processes out of a run's folder in the output folder `out`.

    Raises:
        ArtifactError: another process works in it, or the lock cannot be written.
    """
    locks = out / ".locks"
    try:
        locks.mkdir(parents=True, exist_ok=True)
        lock = FileLock(locks / f"{run_id}.lock")
        lock.acquire(timeout=_LOCK_S)
    except Timeout:
        raise ArtifactError(
            f"another process works in {out / 'runs' / run_id}",
            remedy="wait for it to end, or write elsewhere with --out DIR",
        ) from None
    except OSError as error:
        raise write_error(locks, error) from error
    try:
        yield
    finally:
        lock.release()


def _sweep(path: Path, *, fresh: bool) -> None:
    """Delete the remains of a run's earlier fresh starts, and for a new one its folder."""
    for remains in path.parent.glob(f".{glob.escape(path.name)}.*-*.old"):
        with suppress(ArtifactError):
            remove(remains)
    if fresh:
        discard(path)


def versions() -> dict[str, str]:
    """Return the installed versions of all packages that can change a result."""
    installed = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            installed[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return installed


def _host() -> dict[str, Any]:
    return {
        "machine": platform.machine(),
        "system": platform.system(),
        "processor": processor(),
        "cores": available_cores(),
    }


def processor() -> str:
    """Return the name of this machine's processor."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
