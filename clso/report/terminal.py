"""Tables and sections on a terminal, as wide as it is.

A number is never cut. A table that is too wide first leaves out its optional columns, then wraps
its widest cells between words. Where even that is too wide, each row is a list of its values.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from textwrap import wrap

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table as RichTable
from rich.text import Text

from clso.report.html import Block, ReportSection
from clso.report.table import Column, Row, Table

__all__ = ["TerminalTable", "print_section"]

_MIN_TEXT, _MOST_WORD = 14, 30
_STYLES = {"": "", "best": "bold", "muted": "dim", "group": "bold"}


class TerminalTable:
    """A table that rich prints."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield title, table and notes, each within the console's width."""
        width = options.max_width
        table, padding = _without_optional(self._table, width)
        if table.title:
            yield Text("\n".join(_wrapped(table.title, width)), style="bold", no_wrap=True)
        widths = _fitted(table, width - _gaps(table, padding))
        if sum(widths) + _gaps(table, padding) <= width:
            yield _rich(table, widths, padding)
        else:
            for row in self._table.rows:
                yield _listed(self._table.columns, row, width)
        for note in table.notes:
            yield Text("\n".join(_wrapped(note, width)), style="dim", no_wrap=True)


def print_section(console: Console, section: ReportSection) -> None:
    """Print a section's title, sentences and tables; its figures are left out."""
    console.print()
    console.print(Text(section.title, style="bold underline"))
    for block in section.blocks:
        if isinstance(block, str):
            console.print(Text("\n".join(_wrapped(block, console.width)), no_wrap=True))
        elif isinstance(block, Table):
            console.print(TerminalTable(block))
        elif isinstance(block, Block) and block.kind == "missing":
            console.print(Text(block.content, style="dim"))


def _without_optional(table: Table, width: int) -> tuple[Table, int]:
    """Return the table with the columns that fit unwrapped, and the padding between them."""
    while True:
        for padding in (1, 0):
            if sum(_natural(table)) + _gaps(table, padding) <= width:
                return table, padding
        optional = [column for column in table.columns if column.optional]
        if not optional:
            return table, 0
        dropped = max(optional, key=lambda column: column.optional)
        table = table.select(column.header for column in table.columns if column is not dropped)


def _gaps(table: Table, padding: int) -> int:
    """Return the width beside the cells: a divider between columns, padding after each."""
    return len(table.columns) * (1 + padding) - 1


def _natural(table: Table) -> list[int]:
    return [max(map(len, lines)) for lines in _column_lines(table)]


def _column_lines(table: Table) -> Iterator[list[str]]:
    """Yield every text and note of each column, its header first."""
    for place, column in enumerate(table.columns):
        cells = [row.texts()[place] for row in table.rows if place < len(row.cells)]
        lines = (line for text, note in cells for line in (text, *note.split("\n")))
        yield [column.header, *lines]


def _fitted(table: Table, width: int) -> list[int]:
    """Return the columns' widths, the widest narrowed until all fit or no word fits in less."""
    widths = _natural(table)
    words = [
        max((len(word) for line in lines for word in line.split(" ")), default=0)
        for lines in _column_lines(table)
    ]
    # a long name may be broken, and a path before others wrap; a number may not
    limits_of_text = [
        [
            min(longest, most) if column.text else longest
            for column, longest in zip(table.columns, words, strict=True)
        ]
        for most in (_MOST_WORD, _MIN_TEXT)
    ]
    for limits in limits_of_text:
        while sum(widths) > width:
            shrinkable = [place for place, at in enumerate(widths) if at > limits[place]]
            if not shrinkable:
                break
            widths[max(shrinkable, key=lambda place: widths[place])] -= 1
    return widths


def _listed(columns: Sequence[Column], row: Row, width: int) -> Text:
    """Return a row as lines: its name, then a value per line, with the name of its column."""
    lines = Text(overflow="ignore", no_wrap=True, end="")
    for place, ((text, note), column) in enumerate(zip(row.texts(), columns, strict=False)):
        label = f"{column.header}: " if place and column.header else ""
        indent = "  " if place else ""
        if text:
            style = "bold" if not place or row.emphasis == "best" else ""
            _add_lines(lines, f"{label}{text}", width, indent, column, style)
        for part in note.split("\n"):
            if part:
                _add_lines(lines, part, width, f"{indent}  ", column, "dim")
    return lines


def _add_lines(lines: Text, text: str, width: int, indent: str, column: Column, style: str) -> None:
    wrapped = wrap(
        text,
        max(width, len(indent) + 5),
        initial_indent=indent,
        subsequent_indent=f"{indent}  ",
        break_long_words=column.text,
        break_on_hyphens=False,
    )
    for line in wrapped:
        lines.append(f"{line}\n", style=style)


def _rich(table: Table, widths: Sequence[int], padding: int) -> RichTable:
    rich = RichTable(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, padding, 0, 0))
    for column, width in zip(table.columns, widths, strict=True):
        rich.add_column(
            Text("\n".join(_wrapped(column.header, width))),
            justify="left" if column.text else "right",
            width=width,
            overflow="fold",
            vertical="top",
        )
    for row in table.rows:
        rich.add_row(*_cells(row, widths), style=_STYLES[row.emphasis])
    return rich


def _cells(row: Row, widths: Sequence[int]) -> list[Text]:
    cells = []
    for (text, note), width in zip(row.texts(), widths, strict=False):
        cell = Text("\n".join(_wrapped(text, width)))
        if note:
            lines = [part for line in note.split("\n") for part in _wrapped(line, width)]
            cell.append("\n" + "\n".join(lines), style="dim")
        cells.append(cell)
    return cells


def _wrapped(text: str, width: int) -> list[str]:
    """Break a text between words; a no-break space holds a number and its unit together."""
    return wrap(text, max(width, 1), break_on_hyphens=False) or [""]
