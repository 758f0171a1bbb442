from collections.abc import Callable
from io import StringIO

import pytest
from rich.console import Console

from clso.artifacts import Run, load_run
from clso.errors import ArtifactError
from clso.report.formats import (
    BYTES,
    COUNT,
    DURATION,
    ENERGY,
    ENERGY_PER_TOKEN,
    LOSS,
    PERPLEXITY,
    RATIO,
    SHARE,
    format_source,
)
from clso.report.models import Models
from clso.report.results import _results_figure, result_table
from clso.report.table import Row, Table
from clso.report.terminal import TerminalTable


def text_of(table: Table) -> str:
    console = Console(file=StringIO(), width=80)
    console.print(TerminalTable(table))
    assert isinstance(console.file, StringIO)
    return console.file.getvalue().replace("\u00a0", " ")


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (LOSS.text(5.33249), "5.332"),
        (LOSS.signed(-0.25), "−0.250"),  # noqa: RUF001 - a true minus sign
        (LOSS.signed(0.25), "+0.250"),
        (LOSS.interval(1.0, 2.0), "1.000 to 2.000"),
        (LOSS.interval(-2.0, 1.0), "−2.000 to 1.000"),  # noqa: RUF001 - a true minus sign
        (PERPLEXITY.text(207.123), "207.1"),
        (PERPLEXITY.text(9.5), "9.50"),
        (PERPLEXITY.text(50257.4), "50,257"),
        (PERPLEXITY.text(3e12), "3.00e+12"),
        (PERPLEXITY.text(float("inf")), "∞"),
        (COUNT.text(256000), "256,000"),
        (SHARE.text(0.0), "0 %"),
        (SHARE.text(0.0004), "< 0.1 %"),
        (SHARE.text(0.031), "3.1 %"),
        (SHARE.text(0.95), "95 %"),
        (RATIO.text(0.0213), "0.0213"),
        (RATIO.text(0.374), "0.37"),
        (RATIO.text(12.34), "12.3"),
        (RATIO.text(1234.5), "1,234"),
        (ENERGY.text(0.5), "0.5 J"),
        (ENERGY.text(0.0204), "20.4 mJ"),
        (ENERGY.text(0.0002), "<1 mJ"),
        (ENERGY.text(1690.0), "1.69 kJ"),
        (ENERGY.text(999.9), "1 kJ"),
        (ENERGY.text(5e12), "5,000 GJ"),
        (BYTES.text(220_000), "220 kB"),
        (DURATION.text(0.0213), "21 ms"),
        (DURATION.text(21.44), "21.4 s"),
        (DURATION.text(59.97), "1 min 0 s"),
        (DURATION.text(3700.0), "1 h 1 min"),
        (format_source(None, None), "not measured"),
        (format_source("rapl", False), "rapl"),
        (format_source("cpu_model", True), "cpu_model, estimated"),
        (Models().title("gpt"), "crystalline GPT"),
        (Models().title("other"), "other"),
        (ENERGY_PER_TOKEN.text(4e-4), "400 µJ"),
    ],
)
def test_numbers_are_written_for_people(written: str, expected: str) -> None:
    assert written.replace("\u00a0", " ") == expected


def test_what_was_not_measured_is_a_dash_and_never_zero() -> None:
    for written in (
        LOSS.text(None),
        LOSS.interval(None, None),
        PERPLEXITY.text(None),
        COUNT.text(None),
        SHARE.text(None),
        ENERGY.text(None),
        BYTES.text(None),
        DURATION.text(None),
    ):
        assert written == "\u2014"


def named(table: Table) -> dict[str, Row]:
    return {row.texts()[0][0]: row for row in table.rows}


def test_the_lowest_test_loss_stands_first_and_alone_is_best(run: Run) -> None:
    rows = named(result_table(run))
    assert list(rows) == ["AdamW GPT-2", "bigram", "crystalline GPT", "unigram", "uniform"]
    assert [row.emphasis for row in rows.values()] == ["best", "muted", "", "muted", "muted"]


def test_the_terminal_shows_every_model_with_its_interval(run: Run) -> None:
    text = text_of(result_table(run))
    for row in result_table(run).rows:
        title, (loss, intervals), *_ = row.cells
        by_document, by_block = intervals.replace("\u00a0", " ").split("\n")
        for cell in (title, loss, by_document, by_block):
            assert cell in text
    assert "bootstrap over 40 documents and over 20 blocks" in " ".join(text.split())
    assert "Energy: cpu_model, estimated" in " ".join(text.split())


def test_the_figure_has_the_order_of_the_table(run: Run) -> None:
    figure = _results_figure(run.results, Models())
    assert figure is not None
    drawn = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert drawn[::-1] == list(named(result_table(run)))


def test_a_dropped_column_is_not_mentioned_below_the_table(run: Run) -> None:
    text = text_of(result_table(run))
    assert "validation" not in text.lower()
    console = Console(file=StringIO(), width=120, record=True)
    console.print(TerminalTable(result_table(run)))
    assert "validation" in console.export_text()


@pytest.mark.parametrize(
    ("documents", "told"),
    [(2, "by bootstrap over 2 documents and over 1 block"), (1, "resampling needs two or more")],
)
def test_losses_without_an_interval_say_why(
    make_run: Callable[..., Run], documents: int, told: str
) -> None:
    run = make_run(documents=documents)
    assert told in " ".join(text_of(result_table(run)).split())


def test_meters_that_differ_are_named_row_by_row(make_run: Callable[..., Run]) -> None:
    run = make_run()
    rows = run.results.to_pylist()
    rows[-1] |= {"energy_source": "rapl", "estimated": False}
    run.folder.write_rows("results", rows)
    table = result_table(load_run(run.path)).select(["model", "energy"])
    assert {row.cells[0]: row.cells[1] for row in table.rows}["AdamW GPT-2"][1] == "rapl"


def test_a_model_that_learns_nothing_has_a_dash_for_its_training_tokens(run: Run) -> None:
    rows = result_table(run).select(["model", "train tokens"]).rows
    tokens = {row.cells[0]: row.cells[1] for row in rows}
    assert (tokens["uniform"], tokens["unigram"]) == ("\u2014", "256,000")


def test_markup_in_a_name_is_shown_as_it_is(make_run: Callable[..., Run]) -> None:
    run = make_run()
    run.manifest["run_id"] = "[red]odd"
    assert "[red]odd" in text_of(result_table(run))


def test_a_run_without_results_is_told_so(make_run: Callable[..., Run]) -> None:
    run = make_run()
    run.folder.table("results").unlink()
    with pytest.raises(ArtifactError, match="no results yet"):
        result_table(run)
