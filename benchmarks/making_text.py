"""The command line of the scripts that make a text from a package."""

from __future__ import annotations

import argparse
import zlib
from collections.abc import Callable
from pathlib import Path

__all__ = ["make_text"]


def make_text(
    name: str, description: str, source: str, to: str, make: Callable[[Path, Path], None]
) -> None:
    """Read the arguments, and give both paths to `make`; a mistake ends with status 2.

    `name` is the script's module, `source` says what its argument is, `to` is where the text goes
    if no other place is given.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {name}", description=description)
    parser.add_argument("source", type=Path, help=source)
    parser.add_argument("--to", type=Path, default=Path(to), help=f"{to} if left out")
    arguments = parser.parse_args()
    try:
        make(arguments.source, arguments.to)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        parser.exit(2, f"error: {arguments.source} gives no text: {error}\n")
