"""A table as plain text, without a style: `html` and `terminal` render it.

A cell is a text, or a pair of a text and a note that stands below it in smaller or fainter type.
A note may have several lines.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

__all__ = ["Cell", "Column", "Emphasis", "Table"]

Cell = str | tuple[str, str]
Emphasis = Literal["", "best", "muted", "group"]


@dataclass(frozen=True)
class Column:
    """One column's header and how its cells are set.

    Attributes:
        header: may be empty.
        text: words, aligned to the left and free to wrap; otherwise a number, aligned to the right.
        optional: a narrow terminal leaves the column out, the highest number first; 0: never.
        note: what a reader has to know about the column, for the caption; it goes with the column.
    """

    header: str
    text: bool = False
    optional: int = 0
    note: str = ""


@dataclass(frozen=True)
class Row:
    """One row's cells and its emphasis; a `group` row has a single cell, a heading."""

    cells: tuple[Cell, ...]
    emphasis: Emphasis = ""

    def texts(self) -> tuple[tuple[str, str], ...]:
        """Return every cell as a pair of text and note."""
        return tuple((cell, "") if isinstance(cell, str) else cell for cell in self.cells)


class Table:
    """A title, columns, rows, and notes: what a reader has to know, a sentence each.

    A column given as a header alone has numbers; the first one, which names the rows, has words.
    """

    def __init__(
        self, title: str, columns: Sequence[str | Column], notes: Sequence[str] = ()
    ) -> None:
        self.title = title
        self.columns = [
            Column(column, text=place == 0) if isinstance(column, str) else column
            for place, column in enumerate(columns)
        ]
        self._notes = notes
        self.rows: list[Row] = []

    @property
    def notes(self) -> list[str]:
        """What a reader has to know: of the table, then of its columns."""
        return [*self._notes, *(column.note for column in self.columns if column.note)]

    def add(self, *cells: Cell, emphasis: Emphasis = "") -> None:
        """Append a row.

        Raises:
            ValueError: it has not as many cells as the table has columns.
        """
        if emphasis != "group" and len(cells) != len(self.columns):
            raise ValueError(f"{len(cells)} cells for {len(self.columns)} columns")
        self.rows.append(Row(cells, emphasis))

    def records(self) -> list[dict[str, str]]:
        """Return a mapping of header to text per row; a note follows its text in brackets."""
        headers = [column.header for column in self.columns]
        return [
            {
                header: f"{text} ({'; '.join(note.split(chr(10)))})" if note else text
                for header, (text, note) in zip(headers, row.texts(), strict=True)
            }
            for row in self.rows
            if row.emphasis != "group"
        ]

    def split(self, place: int) -> tuple[Table, Table]:
        """Return two tables of these columns: the rows before a place, and those from it on."""
        first, rest = (Table(self.title, self.columns, self._notes) for _ in range(2))
        first.rows, rest.rows = self.rows[:place], self.rows[place:]
        return first, rest

    def select(
        self, headers: Iterable[str], title: str | None = None, notes: Sequence[str] | None = None
    ) -> Table:
        """Return the table with these columns and their notes alone, in their own order.

        `None` as title or notes: the table's own.
        """
        wanted = set(headers)
        kept = [place for place, column in enumerate(self.columns) if column.header in wanted]
        selected = Table(
            self.title if title is None else title,
            [self.columns[place] for place in kept],
            self._notes if notes is None else notes,
        )
        selected.rows = [
            row
            if row.emphasis == "group"
            else replace(row, cells=tuple(row.cells[place] for place in kept))
            for row in self.rows
        ]
        return selected
