"""The study `clso tune`: Optuna tries settings of a search; the best are compared with the run's.

A study has a folder like a run's, `studies/<name>/`. Its data set and library or functions are
those that runs share. Any number of processes may work on one study: each takes the next trial
until there are enough, and whichever comes to the end writes the outcome. The test split is not
read.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from clso.artifacts import Run, RunFolder, atomic_write_bytes, load_run, remove, write_table
from clso.errors import ArtifactError, ConfigError
from clso.progress import SILENT, Reporter
from clso.report.style import figure_svg
from clso.studies.tuning import FIGURES
from clso.studies.tuning import Tuning as TuningReport
from pipelines.config import RunConfig
from pipelines.config.tune import TuneSettings
from pipelines.context import RunContext, run_identity
from pipelines.experiment import Experiment
from pipelines.families import AnyFamily
from pipelines.stages import families_of, run_foundations
from pipelines.studies.engine import Part, Row, Study, family_of
from pipelines.studies.tuned import TunedProblems, search_space, tuned_config, tuned_yaml
from search.evolution import SEARCH_VERSION
from search.settings import SearchSettings
from search.tuning import Tuning, TuningSettings, open_tuning
from search.tuning.storage import hidden_url
from search.validated import Halves

__all__ = ["tune"]

# Raised whenever a change of code changes what a stored part would hold.
_VERSION = 1
_DATABASE = "study.db"


def tune(
    config: RunConfig,
    out: Path,
    reporter: Reporter = SILENT,
    *,
    trials: int | None = None,
    storage: str | None = None,
    fresh: bool = False,
) -> Run:
    """Run a study, or go on with it, then check what it found and write all down.

    Args:
        config: its section `tune` says what is tuned, or the defaults where it has none.
        out: the output folder.
        reporter: hears of the progress.
        trials: in place of `tune.trials`.
        storage: in place of `tune.storage`.
        fresh: delete the study first.

    Raises:
        ConfigError: the section does not fit the run.
        ArtifactError: the storage cannot be opened, or there is another study of this name.
        WorkError: no trial came to a loss.
    """
    asked = config.tune or TuneSettings()
    family = _family(config, asked)
    space = search_space(config, asked, family)
    settings = TuningSettings(
        family=family.name,
        trials=trials or asked.trials,
        seeds=tuple(config.seed + number for number in range(asked.seeds)),
        budget=asked.budget,
        objectives=asked.objectives,
        pruner=asked.pruner or ("none" if len(asked.objectives) > 1 else "hyperband"),
        retries=asked.retries,
        seed=config.seed,
    )
    settings.check_population(space)
    joules = settings.budget.energy_j is not None or "energy_j" in settings.objectives
    if joules and config.energy.meter == "none":
        raise ConfigError(
            "the study weighs joules, but energy.meter is none",
            remedy="set energy.meter to auto, or leave joules out of tune",
        )
    with _open_study(config, out, reporter, fresh=fresh) as run:
        run_foundations(run, family)
        problems = TunedProblems(run.experiment, family)
        url = storage or asked.storage or f"sqlite:///{run.folder.path / _DATABASE}"
        with open_tuning(
            url,
            config.name,
            space,
            settings,
            problems,
            monitor=run.monitor,
            own_library=dict(family.library(config)),
            fresh=fresh,
        ) as tuning:
            tuning.run(reporter)
            # of processes that end together, one does the check and the others find it done
            with run.experiment.lock(out / ".locks" / f"study-{config.name}.lock"):
                _conclude(run, family, tuning, problems, asked.check_seeds, hidden_url(url))
        return load_run(run.folder.path)


def _family(config: RunConfig, asked: TuneSettings) -> AnyFamily:
    if asked.family is not None:
        return family_of(config, asked.family, asked_by="tune.family")
    if len(config.families) > 1:
        raise ConfigError(
            f"families are {', '.join(config.families)}, and a study tunes one of them",
            remedy=f"--set tune.family={config.families[-1]}",
        )
    return families_of(config)[0]


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
    with config.energy.open() as monitor:
        experiment = Experiment(config, fingerprint, out, monitor, reporter)
        run = RunContext(experiment, run_id, folder, manifest)
        if not manifest:
            run.note(
                uid=uuid.uuid4().hex,
                run_id=run_id,
                seed=config.seed,
                data_fingerprint=fingerprint,
            )
            run.note_work()
        yield run


def _conclude(
    run: RunContext,
    family: AnyFamily,
    tuning: Tuning,
    problems: TunedProblems,
    check_seeds: int,
    storage: str,
) -> None:
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
    library = space.library(params)
    tuned = tuned_config(config, family, library, space.settings(params), settings.budget)
    atomic_write_bytes(
        folder.path / "best.yaml",
        tuned_yaml(tuned, config.name, best, settings.budget).encode(),
    )
    first = max(settings.seeds) + 1
    seeds = range(first, first + check_seeds)
    study = Study(run, "checks", [_VERSION, SEARCH_VERSION])
    arms = {
        "default": (problems({}), space.base),
        "tuned": (problems(library), space.settings(params)),
    }
    parts = [
        part
        for arm, (halves, searched) in arms.items()
        for part in _check_parts(study, arm, halves, searched, settings, seeds)
    ]
    study.clean("check", {part.folder for part in parts})
    write_table(folder.table("checks"), study.rows("check on other seeds", parts), "checks")
    own = {**space.own, **family.library(config)}
    run.note(
        tune={
            "family": family.name,
            "trial": best,
            "tuned": params,
            "default": {name: own[name] for name in space.dimensions},
            "storage": storage,
            "budget": settings.budget.model_dump(),
            "objectives": list(settings.objectives),
            "pruner": settings.pruner,
            "seeds": list(settings.seeds),
            "check_seeds": list(seeds),
        }
    )
    remove(folder.figures)
    ranked = {
        row["parameter"]: -row["importance"]
        for row in importances
        if (row["objective"], row["evaluator"]) == ("loss", "ped_anova")
    }
    for name, figure in tuning.figures(sorted(ranked, key=lambda name: ranked[name])).items():
        svg = figure_svg(figure, f"tune-{name}", FIGURES[name])
        atomic_write_bytes(folder.figures / f"{name}.svg", svg.encode())
    TuningReport(load_run(folder.path)).page().write(folder)


def _check_parts(
    study: Study,
    arm: str,
    halves: Halves,
    searched: SearchSettings,
    settings: TuningSettings,
    seeds: Sequence[int],
) -> list[Part]:
    """Return a part for each seed of a search with one of the two settings."""
    key = study.key(
        problem=[halves.searched.fingerprint, halves.held_back.fingerprint],
        budget=settings.budget.model_dump(),
        search=settings.budget.settings(searched).model_dump(mode="json"),
    )
    run = study.run
    identity = {"run_id": run.run_id, "study": run.config.name, "arm": arm}

    def rows(seed: int) -> list[Row]:
        search = asdict(
            halves.search(
                searched,
                settings.budget,
                seed=seed,
                family=settings.family,
                monitor=run.monitor,
            )
        )
        del search["complete"]
        return [identity | search]

    return [
        Part(f"check-{arm}-{key}", seed, partial(rows, seed), f"{arm}, seed {seed}")
        for seed in seeds
    ]
