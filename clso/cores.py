"""How many cores this process may use, which may be fewer than the machine has.

The scheduler's affinity (`taskset`, a job's cpuset) and the quotas of control groups (containers)
limit them. A quota of 2.5 cores is 2: more threads would wait for each other.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from clso.control_groups import group_folders

__all__ = ["available_cores"]


def available_cores() -> int:
    """Return the number of cores that this process may use, at least 1."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return max(1, int(min([cores, *_quotas()])))


def _quotas() -> Iterator[float]:
    """Yield the quotas, in cores, of the process's control groups and of those around them."""
    for version, folder in group_folders("cpu"):
        names = ("cpu.max",) if version == 2 else ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        yield from _quota([word for name in names for word in _words(folder / name)])


def _words(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError):
        return []


def _quota(words: list[str]) -> Iterator[float]:
    """Yield quota / period, both in microseconds; `max` and -1 are no limit."""
    try:
        quota, period = map(int, words)
    except ValueError:
        return
    if quota > 0 and period > 0:
        yield quota / period
