"""The output folder, as commands, functions and flows are given it."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["output_folder"]


def output_folder(out: str | Path) -> Path:
    """Return the folder that a caller names; a `~` that begins it is the home of the user."""
    return Path(os.path.expanduser(out))
