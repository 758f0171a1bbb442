"""The commands that study the search: each runs many searches and says what came of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines import commands
from pipelines.options import DEFAULT_OUT, Config, Fresh, Out, Overrides, interruptible

if TYPE_CHECKING:
    from clso.artifacts import Run

__all__ = ["add_commands"]

_Families = Annotated[
    list[str] | None,
    typer.Option(
        "--family",
        metavar="FAMILY",
        help="Search this one only; may be given again. By default all of the configuration.",
    ),
]
_Seeds = Annotated[
    int | None,
    typer.Option("--seeds", min=2, help="Searches of each arm, instead of the configuration's."),
]
_Budget = Annotated[
    int | None,
    typer.Option(
        "--evaluations", min=1, metavar="N", help="Of each search, instead of the configuration's."
    ),
]


def add_commands(app: typer.Typer) -> None:
    """Add every study to the command line."""
    for command in (_rivals, _tune, _ablate, _savings, _pareto):
        app.command(command.__name__.removeprefix("_"))(command)


def _studied(
    study: Callable[..., Run],
    config: Path,
    overrides: list[str] | None,
    out: Path,
    **options: Any,  # noqa: ANN401 - the study's own
) -> Run:
    """Run a study of a configuration and show its progress."""
    from pipelines.config import load_config
    from pipelines.console import RichReporter

    with interruptible():
        loaded = load_config(config, overrides or ())
        return study(loaded, out=out, reporter=RichReporter(), **options)


def _tell(text: str) -> None:
    from pipelines.console import console

    console.print(text, soft_wrap=True)


def _rivals(
    config: Config,
    overrides: Overrides = None,
    family: Annotated[
        str | None,
        typer.Option(
            "--family",
            metavar="FAMILY",
            help="Whose search; by default the first whose genomes pick sets.",
        ),
    ] = None,
    seeds: Annotated[int, typer.Option("--seeds", min=2, help="Searches of each kind.")] = 10,
    evaluations: Annotated[
        list[int] | None,
        typer.Option(
            "--evaluations",
            min=1,
            metavar="N",
            help="Compare after so many; may be given again. By default 100, 150, 300, 600, "
            "1,200 and as many as greedy selection takes.",
        ),
    ] = None,
    out: Out = DEFAULT_OUT,
) -> None:
    """Compare the mixture's search with random search, greedy selection and all at once.

    The same command again resumes and reuses what is finished.
    """
    from clso.studies import study_sections
    from pipelines.inspect import show_sections

    run = _studied(
        commands.rivals,
        config,
        overrides,
        out,
        family=family,
        seeds=seeds,
        evaluations=evaluations or (),
    )
    show_sections(study_sections(run, "rivals"))
    _tell(f"{run.path}")


def _pareto(
    config: Config,
    overrides: Overrides = None,
    family: Annotated[
        str | None,
        typer.Option(
            "--family",
            metavar="FAMILY",
            help="Whose front; by default the last family's that counts what its models cost.",
        ),
    ] = None,
    objectives: Annotated[
        str,
        typer.Option(
            "--objectives", metavar="A,B,...", help="What to minimise: loss, stored_bytes, flops."
        ),
    ] = "loss,stored_bytes,flops",
    generations: Annotated[
        int, typer.Option("--generations", min=1, help="Of NSGA-II, the first one included.")
    ] = 15,
    population: Annotated[
        int, typer.Option("--population", min=2, help="Models that each generation evaluates.")
    ] = 40,
    out: Out = DEFAULT_OUT,
) -> None:
    """Search for the models that are best for their size and work: a Pareto front.

    Joules per token are measured for its models afterwards; no search reads them.

    The same command again resumes and reuses what is finished.
    """
    from clso.studies import study_sections
    from pipelines.inspect import show_sections

    run = _studied(
        commands.pareto,
        config,
        overrides,
        out,
        family=family,
        objectives=[name.strip() for name in objectives.split(",")],
        population=population,
        generations=generations,
    )
    show_sections(study_sections(run, "pareto", family))
    _tell(f"{run.path}")


def _tune(
    config: Config,
    overrides: Overrides = None,
    trials: Annotated[
        int | None, typer.Option("--trials", min=1, help="In place of tune.trials.")
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(
            "--storage",
            metavar="URL",
            help="Optuna's, such as postgresql://host/name; by default an SQLite file beside the "
            "results.",
        ),
    ] = None,
    out: Out = DEFAULT_OUT,
    fresh: Fresh = False,
) -> None:
    """Tune a search's hyperparameters with Optuna, and check what it found on other seeds.

    The same command again goes on with the study; started more than once at a time, the processes
    share it.
    """
    from clso.studies.tuning import Tuning
    from pipelines.inspect import show_sections

    run = _studied(
        commands.tune, config, overrides, out, trials=trials, storage=storage, fresh=fresh
    )
    show_sections(Tuning(run).sections())
    _tell(f"report: {run.folder.report_path}")
    _tell(f"tuned configuration: {run.path / 'best.yaml'}")


def _ablate(
    config: Config,
    overrides: Overrides = None,
    family: _Families = None,
    seeds: _Seeds = None,
    evaluations: _Budget = None,
    out: Out = DEFAULT_OUT,
) -> None:
    """Change one thing about the search at a time, and say what each is worth.

    What is changed stands in the configuration's section `ablate`. The same command again resumes
    and reuses what is finished.
    """
    from clso.studies import study_sections
    from pipelines.inspect import show_sections

    run = _studied(
        commands.ablate,
        config,
        overrides,
        out,
        families=family or (),
        seeds=seeds,
        evaluations=evaluations,
    )
    show_sections(study_sections(run, "ablations"))
    _tell(f"{run.path}")


def _savings(
    config: Config,
    overrides: Overrides = None,
    family: _Families = None,
    seeds: _Seeds = None,
    evaluations: _Budget = None,
    out: Out = DEFAULT_OUT,
) -> None:
    """Count the evaluations and joules that a surrogate saves a search for the same loss.

    Which ways to save are compared (surrogates, acquisitions, ladders, adaptive populations)
    stands in the section `savings`, if there is one. The same command again resumes and reuses
    what is finished.
    """
    from clso.studies import study_sections
    from pipelines.inspect import show_sections

    run = _studied(
        commands.savings,
        config,
        overrides,
        out,
        families=family or (),
        seeds=seeds,
        evaluations=evaluations,
    )
    show_sections(study_sections(run, "savings"))
    _tell(f"{run.path}")
