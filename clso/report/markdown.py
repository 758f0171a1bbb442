"""Pages and sections as Markdown, for places that show no HTML file."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator

from clso.report.html import Block, Page, Picture, ReportSection
from clso.report.table import Table

__all__ = ["page_markdown", "section_markdown", "table_markdown"]

# What Markdown would take for its own signs, inside a cell too.
_SIGNS = re.compile(r"([\\`*_<>\[\]|~])")


def page_markdown(page: Page) -> str:
    """Return a page with its figures, so that the text alone is the whole report."""
    facts = [
        f"- {_escaped(label)}: **{_escaped(value)}** {_escaped(note)}"
        for label, value, note in page.facts
    ]
    parts = [
        f"# {_escaped(page.headline)}",
        *map(_escaped, page.leads),
        "\n".join(facts),
        *map(section_markdown, page.sections),
        f"*{_escaped(page.foot)}*",
    ]
    return "\n\n".join(parts)


def section_markdown(section: ReportSection) -> str:
    """Return a section with its title, sentences, tables and figures."""
    parts = [f"## {_escaped(section.title)}"]
    for block in section.blocks:
        parts += _parts(block)
    return "\n\n".join(parts)


def table_markdown(table: Table) -> str:
    """Return title, table and notes; a cell's note stands behind its text."""
    header = [_escaped(column.header) for column in table.columns]
    rules = [":---" if column.text else "---:" for column in table.columns]
    lines = [_line(header), _line(rules)]
    for row in table.rows:
        cells = [_cell(text, note, strong=row.emphasis == "best") for text, note in row.texts()]
        if row.emphasis == "group":
            cells = [f"**{cells[0]}**", *[""] * (len(header) - 1)]
        lines.append(_line(cells))
    title = [f"**{_escaped(table.title)}**"] if table.title else []
    return "\n\n".join([*title, "\n".join(lines), *map(_escaped, table.notes)])


def _parts(block: str | Table | Picture | Block) -> Iterator[str]:
    if isinstance(block, str):
        yield _escaped(block)
    elif isinstance(block, Table):
        yield table_markdown(block)
    elif isinstance(block, Picture):
        yield _picture(block)
    elif block.kind == "heading":
        yield f"### {_escaped(block.content)}"
    elif block.kind == "missing":
        yield f"*{_escaped(block.content)}*"
    elif block.kind == "steps":
        yield "\n".join(
            f"{place}. **{_escaped(value)}** {_escaped(label)}"
            for place, (label, value) in enumerate(block.content, 1)
        )
    elif block.kind == "pairs":
        yield "\n".join(f"- {_escaped(name)}: {_escaped(value)}" for name, value in block.content)
    elif block.kind == "notes":
        yield "\n".join(f"- {_escaped(note)}" for note in block.content)
    elif block.kind == "command":
        yield f"```\n{block.content}\n```"
    elif block.kind == "texts":
        for title, given, text in block.content:
            yield f"**{_escaped(title)}**: *{_escaped(given)}* {_escaped(text)}"
    else:
        label, hidden = block.content
        yield f"**{_escaped(label)}**"
        yield table_markdown(hidden) if isinstance(hidden, Table) else f"```\n{hidden}\n```"


def _picture(picture: Picture) -> str:
    if picture.svg is None:
        return f"*{_escaped(picture.missing)}*"
    data = base64.b64encode(picture.svg.encode()).decode()
    caption = f"\n\n*{_escaped(picture.caption)}*" if picture.caption else ""
    alt = _escaped(picture.alt or picture.caption)
    return f"![{alt}](data:image/svg+xml;base64,{data}){caption}"


def _cell(text: str, note: str, *, strong: bool) -> str:
    text = _escaped(text)
    text = f"**{text}**" if strong and text else text
    notes = "; ".join(map(_escaped, note.split("\n")))
    return f"{text} ({notes})" if note else text


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escaped(text: str) -> str:
    return _SIGNS.sub(r"\\\1", " ".join(text.split()))
