"""The commands about energy: `clso energy show`, `repeat` and `calibrate`."""

from __future__ import annotations

from typing import Annotated

import typer

from clso.errors import ConfigError
from pipelines.options import DEFAULT_OUT, Out, RunName, interruptible

__all__ = ["add_commands"]

_energy = typer.Typer(
    name="energy",
    help="What the models of a run cost, how sure that is, and the power of this machine.",
    no_args_is_help=True,
)


def add_commands(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.add_typer(_energy)


@_energy.command("show")
def _show(run: RunName, out: Out = DEFAULT_OUT) -> None:
    """Show the joules of a run: by stage, in use, under other assumptions, over repeats."""
    from pipelines.inspect import find_run, show_energy

    show_energy(find_run(run, out))


@_energy.command("repeat")
def _repeat(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN|CONFIG",
            help="A finished run, as for `clso show`, or the configuration that made it.",
        ),
    ],
    repeats: Annotated[
        int, typer.Option("--repeats", min=2, help="How often each model is made.")
    ] = 5,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            help="Make this model; may be given again. By default the best gradient-free model and "
            "the gradient models that it is compared with.",
        ),
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Delete the repeats that are stored already.")
    ] = False,
    out: Out = DEFAULT_OUT,
) -> None:
    """Make models of a run again, interleaved, each measured; the run itself stays as it is.

    Ratios of energy get an interval over the repeats. The same command again goes on with the
    repeats that are missing.
    """
    from pipelines.console import RichReporter
    from pipelines.inspect import show_repeats
    from pipelines.repeats import repeat, repeated_run

    found = repeated_run(run, out)
    with interruptible():
        repeat(found, repeats, models=model or (), fresh=fresh, reporter=RichReporter())
    show_repeats(found)


@_energy.command("calibrate")
def _calibrate(
    reading: Annotated[
        list[str] | None,
        typer.Option(
            "--reading",
            metavar="K=W",
            help="Watts of a wall meter while K cores are busy, such as idle=21.5 or 2=38; may be "
            "given again.",
        ),
    ] = None,
    load: Annotated[
        int | None,
        typer.Option("--load", min=0, help="Only keep so many cores busy, to read a wall meter."),
    ] = None,
    seconds: Annotated[
        float, typer.Option("--seconds", min=1.0, max=3600.0, help="How long a load lasts.")
    ] = 60.0,
) -> None:
    """Fit the CPU model to this machine: watts of a busy core, and watts of the idle machine.

    Without readings it makes loads and reads RAPL, or asks for what a wall meter shows. It prints
    the section `energy` of a configuration.
    """
    from pipelines.calibrate import calibrate, make_load

    try:
        if load is not None and reading:
            raise ConfigError(
                "--load makes a load to read a meter at, and --reading gives what it showed",
                remedy="give one of the two",
            )
        if load is not None:
            make_load(load, seconds)
        else:
            calibrate(reading or (), seconds)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
