"""The commands that study the search: each runs many searches and says what came of them."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.options import DEFAULT_OUT, Config, Out, Overrides, interruptible

if TYPE_CHECKING:
    from clso.config import RunConfig

__all__ = ["add_commands"]


def add_commands(app: typer.Typer) -> None:
    """Add every study to the command line."""
    for command in (rivals, pareto):
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
    from clso.config import load_config

    with interruptible():
        path = _rivals(load_config(config, overrides or ()), out.resolve(), seeds, evaluations)
    from clso.artifacts import load_run
    from pipelines.console import console
    from pipelines.inspect import show_rivals

    show_rivals(load_run(path))
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
    from clso.config import load_config
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
    from pipelines.inspect import show_pareto

    show_pareto(run, found)
    console.print(f"{run.path}", soft_wrap=True)


def _rivals(config: RunConfig, out: Path, seeds: int, evaluations: Sequence[int] | None) -> Path:
    from pipelines.console import RichReporter
    from pipelines.context import open_context

    with open_context(config, out, RichReporter()) as context:
        from pipelines.rivals import run_rivals

        return run_rivals(context, seeds=seeds, evaluations=evaluations or ())
