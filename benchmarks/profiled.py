"""Where the time of a run goes: each stage under Python's own profiler.

    python -m benchmarks.profiled [CONFIG] [--set KEY=VALUE ...] [--top N] [--keep FOLDER]

The run is made anew in a temporary folder. The profiler sees the thread of the command alone, and
every call that it sees takes a little longer. What other threads and processes do shows as waiting.
`--keep` writes each stage's profile for tools such as snakeviz.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import resource
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from clso.errors import ClsoError
from clso.progress import SILENT
from pipelines.commands import run as run_all
from pipelines.config import parse_override, read_config
from pipelines.context import RunContext, processor
from pipelines.stage import Stage

__all__ = ["OwnTime", "StageProfile", "own_times", "profiled"]


@dataclass(frozen=True)
class OwnTime:
    """A function and its time without that of the functions that it calls.

    Attributes:
        function: its name, and the module that it is of.
        share: of the stage's time.
        calls: how often it was called.
    """

    function: str
    share: float
    calls: int


@dataclass(frozen=True)
class StageProfile:
    """A stage's time.

    Attributes:
        name: of the stage.
        duration_s: seconds.
        cpu_s: CPU seconds of all threads, and of child processes that have ended.
        own: the functions with the most time of their own, the longest first.
        waiting: share of the time in which the command's thread waited for others.
    """

    name: str
    duration_s: float
    cpu_s: float
    own: tuple[OwnTime, ...]
    waiting: float


_WAITS = ("acquire", "poll", "select", "sleep", "wait")


def profiled(
    config: str, overrides: Mapping[str, Any], *, top: int, keep: Path | None = None
) -> list[StageProfile]:
    """Run all stages of a configuration anew, each under the profiler.

    Raises:
        ClsoError: the run cannot be made.
    """
    found: list[StageProfile] = []

    def do(stage: Stage, run: RunContext) -> None:
        profile = cProfile.Profile()
        began_s, cpu_before_s = time.perf_counter(), _cpu_s()
        profile.runcall(stage.run, run)
        duration_s, cpu_s = time.perf_counter() - began_s, _cpu_s() - cpu_before_s
        if keep is not None:
            profile.dump_stats(keep / f"{stage.name}.prof")
        own, waiting = own_times(profile, top)
        found.append(StageProfile(stage.name, duration_s, cpu_s, own, waiting))

    with tempfile.TemporaryDirectory() as out:
        run_all.execute(read_config(config, overrides), out, False, SILENT, do)
    return found


def own_times(profile: cProfile.Profile, top: int) -> tuple[tuple[OwnTime, ...], float]:
    """Return the functions with the most own time, and the share of waiting."""
    stats: dict[tuple[str, int, str], tuple[int, int, float, float, Any]] = pstats.Stats(
        profile
    ).stats  # type: ignore[attr-defined]  # typeshed leaves it out
    total_s = sum(own_s for _, _, own_s, _, _ in stats.values()) or 1.0
    waited_s = sum(own_s for (_, _, name), (_, _, own_s, _, _) in stats.items() if _waits(name))
    ranked = sorted(stats.items(), key=lambda item: item[1][2], reverse=True)
    own = [
        OwnTime(_shown(file, name), own_s / total_s, calls)
        for (file, _, name), (_, calls, own_s, _, _) in ranked
        if not _waits(name)
    ]
    return tuple(own[:top]), waited_s / total_s


def _waits(name: str) -> bool:
    """Return whether a built-in function only waits for another thread or process."""
    return name.startswith("<") and any(
        f"'{wait}'" in name or f".{wait}>" in name for wait in _WAITS
    )


def _shown(file: str, name: str) -> str:
    if file == "~":  # built in
        return name.strip("<>").removeprefix("built-in method ").replace("method ", "")
    path = Path(file).with_suffix("")
    return f"{path.parent.name}.{path.name}.{name}".lstrip(".")


def _cpu_s() -> float:
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + ended.ru_utime + ended.ru_stime


def main() -> None:
    """Print a table of the stages."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.profiled", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("config", nargs="?", default="quick")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--top", type=int, default=5, help="functions of each stage")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="for the profiles")
    arguments = parser.parse_args()
    console = Console(width=max(Console().width, 100))
    if arguments.keep is not None:
        arguments.keep.mkdir(parents=True, exist_ok=True)
    try:
        overrides = dict(map(parse_override, arguments.set))
        found = profiled(arguments.config, overrides, top=arguments.top, keep=arguments.keep)
    except ClsoError as error:
        parser.error(str(error))
    title = f"{arguments.config}, {sum(stage.duration_s for stage in found):,.1f} s, {processor()}"
    table = Table(title=title, title_justify="left")
    for column in ("stage", "s", "CPU s", "waits", "own time of", "share", "calls"):
        table.add_column(column, justify="left" if column in {"stage", "own time of"} else "right")
    for stage in found:
        first = (stage.name, f"{stage.duration_s:,.1f}", f"{stage.cpu_s:,.1f}")
        for place, own in enumerate(stage.own):
            head = (*first, f"{stage.waiting:.0%}") if place == 0 else ("", "", "", "")
            table.add_row(
                *head,
                own.function,
                f"{own.share:.0%}",
                f"{own.calls:,}",
                end_section=own is stage.own[-1],
            )
    console.print(table)


if __name__ == "__main__":
    main()
