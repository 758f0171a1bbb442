"""The study `clso tune`: Optuna tries settings of the search; the best are held against the run's.

A study has a folder like a run's, `studies/<name>/`. Its data set and library or functions are
those that runs share. Any number of processes may work on one study: each takes the next trial
until there are enough, and whoever comes to the end writes the outcome. The test split is not read.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa

from clso.artifacts import (
    RunFolder,
    append_part,
    atomic_write_bytes,
    load_run,
    part_path,
    read_table,
    remove,
    write_table,
)
from clso.digest import digest_of
from clso.energy import open_monitor
from clso.errors import ArtifactError, ConfigError
from clso.progress import Reporter
from clso.report.style import figure_svg
from clso.studies.tuning import FIGURES, write_tuning_report
from pipelines.config import RunConfig
from pipelines.config.tune import TuneSettings
from pipelines.context import RunContext, run_identity
from pipelines.experiment import Experiment
from pipelines.families import FAMILIES, AnyFamily
from pipelines.stages import run_foundations
from pipelines.tuned import TunedProblems, search_space, tuned_config, tuned_yaml
from search.evolution import SEARCH_VERSION
from search.settings import SearchSettings
from search.tuning import Params, Tuning, TuningSettings, check_budget, open_tuning
from search.tuning.storage import hidden_url
from search.validated import Budget, Halves, validated_search

__all__ = ["run_tune"]

# Raised whenever a change of code changes what a stored part would hold.
_VERSION = 1
_DATABASE = "study.db"


def run_tune(
    config: RunConfig,
    out: Path,
    reporter: Reporter,
    *,
    trials: int | None = None,
    storage: str | None = None,
    fresh: bool = False,
) -> Path:
    """Run a study, or go on with it, then check what it found and write all down.

    Args:
        config: its section `tune` says what is tuned, or the defaults where it has none.
        out: the output folder.
        reporter: told the trials.
        trials: in place of `tune.trials`.
        storage: in place of `tune.storage`.
        fresh: delete the study first.

    Returns:
        The study's folder.

    Raises:
        ConfigError: the section does not fit the run.
        ArtifactError: the storage cannot be opened, or there is another study of this name.
        WorkError: no trial came to a loss.
    """
    tune = config.tune or TuneSettings()
    family = _family(config, tune)
    space = search_space(config, tune, family)
    settings = TuningSettings(
        family=family.name,
        trials=trials or tune.trials,
        seeds=tuple(config.seed + number for number in range(tune.seeds)),
        budget=Budget(**tune.budget.model_dump()),
        objectives=tune.objectives,
        pruner=tune.pruner or ("none" if len(tune.objectives) > 1 else "hyperband"),
        retries=tune.retries,
        seed=config.seed,
    )
    check_budget(space, settings.budget)
    joules = settings.budget.energy_j is not None or "energy_j" in settings.objectives
    if joules and config.energy.meter == "none":
        raise ConfigError(
            "the study weighs joules, but energy.meter is none",
            remedy="set energy.meter to auto, or leave joules out of tune",
        )
    with _open_study(config, out, reporter, fresh=fresh) as context:
        run_foundations(context, family)
        problems = TunedProblems(context.experiment, family)
        url = storage or tune.storage or f"sqlite:///{context.folder.path / _DATABASE}"
        with open_tuning(
            url,
            config.name,
            space,
            settings,
            problems,
            monitor=context.monitor,
            own_library=dict(family.library(config)),
            fresh=fresh,
        ) as tuning:
            tuning.run(reporter)
            # of processes that come to the end together, one does the check and the other finds it
            with context.experiment.lock(out / ".locks" / f"study-{config.name}.lock"):
                _conclude(context, family, tuning, problems, tune, hidden_url(url))
        return context.folder.path


def _family(config: RunConfig, tune: TuneSettings) -> AnyFamily:
    if tune.family is None:
        if len(config.families) > 1:
            raise ConfigError(
                f"families are {', '.join(config.families)}, and a study tunes one of them",
                remedy=f"--set tune.family={config.families[-1]}",
            )
        return FAMILIES.get(config.families[0])
    if tune.family not in config.families:
        raise ConfigError(
            f"tune.family is {tune.family}, but families has only {', '.join(config.families)}",
            remedy=f"--set families=[{tune.family}]",
        )
    return FAMILIES.get(tune.family)


@contextmanager
def _open_study(
    config: RunConfig, out: Path, reporter: Reporter, *, fresh: bool
) -> Iterator[RunContext]:
    run_id, fingerprint = run_identity(config)
    folder = RunFolder(out / "studies" / config.name)
    if fresh:
        remove(folder.path)
    manifest: dict[str, Any] = {}
    if folder.manifest_path.exists():
        manifest = load_run(folder.path).manifest
        begun = "tune" in manifest or (folder.path / _DATABASE).exists()
        if manifest["run_id"] != run_id and not begun:
            manifest = {}
        elif manifest["run_id"] != run_id:
            raise ArtifactError(
                f"{folder.path} holds a study of another configuration: that of "
                f"{manifest['run_id']}, and this is {run_id}",
                remedy="give this one a name of its own (--set name=...), or --fresh to replace it",
            )
    with open_monitor(config.energy) as monitor:
        experiment = Experiment(config, fingerprint, out, monitor, reporter)
        context = RunContext(experiment, run_id, folder, manifest)
        if not manifest:
            context.note(
                uid=uuid.uuid4().hex,
                run_id=run_id,
                seed=config.seed,
                data_fingerprint=fingerprint,
            )
            context.note_work()
        yield context


def _conclude(
    context: RunContext,
    family: AnyFamily,
    tuning: Tuning,
    problems: TunedProblems,
    tune: TuneSettings,
    storage: str,
) -> None:
    config, settings, folder = context.config, tuning.settings, context.folder
    identity = {"run_id": context.run_id, "seed": settings.seed, "study": config.name}
    trials = [
        {**identity, **row, "params": json.dumps(row["params"])} for row in tuning.trial_rows()
    ]
    importances = [{**identity, **row} for row in tuning.importance_rows()]
    folder.write_rows("trials", trials)
    folder.write_rows("importances", importances)
    space, params, best = tuning.space, tuning.best_params, tuning.best.number
    library = space.library(params)
    tuned = tuned_config(config, family, library, space.settings(params), settings.budget)
    atomic_write_bytes(
        folder.path / "best.yaml",
        tuned_yaml(tuned, config.name, best, settings.budget).encode(),
    )
    checks = _Check(context, tuning, identity, tune.check_seeds)
    arms = {
        "default": (problems({}), space.base),
        "tuned": (problems(library), space.settings(params)),
    }
    write_table(folder.table("checks"), checks.table(arms), "checks")
    context.note(
        tune={
            "family": family.name,
            "trial": best,
            "tuned": params,
            "default": _own(tuning, dict(family.library(config))),
            "storage": storage,
            "budget": asdict(settings.budget),
            "objectives": list(settings.objectives),
            "pruner": settings.pruner,
            "seeds": list(settings.seeds),
            "check_seeds": list(checks.seeds),
        }
    )
    _draw(folder, tuning, importances)
    write_tuning_report(load_run(folder.path))


def _own(tuning: Tuning, library: Params) -> dict[str, Any]:
    """Return the run's own values of all that is tuned."""
    own = {**tuning.space.own, **library}
    return {name: own[name] for name in tuning.space.dimensions}


def _draw(folder: RunFolder, tuning: Tuning, importances: list[dict[str, Any]]) -> None:
    ranked = {
        row["parameter"]: row["importance"]
        for row in importances
        if (row["objective"], row["evaluator"]) == ("loss", "ped_anova")
    }
    remove(folder.figures)
    for name, figure in tuning.figures(sorted(ranked, key=lambda one: -ranked[one])).items():
        svg = figure_svg(figure, f"tune-{name}", FIGURES[name])
        atomic_write_bytes(folder.figures / f"{name}.svg", svg.encode())


class _Check:
    """The tuned settings and the run's own on seeds that tuned nothing, a part per search."""

    def __init__(
        self, context: RunContext, tuning: Tuning, identity: Mapping[str, Any], seeds: int
    ) -> None:
        self._context = context
        self._settings = tuning.settings
        self._identity = identity
        first = max(tuning.settings.seeds) + 1
        self.seeds = range(first, first + seeds)

    def table(self, arms: Mapping[str, tuple[Halves, SearchSettings]]) -> pa.Table:
        """Return all arms' rows, running what is not stored."""
        state = self._context.folder.state
        homes = {arm: state / f"check-{arm}-{self._key(*arms[arm])}" for arm in arms}
        for other in state.glob("check-*"):
            if other not in homes.values():
                remove(other)
        tables = []
        total = len(arms) * len(self.seeds)
        with self._context.reporter.task("check on other seeds", total=total) as task:
            for arm, (halves, settings) in arms.items():
                for seed in self.seeds:
                    path = part_path(homes[arm], seed)
                    if not path.exists():
                        row = self._row(arm, seed, halves, settings)
                        append_part(homes[arm], seed, [row], "checks")
                    tables.append(read_table(path, "checks"))
                    task.update(len(tables), f"{arm}, seed {seed}")
        return pa.concat_tables(tables)

    def _key(self, halves: Halves, settings: SearchSettings) -> str:
        return digest_of(
            {
                "version": [_VERSION, SEARCH_VERSION],
                "problem": [halves.searched.fingerprint, halves.held_back.fingerprint],
                "budget": asdict(self._settings.budget),
                "search": self._settings.budget.settings(settings).model_dump(mode="json"),
            }
        )[:16]

    def _row(self, arm: str, seed: int, halves: Halves, settings: SearchSettings) -> dict[str, Any]:
        found = asdict(
            validated_search(
                halves,
                settings,
                self._settings.budget,
                seed=seed,
                family=self._settings.family,
                monitor=self._context.monitor,
            )
        )
        del found["complete"]
        return {**self._identity, **found, "arm": arm}
