"""One table, two renderers: what each keeps, wraps, leaves out and escapes."""

from io import StringIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from clso.report.html import Block, Page, ReportSection
from clso.report.table import Column, Table
from clso.report.terminal import TerminalTable, print_section


def printed(table: Table, width: int) -> str:
    console = Console(width=width, file=StringIO(), record=True)
    console.print(TerminalTable(table))
    return console.export_text()


def html(*blocks: str | Table | Block) -> str:
    return Page("t", "over", "headline", [], [], [ReportSection("section", blocks)], "foot").html()


def wide_table() -> Table:
    columns = [Column("name", text=True), Column("value"), Column("spare", optional=1)]
    table = Table("Wide", columns, ["A note that is somewhat longer than the table itself."])
    table.add("a name of many words", ("1,234,567", "1,000,000 to 2,000,000"), "7,654,321")
    table.add("a group", emphasis="group")
    table.add("b", "2", "3", emphasis="best")
    return table


def test_a_row_has_a_cell_per_column() -> None:
    with pytest.raises(ValueError, match="1 cells for 3 columns"):
        wide_table().add("alone")


def test_a_narrow_terminal_leaves_out_optional_columns_and_wraps_the_rest() -> None:
    assert "7,654,321" in printed(wide_table(), 80)
    narrow = printed(wide_table(), 40)
    assert "spare" not in narrow
    assert "1,234,567" in narrow
    assert "a group" in narrow


@settings(deadline=None, max_examples=60)
@given(
    names=st.lists(
        st.text("abc de", min_size=1, max_size=30).filter(str.strip), min_size=1, max_size=4
    ),
    numbers=st.lists(st.integers(0, 10**9), min_size=4, max_size=4),
    width=st.integers(16, 120),
)
def test_no_line_is_wider_than_the_terminal_and_no_number_is_cut(
    names: list[str], numbers: list[int], width: int
) -> None:
    columns = [Column("name", text=True), *(Column(f"n{place}") for place in range(2))]
    table = Table("", columns, ["note " * 30])
    for name in names:
        table.add(name, (f"{numbers[0]}", f"{numbers[1]} to {numbers[2]}"), f"{numbers[3]}")
    text = printed(table, width)
    assert max(map(len, text.splitlines())) <= width
    assert all(str(number) in text for number in numbers)
    assert "…" not in text


def test_a_number_and_its_unit_stay_on_one_line() -> None:
    table = Table("", [Column("name", text=True), Column("energy")])
    table.add("long name " * 6, ("12.5\u00a0kJ", "10\u00a0kJ to 15\u00a0kJ"))
    for width in (24, 30, 40):
        assert "12.5\u00a0kJ" in printed(table, width)


def test_users_words_are_escaped_and_markup_is_text() -> None:
    table = Table("<b>", [Column("<i>", text=True), Column("v")], ["<u>"])
    table.add(("[red]<script>", "<s>"), "1")
    table.add("<em>", emphasis="group")
    page = html(table, "<q>", Block("pairs", [("<x>", "<y>")]), Block("details", ("<a>", "<p1>")))
    for tag in ("<i>", "<u>", "<script>", "<s>", "<em>", "<q>", "<x>", "<y>", "<p1>"):
        assert tag not in page
    assert "[red]<script>" in printed(table, 80)


def test_the_columns_of_a_selection_keep_their_order_and_groups() -> None:
    selected = wide_table().select(["spare", "name"], title="Narrow")
    assert [column.header for column in selected.columns] == ["name", "spare"]
    assert [row.cells for row in selected.rows] == [
        ("a name of many words", "7,654,321"),
        ("a group",),
        ("b", "3"),
    ]
    assert selected.title == "Narrow"


def test_records_have_notes_in_brackets_and_no_groups() -> None:
    assert wide_table().records()[1] == {"name": "b", "value": "2", "spare": "3"}
    assert wide_table().records()[0]["value"] == "1,234,567 (1,000,000 to 2,000,000)"


def test_a_section_is_printed_without_its_figures() -> None:
    console = Console(width=60, file=StringIO(), record=True)
    blocks = ["A sentence.", wide_table(), Block("missing", "Not there yet.")]
    print_section(console, ReportSection("Title", blocks))
    text = console.export_text()
    assert all(part in text for part in ("Title", "A sentence.", "Wide", "Not there yet."))
