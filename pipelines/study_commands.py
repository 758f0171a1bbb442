"""The commands that study the search: each runs many searches and says what came of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.options import DEFAULT_OUT, Config, Fresh, Out, Overrides, interruptible

if TYPE_CHECKING:
    from clso.config import RunConfig

__all__ = ["add_commands"]


def add_commands(app: typer.Typer) -> None:
    """Add every study to the command line."""
    for command in (rivals, tune):
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
    from clso.config import load_config

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
    from pipelines.inspect import show_tuning

    study = load_run(path)
    show_tuning(study)
    console.print(f"report: {study.folder.report_path}", soft_wrap=True)
    console.print(f"tuned configuration: {path / 'best.yaml'}", soft_wrap=True)
