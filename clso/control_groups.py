"""The control groups of this process, which limit its cores and its memory.

Source: Linux, Documentation/admin-guide/cgroup-v2.rst and cgroup-v1.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

__all__ = ["group_folders"]

_PROCESS_GROUPS = Path("/proc/self/cgroup")
_GROUPS = Path("/sys/fs/cgroup")


def group_folders(controller: str) -> Iterator[tuple[int, Path]]:
    """Yield version and folder of the process's groups of a controller, and of those around."""
    try:
        lines = _PROCESS_GROUPS.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return
    for line in lines:
        _, controllers, group = (*line.split(":", 2), "", "")[:3]
        if not controllers:
            for folder in _with_parents(_GROUPS, group):
                yield 2, folder
        elif controller in controllers.split(","):
            for root in dict.fromkeys((_GROUPS / controllers, _GROUPS / controller)):
                for folder in _with_parents(root, group):
                    yield 1, folder


def _with_parents(root: Path, group: str) -> Iterator[Path]:
    """Yield a group's folder and those around it; a container may see only the root."""
    parts = [part for part in group.split("/") if part]
    for size in range(len(parts), -1, -1):
        yield root.joinpath(*parts[:size])
