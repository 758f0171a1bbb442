"""Models of a finished run, made again and again in one process, each making measured.

A making does all the work that the model's joules stand for: libraries, search and final fit, or
the training steps of the winning trial. It reads the stored data set and nothing else, works in a
temporary folder, and leaves the run as it is; only the table `energy_repeats` is added. The models
take turns, so that what else happens on the machine meets all of them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa

from clso.artifacts import Run, RunFolder
from clso.energy import Measurement
from clso.errors import ArtifactError, ConfigError
from clso.progress import SILENT, Reporter
from clso.report.models import Models
from clso.watch import TrackingSettings
from pipelines.config import RunConfig, load_config
from pipelines.context import RunContext, run_lock
from pipelines.experiment import Experiment
from pipelines.inspect import find_run
from pipelines.stage import Stage

__all__ = ["repeat", "repeated_run"]

_TABLE = "energy_repeats"


def repeated_run(name: str, out: Path) -> Run:
    """Find a run by its name, or by the configuration that made it.

    Raises:
        ArtifactError: there is no such run.
        ConfigError: the configuration is wrong.
    """
    if not name.endswith((".yaml", ".yml")):
        return find_run(name, out)
    config = load_config(name, ())
    run_id = config.run_id(config.recipe.fingerprint)
    if not (out / "runs" / run_id).exists():
        raise ArtifactError(
            f"{name} has no run in {out}: {run_id} is missing",
            remedy=f"make it: `clso run {name}`",
        )
    return find_run(run_id, out)


def repeat(
    run: Run,
    repeats: int = 5,
    *,
    models: Sequence[str] = (),
    fresh: bool = False,
    reporter: Reporter = SILENT,
) -> pa.Table:
    """Make models of a finished run again, and return the table `energy_repeats`.

    Repeats that are stored stay, so an interrupted call goes on where it stopped.

    Args:
        run: its results say which models are made.
        repeats: how often each model is made.
        models: their names; none: the best gradient-free model and those that it is compared with.
        fresh: delete the stored repeats first.
        reporter: shows the progress.

    Raises:
        ArtifactError: the run is not finished, its data set is missing, or another process works
            in it.
        ConfigError: the run makes no such model, or only one.
    """
    out = run.path.resolve().parents[1]
    config = _config(run)
    stages = _stages(run, config)
    chosen = _chosen(run, stages, models)
    if not (out / "datasets" / run.manifest["data_fingerprint"]).exists():
        raise ArtifactError(
            f"the data set of {run.run_id} is missing",
            remedy="the run's own command makes it again",
        )
    with run_lock(out, run.run_id):
        if fresh:
            run.folder.remove_table(_TABLE)
        stored = _Stored.unpacked(run)
        missing = [
            (number, model)
            for number in range(repeats)
            for model in chosen
            if not stored.has(number, model)
        ]
        with reporter.task("makings", len(missing)) as task:
            for done, (number, model) in enumerate(missing):
                task.update(done, f"{model}, repeat {number + 1}")
                making = _Making(run, stages, model)
                stored.add(number, model, making.measured(reporter))
            task.update(len(missing))
        return run.folder.compact(_TABLE)


def _config(run: Run) -> RunConfig:
    """Return a run's configuration; programs that follow a run do not follow its repeats."""
    config = RunConfig.parsed(run.config, run.run_id, "make the run again with `clso run`")
    quiet = config.runtime.replaced(tracking=TrackingSettings())
    return config.model_copy(update={"runtime": quiet})


def _stages(run: Run, config: RunConfig) -> dict[str, Stage]:
    """Return the finished stages that make a model, by the model's name."""
    from pipelines.stages import through  # takes seconds

    states = run.manifest.get("stages", {})
    return {
        stage.makes: stage
        for stage in through("run", config)
        if stage.makes and states.get(stage.name, {}).get("status") == "done"
    }


def _chosen(run: Run, stages: Collection[str], asked: Sequence[str]) -> list[str]:
    """Return the models to make, in the order of their turns.

    Raises:
        ArtifactError: there are no results.
        ConfigError: as for `repeat`.
    """
    results = run.results.to_pylist()
    contender = Models.contender(results)
    usual = [*([] if contender is None else [contender]), *Models.rivals(results)]
    chosen = list(dict.fromkeys(asked or [row["model"] for row in usual]))
    for name in chosen:
        if name not in stages:
            raise ConfigError(
                f"{run.run_id} has no model {name!r} that can be made again",
                remedy=f"it has {', '.join(stages) or 'none'}",
            )
    if len(chosen) < 2:
        raise ConfigError(
            f"{run.run_id} has only {', '.join(chosen) or 'no model'} to make again, and a ratio "
            "needs two",
            remedy="name others with --model, or run with a baseline",
        )
    return chosen


@dataclass(frozen=True)
class _Stored:
    """The repeats of a run that are measured, each a part of the table."""

    run: Run

    @classmethod
    def unpacked(cls, run: Run) -> _Stored:
        """Return the repeats, those of a finished call as parts again."""
        stored = cls(run)
        path = run.folder.table(_TABLE)
        if path.exists():
            for row in run.folder.read(_TABLE).to_pylist():
                stored._write(row)
            path.unlink()
        return stored

    def has(self, number: int, model: str) -> bool:
        """Return whether a repeat of a model is there."""
        return self.run.folder.parts(_TABLE, model).path(number).exists()

    def add(self, number: int, model: str, spent: Measurement) -> None:
        """Store what a repeat has taken."""
        origin = {"run_id": self.run.run_id, "seed": self.run.manifest["seed"]}
        own = {"repeat": number, "model": model, "cpu_s": spent.cpu_s, **spent.columns}
        self._write(origin | own)

    def _write(self, row: dict[str, object]) -> None:
        parts = self.run.folder.parts(_TABLE, str(row["model"]))
        parts.write(int(str(row["repeat"])), [row])


@dataclass(frozen=True)
class _Making:
    """One making of a model."""

    run: Run
    stages: dict[str, Stage]
    model: str

    def measured(self, reporter: Reporter) -> Measurement:
        """Make the model in a temporary folder, and return what its making has taken."""
        stage, fingerprint = self.stages[self.model], self.run.manifest["data_fingerprint"]
        config = stage.winner_alone(_config(self.run), self.run.manifest)
        assert stage.model is not None
        with TemporaryDirectory(prefix="clso-") as scratch:
            out = Path(scratch)
            (out / "datasets").mkdir()
            data = self.run.path.resolve().parents[1] / "datasets" / fingerprint
            (out / "datasets" / fingerprint).symlink_to(data)
            with Experiment.open(config, out, reporter, fingerprint=fingerprint) as experiment:
                folder = RunFolder(out / "runs" / self.run.run_id)
                context = RunContext(experiment, self.run.run_id, folder)
                context.begin()
                for needed in _through(stage, config):
                    needed.run(context)
                return stage.model(context)[1]


def _through(stage: Stage, config: RunConfig) -> list[Stage]:
    """Return a stage and those that it is built on, in order."""
    from pipelines.stages import through

    stages = {other.name: other for other in through("run", config)}
    wanted, waiting = set(), [stage.name]
    while waiting:
        name = waiting.pop()
        if name not in wanted:
            wanted.add(name)
            waiting += stages[name].built_on(config) or ()
    return [other for name, other in stages.items() if name in wanted]
