"""The commands as functions: what `from pipelines import run` gives.

Each takes a configuration (the path of a YAML file, a mapping of sections, or a `RunConfig`) and
overrides by dotted path, and returns the stored run:

    run("configs/quick.yaml", {"seed": 1, "data.train_tokens": 16_000}, out="artifacts")

The studies (`tune`, `ablate`, `savings`, `rivals`, `pareto`) have options besides, those of the
command of the same name.

Like the command of its name, a function reuses what is finished and resumes what was interrupted.
It runs without Prefect; `pipelines.flows` has the stages' commands as flows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clso.progress import SILENT, Reporter

if TYPE_CHECKING:  # the command line reads this module before it knows what is asked for
    from clso.artifacts import Run
    from pipelines.config import ConfigSource, RunConfig
    from pipelines.context import RunContext
    from pipelines.stage import Stage

__all__ = [
    "STAGE_COMMANDS",
    "StageCommand",
    "ablate",
    "analyze",
    "baseline",
    "library",
    "pareto",
    "prepare",
    "rivals",
    "run",
    "savings",
    "search",
    "tune",
]


class StageCommand:
    """A command that runs the stages it names, and all that they are built on.

    Args:
        name: the word of the command.
        help: what it does.
    """

    def __init__(self, name: str, help: str) -> None:
        self.name = self.__name__ = name
        self.help = self.__doc__ = help

    def __repr__(self) -> str:
        return f"pipelines.{self.name}"

    def __call__(
        self,
        config: ConfigSource,
        overrides: Mapping[str, Any] | None = None,
        *,
        out: str | Path = "artifacts",
        fresh: bool = False,
        reporter: Reporter = SILENT,
    ) -> Run:
        """Run the stages that are not finished, and return the stored run.

        Args:
            config: a YAML file, a mapping of sections (named `run` if it has no `name`), or a
                configuration.
            overrides: values that replace the configuration's, by dotted path.
            out: the output folder.
            fresh: delete this run's earlier results first; data sets and libraries, which other
                runs share, stay.
            reporter: hears of the progress.

        Raises:
            ConfigError: the configuration or an override is wrong.
            ClsoError: the work cannot be done; the message says what to do.
        """
        from pipelines.config import read_config

        return self.execute(read_config(config, overrides), Path(out), fresh, reporter)

    def execute(
        self,
        config: RunConfig,
        out: Path,
        fresh: bool,
        reporter: Reporter,
        do: Callable[[Stage, RunContext], None] = lambda stage, run: stage.run(run),
    ) -> Run:
        """Run the stages of a configuration, each by `do`."""
        from clso.artifacts import load_run
        from pipelines.context import open_context

        with open_context(config, out.resolve(), reporter, fresh=fresh) as context:
            # Late, because it takes seconds: mistakes about the data are told before.
            from pipelines.stages import through

            for stage in through(self.name, config):
                do(stage, context)
        return load_run(context.folder.path)


run = StageCommand(
    "run", "Run everything, end to end: data, library, search, baseline, energy and report."
)
prepare = StageCommand("prepare", "Prepare the data set: read, split by document, tokenize, pack.")
library = StageCommand("library", "Generate the libraries of structured matrices.")
search = StageCommand("search", "Search for the best genome; prepares data and library if need be.")
baseline = StageCommand("baseline", "Train the AdamW GPT-2 of the same shape on the same tokens.")
analyze = StageCommand(
    "analyze", "Score the test split once per model, compare, and write the report."
)

STAGE_COMMANDS = (run, prepare, library, search, baseline, analyze)


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
    """Tune a search's hyperparameters with Optuna, and check what it found on other seeds.

    Args:
        config: as for `run`; its section `tune` says what is tuned.
        overrides: values that replace the configuration's, by dotted path.
        out: the output folder; the study is `studies/<name>` in it.
        trials: in place of `tune.trials`.
        storage: the URL of Optuna's storage, in place of `tune.storage`.
        fresh: delete the study first.
        reporter: hears of the progress.

    Returns:
        The study: the tables `trials`, `importances` and `checks`.

    Raises:
        ClsoError: the configuration is wrong, or the work cannot be done.
    """
    from pipelines.config import read_config
    from pipelines.studies.tune import tune as study

    return study(
        read_config(config, overrides),
        Path(out).resolve(),
        reporter,
        trials=trials,
        storage=storage,
        fresh=fresh,
    )


def ablate(
    config: ConfigSource,
    overrides: Mapping[str, Any] | None = None,
    *,
    out: str | Path = "artifacts",
    families: Sequence[str] = (),
    seeds: int | None = None,
    evaluations: int | None = None,
    reporter: Reporter = SILENT,
) -> Run:
    """Change one thing about the search at a time, and measure what each is worth.

    Args:
        config: as for `run`; its section `ablate` is the grid.
        overrides: values that replace the configuration's, by dotted path.
        out: the output folder.
        families: names of those to search; none: all of the configuration.
        seeds: searches of each arm, in place of `ablate.seeds`.
        evaluations: budget of each search, in place of `ablate.evaluations`.
        reporter: hears of the progress.

    Returns:
        The run, with the tables `ablations` and `selections`.

    Raises:
        ClsoError: the configuration is wrong, or the work cannot be done.
    """
    from pipelines.config import read_config
    from pipelines.studies.ablate import ablate as study

    return study(
        read_config(config, overrides),
        Path(out).resolve(),
        reporter,
        families=families,
        seeds=seeds,
        evaluations=evaluations,
    )


def savings(
    config: ConfigSource,
    overrides: Mapping[str, Any] | None = None,
    *,
    out: str | Path = "artifacts",
    families: Sequence[str] = (),
    seeds: int | None = None,
    evaluations: int | None = None,
    reporter: Reporter = SILENT,
) -> Run:
    """Count the evaluations and joules that a surrogate saves a search for the same loss.

    Args:
        config: as for `run`; its section `savings` has the arms.
        overrides: values that replace the configuration's, by dotted path.
        out: the output folder.
        families: names of those to search; none: all of the configuration.
        seeds: searches of each arm, in place of `savings.seeds`.
        evaluations: budget of each search, in place of `savings.evaluations`.
        reporter: hears of the progress.

    Returns:
        The run, with the table `savings`.

    Raises:
        ClsoError: the configuration is wrong, or the work cannot be done.
    """
    from pipelines.config import read_config
    from pipelines.studies.savings import savings as study

    return study(
        read_config(config, overrides),
        Path(out).resolve(),
        reporter,
        families=families,
        seeds=seeds,
        evaluations=evaluations,
    )


def rivals(
    config: ConfigSource,
    overrides: Mapping[str, Any] | None = None,
    *,
    out: str | Path = "artifacts",
    family: str | None = None,
    seeds: int = 10,
    evaluations: Sequence[int] = (),
    reporter: Reporter = SILENT,
) -> Run:
    """Compare a search with random search, greedy selection and the family's own methods.

    Args:
        config: as for `run`.
        overrides: values that replace the configuration's, by dotted path.
        out: the output folder.
        family: whose search; `None`: the first whose genomes pick sets.
        seeds: searches of each kind.
        evaluations: budgets to compare at; none: 100, 150, 300, 600, 1,200 and as many as greedy
            selection takes.
        reporter: hears of the progress.

    Returns:
        The run, with the table `rivals`.

    Raises:
        ClsoError: the configuration is wrong, or the work cannot be done.
    """
    from pipelines.config import read_config
    from pipelines.studies.rivals import rivals as study

    return study(
        read_config(config, overrides),
        Path(out).resolve(),
        reporter,
        family=family,
        seeds=seeds,
        evaluations=evaluations,
    )


def pareto(
    config: ConfigSource,
    overrides: Mapping[str, Any] | None = None,
    *,
    out: str | Path = "artifacts",
    family: str | None = None,
    objectives: Sequence[str] = ("loss", "stored_bytes", "flops"),
    population: int = 40,
    generations: int = 15,
    reporter: Reporter = SILENT,
) -> Run:
    """Search for the models that are best for their size and work: a Pareto front.

    Args:
        config: as for `run`.
        overrides: values that replace the configuration's, by dotted path.
        out: the output folder.
        family: whose front; `None`: the last one's that counts what its models cost.
        objectives: what is minimised: `loss`, `stored_bytes`, `flops`.
        population: models of a generation.
        generations: of NSGA-II, the first one included.
        reporter: hears of the progress.

    Returns:
        The run, with the tables `pareto` and `pareto_generations`.

    Raises:
        ClsoError: the configuration is wrong, or the work cannot be done.
    """
    from pipelines.config import read_config
    from pipelines.studies.pareto import pareto as study

    return study(
        read_config(config, overrides),
        Path(out).resolve(),
        reporter,
        family=family,
        objectives=objectives,
        population=population,
        generations=generations,
    )
