"""The commands that study the search: each runs many searches and says what came of them."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pipelines.options import DEFAULT_OUT, Config, Fresh, Out, Overrides, interruptible

if TYPE_CHECKING:
    from pipelines.config import RunConfig

__all__ = ["add_commands"]

Families = Annotated[
    list[str] | None,
    typer.Option(
        "--family",
        metavar="FAMILY",
        help="Search this one only; may be given again. By default all of the configuration.",
    ),
]
Seeds = Annotated[
    int | None,
    typer.Option("--seeds", min=2, help="Searches of each arm, instead of the configuration's."),
]
Budget = Annotated[
    int | None,
    typer.Option(
        "--evaluations", min=1, metavar="N", help="Of each search, instead of the configuration's."
    ),
]


def add_commands(app: typer.Typer) -> None:
    """Add every study to the command line."""
    for command in (rivals, tune, ablate, savings, pareto):
        app.command()(command)


def rivals(
    config: Config,
    overrides: Overrides = None,
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
    """Hold the mixture's search against random search, greedy selection and all at once.

    The same command again resumes and reuses what is finished.
    """
    from pipelines.config import load_config

    with interruptible():
        path = _rivals(load_config(config, overrides or ()), out.resolve(), seeds, evaluations)
    from clso.artifacts import load_run
    from clso.studies.rivals import rivals_sections
    from pipelines.console import console
    from pipelines.inspect import show_sections

    show_sections(rivals_sections(load_run(path)))
    console.print(f"{path}", soft_wrap=True)


class FamilyName(StrEnum):
    """Model families that have a search of their own."""

    GPT = "gpt"
    MIXTURE = "mixture"


def pareto(
    config: Config,
    overrides: Overrides = None,
    family: Annotated[
        FamilyName | None,
        typer.Option("--family", help="Whose front; by default the mixture's, if it is there."),
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
    from pipelines.config import load_config
    from pipelines.console import RichReporter, console
    from pipelines.context import open_context

    with (
        interruptible(),
        open_context(
            load_config(config, overrides or ()), out.resolve(), RichReporter()
        ) as context,
    ):
        from pipelines.pareto import study_front

        run, found = study_front(
            context,
            family=None if family is None else family.value,
            objectives=[name.strip() for name in objectives.split(",")],
            population=population,
            generations=generations,
        )
    from clso.studies.pareto import pareto_sections
    from pipelines.inspect import show_sections

    show_sections(pareto_sections(run, found))
    console.print(f"{run.path}", soft_wrap=True)


def _rivals(config: RunConfig, out: Path, seeds: int, evaluations: Sequence[int] | None) -> Path:
    from pipelines.console import RichReporter
    from pipelines.context import open_context

    with open_context(config, out, RichReporter()) as context:
        from pipelines.rivals import run_rivals

        return run_rivals(context, seeds=seeds, evaluations=evaluations or ())


def tune(
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
    from pipelines.config import load_config

    with interruptible():
        from pipelines.console import RichReporter, console
        from pipelines.tune import run_tune

        path = run_tune(
            load_config(config, overrides or ()),
            out.resolve(),
            RichReporter(),
            trials=trials,
            storage=storage,
            fresh=fresh,
        )
    from clso.artifacts import load_run
    from clso.studies.tuning import Tuning
    from pipelines.inspect import show_sections

    study = load_run(path)
    show_sections(Tuning(study).sections())
    console.print(f"report: {study.folder.report_path}", soft_wrap=True)
    console.print(f"tuned configuration: {path / 'best.yaml'}", soft_wrap=True)


def ablate(
    config: Config,
    overrides: Overrides = None,
    family: Families = None,
    seeds: Seeds = None,
    evaluations: Budget = None,
    out: Out = DEFAULT_OUT,
) -> None:
    """Change one thing about the search at a time, and say what each is worth.

    What is changed stands in the configuration's section `ablate`. The same command again resumes
    and reuses what is finished.
    """
    _study("ablate", config, overrides, out, family, seeds, evaluations)


def savings(
    config: Config,
    overrides: Overrides = None,
    family: Families = None,
    seeds: Seeds = None,
    evaluations: Budget = None,
    out: Out = DEFAULT_OUT,
) -> None:
    """Count the evaluations and joules that a surrogate spares a search for the same loss.

    Which ways to spare are compared (surrogates, acquisitions, ladders, adaptive populations)
    stands in the section `savings`, if there is one. The same command again resumes and reuses
    what is finished.
    """
    _study("savings", config, overrides, out, family, seeds, evaluations)


def _study(
    name: Literal["ablate", "savings"],
    config_path: Path,
    overrides: Sequence[str] | None,
    out: Path,
    families: Sequence[str] | None,
    seeds: int | None,
    evaluations: int | None,
) -> None:
    from clso.artifacts import load_run
    from clso.errors import ConfigError
    from pipelines.config import load_config
    from pipelines.console import RichReporter, console
    from pipelines.context import open_context

    with interruptible():
        config = load_config(config_path, overrides or ())
        missing = [family for family in families or () if family not in config.families]
        if missing:
            raise ConfigError(
                f"the configuration's families are {', '.join(config.families)}, "
                f"without {', '.join(missing)}",
                remedy="--set families=[gpt, mixture] adds one of these two",
            )
        with open_context(config, out.resolve(), RichReporter()) as context:
            from pipelines.ablate import run_ablation
            from pipelines.families import FAMILIES
            from pipelines.savings import run_savings

            chosen = [
                FAMILIES.get(name)
                for name in config.families
                if name in (families or config.families)
            ]

            run = run_ablation if name == "ablate" else run_savings
            path = run(context, chosen, seeds=seeds, evaluations=evaluations)
    from clso.studies.ablations import ablation_sections
    from clso.studies.savings import savings_sections
    from pipelines.inspect import show_sections

    sections = ablation_sections if name == "ablate" else savings_sections
    show_sections(sections(load_run(path)))
    console.print(f"{path}", soft_wrap=True)
