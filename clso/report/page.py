"""What all HTML pages share: templates, one look, figures inside the page."""

from __future__ import annotations

from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

__all__ = ["Picture", "page_template"]


@dataclass(frozen=True)
class Picture:
    """A figure of the page; without one, `missing` says why.

    Attributes:
        name: unique in the page, and the file's name.
        svg: the drawing; `None` if there is nothing to draw.
        caption: what stands below it, if anything.
        missing: why it is not there.
    """

    name: str
    svg: str | None
    caption: str
    missing: str


def page_template(name: str) -> Template:
    """Return a page's template; a value that it lacks is an error."""
    environment = Environment(
        loader=PackageLoader("clso.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)
