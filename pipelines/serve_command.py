"""The command `clso serve`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from pipelines.flow_command import FLOW_NAMES
from pipelines.options import DEFAULT_OUT, Out, Overrides, interruptible

__all__ = ["serve"]


def serve(
    config: Annotated[
        str | None,
        typer.Argument(
            metavar="[CONFIG]",
            help="What runs take that are given no other configuration: a YAML file, or the name "
            "of a shipped one.",
        ),
    ] = None,
    overrides: Overrides = None,
    flow: Annotated[
        list[str] | None,
        typer.Option(
            "--flow",
            metavar="NAME",
            help=f"Serve this flow only; may be given again. One of {', '.join(FLOW_NAMES)}.",
        ),
    ] = None,
    cron: Annotated[
        str | None,
        typer.Option(
            "--cron",
            metavar="FIELDS",
            help='When to start the flow: minute, hour, day, month, weekday, such as "0 2 * * *".',
        ),
    ] = None,
    timezone: Annotated[
        str, typer.Option("--timezone", metavar="ZONE", help="Of --cron, such as Europe/Paris.")
    ] = "UTC",
    name: Annotated[
        str,
        typer.Option(
            "--name", metavar="NAME", help="Of the deployments: clso-run/NAME and others."
        ),
    ] = "served",
    tags: Annotated[
        list[str] | None,
        typer.Option("--tag", metavar="TAG", help="A tag of all runs; may be given again."),
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", min=1, help="How many runs work at the same time.")
    ] = 1,
    out: Out = DEFAULT_OUT,
) -> None:
    """Serve the flows as Prefect deployments from this process, until Ctrl-C.

    Runs are started in Prefect's UI, by `prefect deployment run`, from Python or by a schedule.
    It needs a Prefect server: `prefect server start`, and its address in PREFECT_API_URL.
    """
    from pipelines.deployments import Served
    from pipelines.prefect_env import prepare_environment

    served = Served(
        commands=flow or (),
        name=name,
        out=out,
        config=config,
        overrides=overrides or (),
        cron=cron,
        timezone=timezone,
        tags=("clso", *(tags or ())),
    )
    # A service says what it does; the runs that it starts inherit this.
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "INFO")
    # The processes of its runs must not find a folder `pipelines` here before this one, except
    # where this one is found here.
    if Path(__file__).resolve().parents[1] != Path.cwd().resolve():
        os.environ.setdefault("PYTHONSAFEPATH", "1")
    prepare_environment(out.resolve())
    with interruptible():
        served.serve(limit)
