"""What the commands share: their options, and how they end."""

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
    "plain",
    "tell",
]

Config = Annotated[Path, typer.Argument(help="A YAML file, such as configs/quick.yaml.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="A.B=C", help="Override a value of the configuration."),
]


def _folder(text: str | Path) -> Path:
    # the default comes as a path, what is typed as a text
    if not str(text).strip():
        raise typer.BadParameter("the folder has no name")
    return Path(text)


Out = Annotated[
    Path, typer.Option("--out", metavar="DIR", parser=_folder, help="Where artifacts go.")
]
Fresh = Annotated[
    bool, typer.Option("--fresh", help="Delete this run's earlier results and start anew.")
]
NoPrefect = Annotated[
    bool, typer.Option("--no-prefect", help="Run the same stages without Prefect.")
]
RunName = Annotated[
    str, typer.Argument(metavar="RUN", help="A run id, the start of one, its folder, or 'latest'.")
]
DEFAULT_OUT = Path("artifacts")


@contextmanager
def interruptible() -> Iterator[None]:
    """End with status 130 on Ctrl-C, and say how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        tell("interrupted; the same command takes up where this one stopped")
        raise typer.Exit(130) from None


def plain(text: str) -> str:
    """Return a text whose square brackets are no markup."""
    from rich.markup import escape

    return escape(text)


def tell(text: str) -> None:
    """Write a line to standard error."""
    from pipelines.console import error_console

    error_console.print(text, soft_wrap=True)
