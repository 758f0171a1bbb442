"""The commands that copy, list and delete files: `init`, `rm`, `prune`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from clso.errors import ClsoError
from pipelines.options import DEFAULT_OUT, Out, complete_run

__all__ = ["add_commands"]


def add_commands(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command("init")(_init)
    app.command("rm")(_remove)
    app.command("prune")(_prune)


def _init(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A folder; it is made if it does not exist.")
    ],
) -> None:
    """Copy the shipped configurations into a folder, to be edited."""
    from pipelines.config.shipped import copy_shipped
    from pipelines.console import console

    copies = copy_shipped(folder)
    names = ", ".join(copy.name for copy in copies)
    console.print(f"{folder}: {names}", soft_wrap=True)
    example = folder / "quick.yaml"
    console.print(f"run one: clso run {example}", soft_wrap=True)


def _remove(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN...",
            help="Run ids, their first characters, or folders of runs and tuning studies.",
            autocompletion=complete_run,
        ),
    ],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    out: Out = DEFAULT_OUT,
) -> None:
    """Delete runs. Data sets and libraries, which other runs may use, stay: see `prune`."""
    from clso.report.formats import BYTES
    from pipelines.console import console
    from pipelines.disposal import Leftovers, folder_size, remove_run, run_folder

    folders = list(dict.fromkeys(run_folder(name, out) for name in runs))
    if not yes:
        for folder in folders:
            size = BYTES.text(folder_size(folder))
            console.print(f"{folder}: {size}", soft_wrap=True)
        if not _has_terminal():
            raise ClsoError(
                "rm asks before it deletes, and there is no terminal to ask on",
                remedy="add --yes to delete without a question",
            )
        if not typer.confirm("delete?"):
            console.print("nothing was deleted")
            return
    for folder in folders:
        freed = remove_run(folder, out)
        text = f"deleted {folder}: {BYTES.text(freed)} freed"
        console.print(text, soft_wrap=True)
    unused = sum(leftover.size_bytes for leftover in Leftovers(out).find())
    if unused:
        console.print(f"`clso prune` frees {BYTES.text(unused)} more that no run uses now")


def _prune(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be deleted, and delete nothing.")
    ] = False,
    out: Out = DEFAULT_OUT,
) -> None:
    """Delete data sets, libraries and downloads that no run uses, and remains of killed processes.

    Everything that it deletes can be made again. What a running process uses stays.
    """
    from clso.report.formats import BYTES
    from pipelines.console import console
    from pipelines.disposal import Leftovers

    leftovers = Leftovers(out)
    for sentence in (*leftovers.linked, *leftovers.unknown):
        console.print(sentence, soft_wrap=True)
    if leftovers.unknown:
        console.print(
            "all data sets and libraries stay; start the commands of these runs again, or delete "
            "them with `clso rm`",
            soft_wrap=True,
        )
    freed = 0
    for leftover in leftovers.find():
        size = leftover.size_bytes
        if dry_run and not leftovers.in_use(leftover):
            done = "would be deleted"
        elif not dry_run and leftovers.delete(leftover):
            done = "deleted"
        else:
            text = f"{leftover.path}: in use now, stays"
            console.print(text, soft_wrap=True)
            continue
        freed += size
        text = f"{leftover.path}: {BYTES.text(size)} {done}, {leftover.reason}"
        console.print(text, soft_wrap=True)
    console.print(f"{BYTES.text(freed)} {'would be ' if dry_run else ''}freed")


def _has_terminal() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()
