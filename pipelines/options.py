"""The options that several commands have, and the end of an interrupted one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "DEFAULT_OUT",
    "Config",
    "Fresh",
    "NoPrefect",
    "Out",
    "Overrides",
    "RunName",
    "interruptible",
]

Config = Annotated[
    str,
    typer.Argument(
        metavar="CONFIG",
        help="A YAML file, or the name of a shipped configuration such as quick.",
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="A.B=C", help="Override a value of the configuration."),
]


def _folder(text: str | Path) -> Path:
    # the default is a path, a typed value a text
    if not str(text).strip():
        raise typer.BadParameter("the folder has no name")
    return Path(text)


Out = Annotated[
    Path, typer.Option("--out", metavar="DIR", parser=_folder, help="Where artifacts go.")
]
Fresh = Annotated[
    bool, typer.Option("--fresh", help="Delete this run's earlier results and start anew.")
]
NoPrefect = Annotated[bool, typer.Option("--no-prefect", help="Do the same work without Prefect.")]
RunName = Annotated[
    str,
    typer.Argument(
        metavar="RUN", help="A run id, its first characters, the run's folder, or 'latest'."
    ),
]
DEFAULT_OUT = Path("artifacts")


@contextmanager
def interruptible() -> Iterator[None]:
    """Exit with status 130 on Ctrl-C, and say how to continue."""
    try:
        yield
    except KeyboardInterrupt:
        from pipelines.console import error_console

        text = "interrupted; the same command continues where this one stopped"
        error_console.print(text, soft_wrap=True)
        raise typer.Exit(130) from None
