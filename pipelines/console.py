"""The terminal: what is printed on it, and progress as live bars, or as plain lines elsewhere.

Names and texts of others may hold control characters, which a terminal obeys: it would hide lines
or rename its window. On a terminal they are printed as signs (`visible`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderHook, RenderResult
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.segment import Segment
from rich.table import Column

from clso.progress import ProgressTask

__all__ = ["RichReporter", "console", "error_console", "visible"]

# Without markup: paths, names and `clso[dask]` may have square brackets. `Text` has the styles.
console = Console(highlight=False, markup=False)
error_console = Console(stderr=True, highlight=False, markup=False)

# Line feed and tab stay; C0 has pictures in Unicode, C1 has none.
_SIGNS = {
    **{code: chr(0x2400 + code) for code in range(32) if chr(code) not in "\n\t"},
    127: "\u2421",
    **dict.fromkeys(range(128, 160), "\ufffd"),
}


def visible(text: str) -> str:
    """Return a text whose control characters are signs that a terminal only shows."""
    return text.translate(_SIGNS)


@dataclass(frozen=True)
class _Visible:
    """What a renderable prints, without control characters but those of the console itself."""

    inside: ConsoleRenderable

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for segment in console.render(self.inside, options):
            own = segment.control is not None
            yield segment if own else Segment(visible(segment.text), segment.style)


class _OnTerminal(RenderHook):
    def __init__(self, console: Console) -> None:
        self._console = console

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        """Make visible what is printed on a terminal; elsewhere a text stays as it is."""
        return list(map(_Visible, renderables)) if self._console.is_terminal else renderables


for _each in (console, error_console):
    _each.push_render_hook(_OnTerminal(_each))

# Seconds between two lines without a terminal, such as in a log file.
_LINE_EVERY_S = 15.0
# Columns of a terminal from which bars and times have room.
_WIDE, _MIDDLE = 100, 60


class _Bar:
    def __init__(self, progress: Progress, task_id: TaskID) -> None:
        self._progress = progress
        self._task_id = task_id

    def update(self, completed: float, note: str = "") -> None:
        self._progress.update(self._task_id, completed=completed, note=visible(note))


class _Lines:
    def __init__(self, description: str, total: float | None) -> None:
        self._description = description
        self._total = total
        self._printed = time.monotonic()
        self.note = ""

    def update(self, completed: float, note: str = "") -> None:
        self.note = note
        if time.monotonic() - self._printed >= _LINE_EVERY_S:
            self._printed = time.monotonic()
            share = f" {completed / self._total:4.0%}" if self._total else ""
            console.print(f"  {self._description}{share}  {note}", soft_wrap=True)


def _columns(width: int) -> list[ProgressColumn]:
    """Return what a bar shows; on a narrow terminal words wrap, and what says less is left out."""
    name = "{task.description:<30}" if width >= _WIDE else "{task.description}"
    words = [
        TextColumn(text, markup=False, table_column=Column(overflow="fold"))
        for text in (name, "{task.fields[note]}")
    ]
    times = [TimeElapsedColumn(), TimeRemainingColumn()] if width >= _MIDDLE else []
    bar = [BarColumn(bar_width=16)] if width >= _WIDE else []
    return [SpinnerColumn(finished_text="[green]✓"), words[0], *bar, *times, words[1]]


class RichReporter:
    """Shows each piece of work as a bar with its last note."""

    def __init__(self) -> None:
        self._live: Progress | None = None

    @contextmanager
    def task(self, description: str, total: float | None = None) -> Iterator[ProgressTask]:
        """Open a bar; bars that are opened inside appear below it."""
        if not console.is_terminal:
            lines = _Lines(description, total)
            started = time.monotonic()
            yield lines
            console.print(
                f"  {description}  {lines.note}  ({time.monotonic() - started:.1f} s)",
                soft_wrap=True,
            )
            return
        outermost = self._live is None
        if self._live is None:
            self._live = Progress(*_columns(console.width), console=console)
            self._live.start()
        task_id = self._live.add_task(visible(description), total=total, note="")
        try:
            yield _Bar(self._live, task_id)
            done = self._live.tasks[self._live.task_ids.index(task_id)].completed
            self._live.update(task_id, total=total or done or 1.0, completed=total or done or 1.0)
        finally:
            if outermost:
                self._live.stop()
                self._live = None
