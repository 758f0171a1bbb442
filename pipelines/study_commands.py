"""The commands that study the search: each runs many searches and prints the outcome."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import pipelines
from pipelines.options import DEFAULT_OUT, Config, Fresh, Out, Overrides, interruptible

if TYPE_CHECKING:
    from clso.artifacts import Run

__all__ = ["add_commands"]


def add_commands(app: typer.Typer) -> None:
    """Add every study to the command line."""
    app.command("rivals")(_rivals)
    app.command("tune")(_tune)
    for study, text in _ARMS_HELP.items():
        app.command(study, help=text)(_arms_command(study))
    app.command("pareto")(_pareto)


_ARMS_HELP = {
    "ablate": "Change one thing about the search at a time, and say what each change is worth.\n\n"
    "The configuration's section `ablate` lists the changes. The same command again resumes and "
    "reuses what is finished.",
    "savings": "Count the evaluations and joules that a surrogate saves a search for the same "
    "loss.\n\nThe section `savings`, if there is one, lists the ways to save that are compared: "
    "surrogates, acquisitions, ladders, adaptive populations. The same command again resumes and "
    "reuses what is finished.",
}


def _arms_command(study: str) -> Callable[..., None]:
    def command(
        config: Config,
        overrides: Overrides = None,
        family: Annotated[
            list[str] | None,
            typer.Option(
                "--family",
                metavar="FAMILY",
                help="Search this family only; may be given again. By default all of the "
                "configuration.",
            ),
        ] = None,
        seeds: Annotated[
            int | None,
            typer.Option(
                "--seeds", min=2, help="Searches of each arm, instead of the configuration's."
            ),
        ] = None,
        evaluations: Annotated[
            int | None,
            typer.Option(
                "--evaluations",
                min=1,
                metavar="N",
                help="Budget of each search, instead of the configuration's.",
            ),
        ] = None,
        out: Out = DEFAULT_OUT,
    ) -> None:
        options = {"families": family or (), "seeds": seeds, "evaluations": evaluations}
        run = _run_study(study, config, overrides, out, **options)
        _show(run, "ablations" if study == "ablate" else "savings")

    return command


def _run_study(
    name: str,
    config: str,
    overrides: list[str] | None,
    out: Path,
    **options: Any,  # noqa: ANN401 - the study's own
) -> Run:
    """Run the study of a configuration, and show its progress."""
    from pipelines.config import load_config
    from pipelines.console import RichReporter

    with interruptible():
        loaded = load_config(config, overrides or ())
        # this imports the study, which takes seconds, so mistakes are reported before
        study: Callable[..., Run] = getattr(pipelines, name)
        return study(loaded, out=out, reporter=RichReporter(), **options)


def _show(run: Run, study: str, family: str | None = None) -> None:
    from clso.studies import study_sections
    from pipelines.console import console
    from pipelines.inspect import show_sections

    show_sections(study_sections(run, study, family))
    console.print(str(run.path), soft_wrap=True)


def _rivals(
    config: Config,
    overrides: Overrides = None,
    family: Annotated[
        str | None,
        typer.Option(
            "--family",
            metavar="FAMILY",
            help="The model family; by default the first whose genomes pick sets: the mixture.",
        ),
    ] = None,
    seeds: Annotated[int, typer.Option("--seeds", min=2, help="Searches of each kind.")] = 10,
    evaluations: Annotated[
        list[int] | None,
        typer.Option(
            "--evaluations",
            min=1,
            metavar="N",
            help="A budget to compare at; may be given again. By default 100, 150, 300, 600, "
            "1,200 and as many as greedy selection needs.",
        ),
    ] = None,
    out: Out = DEFAULT_OUT,
) -> None:
    """Compare a search with random search, greedy selection and all functions at once.

    The same command again resumes and reuses what is finished.
    """
    options = {"family": family, "seeds": seeds, "evaluations": evaluations or ()}
    _show(_run_study("rivals", config, overrides, out, **options), "rivals")


def _pareto(
    config: Config,
    overrides: Overrides = None,
    family: Annotated[
        str | None,
        typer.Option(
            "--family",
            metavar="FAMILY",
            help="The model family; by default the last that counts the costs of its models.",
        ),
    ] = None,
    objectives: Annotated[
        str,
        typer.Option(
            "--objectives", metavar="A,B,...", help="What to minimise: loss, stored_bytes, flops."
        ),
    ] = "loss,stored_bytes,flops",
    generations: Annotated[
        int,
        typer.Option("--generations", min=1, help="Number of NSGA-II generations, with the first."),
    ] = 15,
    population: Annotated[
        int, typer.Option("--population", min=2, help="Models that each generation evaluates.")
    ] = 40,
    out: Out = DEFAULT_OUT,
) -> None:
    """Search for the models that are best for their size and work: a Pareto front.

    Joules per token are measured for these models afterwards; no search reads them.

    The same command again resumes and reuses what is finished.
    """
    names = [name.strip() for name in objectives.split(",")]
    options = {"objectives": names, "population": population, "generations": generations}
    run = _run_study("pareto", config, overrides, out, family=family, **options)
    _show(run, "pareto", family)


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
            help="Optuna's storage, such as postgresql://host/name; by default an SQLite file "
            "beside the results.",
        ),
    ] = None,
    out: Out = DEFAULT_OUT,
    fresh: Fresh = False,
) -> None:
    """Tune a search's hyperparameters with Optuna, and check the best on other seeds.

    The same command again continues the study. Several processes at a time share it.
    """
    from clso.studies.tuning import TuningReport
    from pipelines.console import console
    from pipelines.inspect import show_sections

    run = _run_study("tune", config, overrides, out, trials=trials, storage=storage, fresh=fresh)
    show_sections(TuningReport(run).sections())
    console.print(f"report: {run.folder.report_path}", soft_wrap=True)
    console.print(f"tuned configuration: {run.path / 'best.yaml'}", soft_wrap=True)
