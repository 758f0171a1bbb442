"""The options that several commands have, and the end of an interrupted one."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from pipelines.folders import output_folder

__all__ = [
    "DEFAULT_OUT",
    "Config",
    "Fresh",
    "NoPrefect",
    "Out",
    "Overrides",
    "RunName",
    "complete_run",
    "interruptible",
]

DEFAULT_OUT = Path("artifacts")


def _complete_config(incomplete: str) -> list[str]:
    """Return what a shell offers for CONFIG: shipped names, YAML files, and folders."""
    from pipelines.config.shipped import shipped_configs

    names = [name for name in shipped_configs() if name.startswith(incomplete)]
    paths = [path for path in glob.glob(f"{glob.escape(incomplete)}*") if _is_offered(path)]
    return names + sorted(f"{path}/" if os.path.isdir(path) else path for path in paths)


def _is_offered(path: str) -> bool:
    return path.endswith((".yaml", ".yml")) or os.path.isdir(path)


def complete_run(context: typer.Context, incomplete: str) -> list[str]:
    """Return what a shell offers for RUN: the runs of the output folder, the newest first."""
    runs = output_folder(context.params.get("out") or DEFAULT_OUT) / "runs"
    found = runs.glob(f"{glob.escape(incomplete)}*")
    folders = [path for path in found if path.is_dir() and not path.name.startswith(".")]
    return [path.name for path in sorted(folders, key=lambda path: -path.stat().st_mtime)]


Config = Annotated[
    str,
    typer.Argument(
        metavar="CONFIG",
        help="A YAML file, or the name of a shipped configuration such as quick.",
        autocompletion=_complete_config,
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
    return output_folder(text)


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
        metavar="RUN",
        help="A run id, its first characters, the run's folder, or 'latest'.",
        autocompletion=complete_run,
    ),
]


@contextmanager
def interruptible() -> Iterator[None]:
    """Exit with status 130 on Ctrl-C, and say how to continue."""
    try:
        yield
    except (KeyboardInterrupt, ImportError) as interrupt:
        if not _is_interrupt(interrupt):
            raise
        from pipelines.console import error_console

        # or "cancelled in Prefect"
        by = str(interrupt) if isinstance(interrupt, KeyboardInterrupt) else ""
        by = by or "interrupted"
        text = f"{by}; the same command continues where this one stopped"
        error_console.print(text, soft_wrap=True)
        raise typer.Exit(130) from None


def _is_interrupt(error: BaseException | None) -> bool:
    """Return whether an error is an interrupt, or what a library makes of one in its imports."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None
