"""The shipped configurations: found by name from any folder, and copied to be edited."""

from __future__ import annotations

import difflib
import os
import shutil
from pathlib import Path

from clso.artifacts import write_error
from clso.errors import ConfigError, shown

__all__ = ["config_path", "copy_shipped", "shipped_configs"]

_PACKAGE = Path(__file__).resolve().parents[1]
# In a wheel the files are in the package; in a checkout they stay where users see them.
_FOLDERS = (_PACKAGE / "configs", _PACKAGE.parent / "configs")


def shipped_configs() -> dict[str, Path]:
    """Return the files of the shipped configurations by their names, sorted."""
    folder = next((folder for folder in _FOLDERS if folder.is_dir()), _FOLDERS[0])
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def config_path(source: str | Path) -> Path:
    """Return the file of a configuration.

    Args:
        source: a path, or the name of a shipped configuration: a text without a folder and without
            the ending `.yaml`. `quick` is always the shipped one, `quick.yaml` a file here.

    Raises:
        ConfigError: no shipped configuration has the name, or there is no such file.
    """
    path = Path(source)
    shipped = shipped_configs()
    if isinstance(source, str) and _is_name(source):
        if source in shipped:
            return shipped[source]
        known = ", ".join(shipped)
        raise ConfigError(
            f"there is no shipped configuration {shown(source)}; there are {known}",
            remedy=_remedy(path, shipped),
        )
    if not _is_there(path):
        raise ConfigError(f"there is no configuration {path}", remedy=_remedy(path, shipped))
    return path


def copy_shipped(folder: Path) -> list[Path]:
    """Copy the shipped configurations into a folder, which is made if needed; returns the files.

    Raises:
        ConfigError: a file of one of the names is there already; nothing is copied.
        ArtifactError: the folder cannot be written.
    """
    shipped = shipped_configs()
    copies = {path: folder / path.name for path in shipped.values()}
    there = [copy.name for copy in copies.values() if copy.exists()]
    if there:
        raise ConfigError(
            f"{folder} has {', '.join(there)} already",
            remedy="name another folder, or move these files away",
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, copy in copies.items():
            # the bytes alone: an installed file may be read-only
            shutil.copyfile(path, copy)
    except OSError as error:
        raise write_error(folder, error) from error
    return list(copies.values())


def _is_name(source: str) -> bool:
    has_folder = os.sep in source or (os.altsep or os.sep) in source
    return not has_folder and not source.endswith((".yaml", ".yml"))


def _is_there(path: Path) -> bool:
    """Return whether there is a file or folder; not every text can be the name of one."""
    try:
        return path.exists()
    except (OSError, ValueError):  # too long, or with NUL
        return False


def _remedy(path: Path, shipped: dict[str, Path]) -> str:
    if _is_there(path):
        return f"for the file here write {os.curdir}{os.sep}{path}"
    if near := difflib.get_close_matches(path.stem, shipped, n=1):
        return f"did you mean the shipped configuration {near[0]}?"
    is_there = _is_there(path.parent)
    siblings = [one.name for one in path.parent.glob("*.yaml")] if is_there else []
    if near := difflib.get_close_matches(path.name, siblings, n=1, cutoff=0.5):
        return f"did you mean {path.parent / near[0]}?"
    return "name a shipped configuration, or an existing YAML file"
