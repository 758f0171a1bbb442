"""HTML pages: sections of sentences, figures and tables in one look, without outside parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from jinja2 import Environment, PackageLoader, StrictUndefined

from clso.artifacts import RunFolder, atomic_write_bytes
from clso.report.style import figure_svg
from clso.report.table import Table

if TYPE_CHECKING:  # matplotlib takes a second to import, and only a drawing needs it
    from matplotlib.figure import Figure

__all__ = ["Block", "Page", "Picture", "ReportSection"]


@dataclass(frozen=True)
class Picture:
    """A figure that is drawn when it is asked for.

    Attributes:
        name: unique in the page, and the file's name.
        draw: returns the figure; `None`: there is nothing to draw.
        caption: what stands below it, if anything.
        missing: what stands in its place if there is nothing to draw.
        alt: the figure in words; the caption if empty.
    """

    name: str
    draw: Callable[[], Figure | str | None]
    caption: str = ""
    missing: str = "There is nothing to compare."
    alt: str = ""

    @cached_property
    def svg(self) -> str | None:
        """The drawing as an SVG element; a text is taken to be one."""
        drawn = self.draw()
        if drawn is None or isinstance(drawn, str):
            return drawn
        return figure_svg(drawn, self.name, self.alt or self.caption)


@dataclass(frozen=True)
class Block:
    """A part of a section that is no sentence, table or figure.

    Attributes:
        kind: `heading`; `missing`, a sentence on what is not there; `steps` and `pairs`, tuples of
            label and value; `notes`, a list of sentences; `details`, a label and what it hides;
            `command`, a line for a shell; `texts`, tuples of title, given words and continuation.
        content: as its kind has it.
    """

    kind: Literal["heading", "missing", "steps", "pairs", "notes", "details", "command", "texts"]
    content: Any


@dataclass(frozen=True)
class ReportSection:
    """A part of a page: sentences, tables, figures and other blocks in their order."""

    title: str
    blocks: Sequence[str | Table | Picture | Block]
    anchor: str = ""

    def write_figures(self, folder: Path) -> None:
        """Write every figure as an SVG file.

        Raises:
            ArtifactError: the folder cannot be written.
        """
        for block in self.blocks:
            if isinstance(block, Picture) and block.svg is not None:
                atomic_write_bytes(folder / f"{block.name}.svg", block.svg.encode())


@dataclass(frozen=True)
class Page:
    """A whole page; `title` is the browser's.

    `over` stands over the headline, `leads` are sentences below it. `facts` are label, value and
    remark of the figures at the top. `foot` is the last line. `files` are further texts, by the
    names that they have beside the page.
    """

    title: str
    over: str
    headline: str
    leads: Sequence[str]
    facts: Sequence[tuple[str, str, str]]
    sections: Sequence[ReportSection]
    foot: str
    files: Mapping[str, str] = field(default_factory=dict)

    def html(self) -> str:
        """Return the page, with every text escaped."""
        environment = Environment(
            loader=PackageLoader("clso.report", "."),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        return environment.get_template("page.html.j2").render(page=self)

    def write(self, folder: RunFolder) -> Path:
        """Write `report.html`, its files and `figures/*.svg` into a run's folder.

        Returns:
            The page's path.

        Raises:
            ArtifactError: the folder cannot be written.
        """
        for section in self.sections:
            section.write_figures(folder.figures)
        for name, text in self.files.items():
            atomic_write_bytes(folder.path / name, text.encode())
        atomic_write_bytes(folder.report_path, self.html().encode())
        return folder.report_path
