"""The study `clso tune`: Optuna tries settings of a search; the best are compared with the run's.

A study has a folder like a run's, `studies/<name>/`, and shares data set and library with runs. Any
number of processes may work on one study: each takes the next trial until all are done, and the
last one writes the outcome. The test split is not read.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
from filelock import FileLock, Timeout

from clso.artifacts import Run, RunFolder, atomic_write_bytes, load_run, remove
from clso.energy import EnergyMonitor
from clso.errors import ArtifactError
from clso.progress import SILENT, Reporter
from clso.report.style import figure_svg
from clso.studies.tuning import FIGURES, TuningReport
from clso.watch import Tracker, following
from pipelines.config import ConfigSource, RunConfig, read_config
from pipelines.context import RunContext
from pipelines.disposal import in_use
from pipelines.experiment import Experiment
from pipelines.folders import output_folder
from pipelines.studies.engine import Part, Row, Study
from pipelines.studies.tuned import TunedProblems, TunedSearch
from search.evolution import SEARCH_VERSION
from search.settings import Budget, SearchSettings
from search.tuning import SearchSpace, Tuning, TuningSettings, open_tuning
from search.tuning.database import sqlite_url
from search.tuning.study import check_storage
from search.validated import Halves

__all__ = ["check", "tune"]

# Raised whenever a change of code changes the rows of a part.
_VERSION = 1
_DATABASE = "study.db"


def tune(
    config: ConfigSource,
    overrides: Mapping[str, Any] | None = None,
    *,
    out: str | Path = "artifacts",
    trials: int | None = None,
    storage: str | None = None,
    fresh: bool = False,
    reporter: Reporter = SILENT,
) -> Run:
    """Tune a search's hyperparameters with Optuna, and check the best on other seeds.

    Args:
        config, overrides, out, reporter: as for `pipelines.run`; the section `tune` describes the
            study, whose folder is `studies/<name>` in `out`.
        trials: in place of `tune.trials`.
        storage: the URL of Optuna's storage, in place of `tune.storage`.
        fresh: delete the study first.

    Returns:
        The study: the tables `trials`, `importances` and `checks`.

    Raises:
        ConfigError: the section does not fit the run.
        ArtifactError: the storage cannot be opened, or there is another study of this name.
        WorkError: no trial has a finite loss.
    """
    tuned, space, settings = check(read_config(config, overrides), trials, storage, fresh)
    config, out = tuned.config, output_folder(out).resolve()
    asked = tuned.asked.storage if storage is None else storage
    with _open_study(tuned, out, reporter, fresh=fresh) as run:
        problems = TunedProblems(run.experiment, tuned.family)
        url = sqlite_url(run.folder.path / _DATABASE) if asked is None else asked
        with open_tuning(
            url,
            config.name,
            space,
            settings,
            problems,
            monitor=run.monitor,
            engine=run.experiment.engine,
            own_library=dict(tuned.family.library(config)),
            fresh=fresh,
        ) as tuning:
            tuning.run(reporter)
            # of processes that end together, the first writes and the others find it done
            with run.experiment.lock(_lock(out, config)):
                _conclude(run, tuned, tuning, problems)
        return load_run(run.folder.path)


def check(
    config: RunConfig, trials: int | None = None, storage: str | None = None, fresh: bool = False
) -> tuple[TunedSearch, SearchSpace, TuningSettings]:
    """Return what is tuned, in which space and how.

    Raises:
        ConfigError: the section `tune` does not fit the run.
        ArtifactError: the storage cannot be opened, or holds another study of this name.
    """
    tuned = TunedSearch.of(config)
    space, settings = tuned.space(), tuned.settings(trials)
    settings.check_space(space)
    asked = tuned.asked.storage if storage is None else storage
    if asked is not None:
        check_storage(asked, config.name, space, settings, fresh=fresh)
    return tuned, space, settings


def _lock(out: Path, config: RunConfig) -> Path:
    return out / ".locks" / f"study-{config.name}.lock"


@contextmanager
def _open_study(
    tuned: TunedSearch, out: Path, reporter: Reporter, *, fresh: bool
) -> Iterator[RunContext]:
    """Open the folder of a study, with what its problems are made of.

    Of processes that begin together, one prepares, and the others find it done. A study is deleted
    (`fresh`) when nothing is left that could be refused.
    """
    config = tuned.config
    folder = RunFolder(out / "studies" / config.name)
    run_id = config.run_id(config.recipe.fingerprint)
    with Experiment.open(config, out, reporter) as experiment:
        # held to the end, so that nobody deletes a study that a process works on
        process = out / ".locks" / f"study-{config.name}.process-{uuid.uuid4().hex}.lock"
        lock = _lock(out, config)
        tuned.check_engine(experiment.engine)
        try:
            with experiment.lock(process), ExitStack() as stack:
                with experiment.lock(lock):
                    if not fresh:
                        _manifest(folder, run_id)  # refuses another study
                    elif in_use(folder.path, out, own={process, lock}):
                        raise ArtifactError(
                            f"another process works in {folder.path}",
                            remedy="wait for it to end, or stop it",
                        )
                    trackers = stack.enter_context(_trackers(config, out))
                    if fresh:
                        remove(folder.path)
                    stack.enter_context(following(folder.path, trackers))
                    run = RunContext(experiment, run_id, folder, _manifest(folder, run_id))
                    if not run.manifest:
                        run.begin()
                    tuned.family.prepare(run)
                yield run
        finally:
            process.unlink(missing_ok=True)


@contextmanager
def _trackers(config: RunConfig, out: Path) -> Iterator[list[Tracker]]:
    """Open a study's trackers; of several processes, the first has them while it works."""
    if not config.runtime.tracking.to:
        yield []
        return
    lock = FileLock(out / ".locks" / f"study-{config.name}.tracking.lock")
    trackers: list[Tracker] = []
    try:
        with suppress(Timeout):
            lock.acquire(blocking=False)
            trackers = config.runtime.tracking.open(f"{config.name}-study", out)
        yield trackers
    finally:
        lock.release()


def _manifest(folder: RunFolder, run_id: str) -> dict[str, Any]:
    """Return the manifest of a study's folder; empty: there is no study in it.

    Raises:
        ArtifactError: there is a study of another configuration.
    """
    if not folder.manifest_path.exists():
        return {}
    manifest = load_run(folder.path).manifest
    if manifest["run_id"] == run_id:
        return manifest
    if "tune" not in manifest and not (folder.path / _DATABASE).exists():
        return {}
    raise ArtifactError(
        f"{folder.path} holds a study of another configuration: that of {manifest['run_id']}, "
        f"and this is {run_id}",
        remedy="give this one a name of its own (--set name=...), or --fresh to replace it",
    )


def _conclude(run: RunContext, tuned: TunedSearch, tuning: Tuning, problems: TunedProblems) -> None:
    """Check the best settings on seeds that tuned nothing; write tables, figures and report."""
    config, settings, folder = run.config, tuning.settings, run.folder
    identity = {"run_id": run.run_id, "seed": settings.seed, "study": config.name}
    importances = tuning.importance_rows()
    folder.write_rows(
        "trials",
        ({**identity, **row, "params": json.dumps(row["params"])} for row in tuning.trial_rows()),
    )
    folder.write_rows("importances", ({**identity, **row} for row in importances))
    space, params, best = tuning.space, tuning.best_params, tuning.best.number
    library, searched = space.library(params), space.settings(params)
    yaml = tuned.best_yaml(library, searched, best)
    atomic_write_bytes(folder.path / "best.yaml", yaml.encode())
    first = max(settings.seeds) + 1
    seeds = range(first, first + tuned.asked.check_seeds)
    arms = {"default": (problems({}), space.base), "tuned": (problems(library), searched)}
    _check(run, settings, arms, seeds)
    own = {**space.own, **tuned.family.library(config)}
    note = {
        "family": tuned.family.name,
        "trial": best,
        "tuned": params,
        "default": {name: own[name] for name in space.dimensions},
        "storage": tuning.place,
        "budget": settings.budget.model_dump(),
        "objectives": list(settings.objectives),
        "sampler": settings.sampler,
        "pruner": settings.pruner,
        "pruner_patience": settings.pruner_patience,
        "parallel": settings.parallel,
        "seeds": list(settings.seeds),
        "check_seeds": list(seeds),
    }
    run.note(tune=note)
    changed = [name for name, value in params.items() if value != own[name]]
    _draw(folder, tuning, importances, changed)
    TuningReport(load_run(folder.path)).page().write(folder)


def _draw(
    folder: RunFolder, tuning: Tuning, importances: Sequence[Row], changed: Sequence[str]
) -> None:
    """Draw the study's figures, the parameters by falling importance."""
    remove(folder.figures)
    ranked = {
        row["parameter"]: -row["importance"]
        for row in importances
        if (row["objective"], row["evaluator"]) == ("loss", "ped_anova")
    }
    by_importance = sorted(ranked, key=lambda name: ranked[name])
    for name, figure in tuning.figures(by_importance, changed).items():
        svg = figure_svg(figure, f"tune-{name}", FIGURES[name])
        atomic_write_bytes(folder.figures / f"{name}.svg", svg.encode())


def _check(
    run: RunContext,
    settings: TuningSettings,
    arms: Mapping[str, tuple[Halves, SearchSettings]],
    seeds: Sequence[int],
) -> None:
    """Search with the settings of both arms on other seeds, and write the table `checks`."""
    study = Study(run, "checks", [_VERSION, SEARCH_VERSION])
    parts: dict[str, list[Part]] = {}
    for arm, (halves, searched) in arms.items():
        key = study.key(
            problem=[halves.searched.fingerprint, halves.held_back.fingerprint],
            budget=settings.budget.model_dump(),
            search=settings.budget.settings(searched).model_dump(mode="json"),
        )
        identity = {"run_id": run.run_id, "study": run.config.name, "arm": arm}
        check = _Check(settings.budget, searched, settings.family, run.monitor, identity)
        parts[arm] = [
            Part(f"check-{arm}-{key}", seed, partial(check.rows, seed=seed), f"{arm}, seed {seed}")
            for seed in seeds
        ]
    study.clean("check", {part.folder for own in parts.values() for part in own})
    tables = [
        table
        for arm, own in parts.items()
        for table in study.rows(f"check of {arm} settings", own, arms[arm][0].shared)
    ]
    run.folder.write("checks", pa.concat_tables(tables))


@dataclass(frozen=True)
class _Check:
    """Searches with the settings of one arm."""

    budget: Budget
    settings: SearchSettings
    family: str
    monitor: EnergyMonitor
    identity: Row

    def rows(self, halves: Halves, *, seed: int) -> list[Row]:
        """Return the row of the search with a seed."""
        search = halves.search(
            self.settings, self.budget, seed=seed, family=self.family, monitor=self.monitor
        )
        columns = asdict(search)
        del columns["complete"]
        return [self.identity | columns]
