"""Pages as Markdown say what the HTML page says, and no text breaks a table."""

import base64
import re

from clso.report.html import Block, Page, Picture, ReportSection
from clso.report.markdown import page_markdown, table_markdown
from clso.report.table import Column, Table


def page(*blocks: str | Table | Picture | Block) -> Page:
    section = ReportSection("Results of p(y | x)", blocks)
    return Page("title", "over", "headline", ["lead"], [("loss", "4.1", "nats")], [section], "foot")


def cells(line: str) -> list[str]:
    return re.split(r"(?<!\\)\|", line)[1:-1]


def test_every_row_of_a_table_has_a_cell_per_column_whatever_it_holds() -> None:
    table = Table("", ["model", "loss", Column("p(y | x)", text=True)])
    table.add("a | b", ("1.0", "0.9 to 1.1"), "two\nlines", emphasis="best")
    table.add("<b>*c*</b>", "", "`d`")
    table.add("a group", emphasis="group")
    lines = table_markdown(table).splitlines()
    assert [len(cells(line)) for line in lines] == [3] * 5
    assert cells(lines[1]) == [" :--- ", " ---: ", " :--- "]
    assert cells(lines[2]) == [" **a \\| b** ", " **1.0** (0.9 to 1.1) ", " **two lines** "]
    assert cells(lines[4])[0] == " **a group** "
    assert "<b>" not in table_markdown(table)


def test_a_page_has_all_its_texts_and_figures() -> None:
    blocks = [
        "a sentence",
        Picture("p", lambda: "<svg>1</svg>", caption="a caption", alt="a figure"),
        Picture("q", lambda: None, missing="no figure"),
        Block("heading", "a heading"),
        Block("missing", "not there"),
        Block("steps", [("step", "5.0")]),
        Block("pairs", [("name", "value")]),
        Block("notes", ["a note"]),
        Block("command", "clso run a_b.yaml"),
        Block("texts", [("a model", "given", "drawn")]),
        Block("details", ("label", "seed: 1\nname: a_b")),
    ]
    text = page_markdown(page(*blocks))
    for said in (
        *("# headline", "lead", "- loss: **4.1** nats", "## Results of p(y \\| x)", "a sentence"),
        *("*a caption*", "*no figure*", "### a heading", "*not there*", "1. **5.0** step"),
        *("```\nclso run a_b.yaml\n```", "**a model**: *given* drawn"),
        *("- name: value", "- a note", "**label**", "```\nseed: 1\nname: a_b\n```", "*foot*"),
    ):
        assert said in text
    (data,) = re.findall(r"!\[a figure\]\(data:image/svg\+xml;base64,(.*?)\)", text)
    assert base64.b64decode(data) == b"<svg>1</svg>"
