from collections.abc import Callable
from io import StringIO
from typing import Any

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
from clso.report.results import comparison_table, result_table
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
        title, (loss, interval), *_ = row.cells
        for cell in (title, loss, interval):
            assert cell in text
    assert "Energy: cpu_model, estimated" in " ".join(text.split())


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


def test_a_pair_is_one_line_with_both_units(run: Run) -> None:
    rows = [row.texts() for row in comparison_table(run).rows]
    assert [models[0] for models, *_ in rows] == [
        "crystalline GPT minus AdamW GPT-2",
        "crystalline GPT minus bigram",
        "crystalline GPT minus unigram",
        "AdamW GPT-2 minus bigram",
        "AdamW GPT-2 minus unigram",
    ]
    (_, verdict), _, (_, documents), (_, blocks) = rows[0]
    assert verdict == "AdamW GPT-2 is better"
    assert (documents, blocks) == ("40 documents", "20 blocks")
    text = text_of(comparison_table(run))
    for (title, verdict), _, (by_document, _), (by_block, _) in rows:
        for cell in (title.split()[0], verdict, by_document, by_block):
            assert cell in text


def test_a_verdict_falls_back_to_blocks_and_says_so(make_run: Callable[..., Run]) -> None:
    run = make_run()
    rows = run.comparisons.to_pylist()[:2]

    def told(rows: list[dict[str, Any]]) -> tuple[tuple[str, str], ...]:
        run.folder.write_rows("comparisons", rows)
        return comparison_table(load_run(run.path)).rows[0].texts()

    rows[0] |= {"ci_low": None, "ci_high": None, "n_units": 1}
    (_, verdict), _, by_document, _ = told(rows)
    assert verdict == "AdamW GPT-2 is better (over blocks)"
    assert by_document == ("\u2014", "1 document")
    rows[1] |= {"ci_low": -0.1}
    assert told(rows)[0][1] == "no difference established (over blocks)"
    assert told(rows[:1])[0][1] == "no interval"


def test_markup_in_a_name_is_shown_as_it_is(make_run: Callable[..., Run]) -> None:
    run = make_run()
    run.manifest["run_id"] = "[red]odd"
    assert "[red]odd" in text_of(result_table(run))


def test_a_run_without_results_is_told_so(make_run: Callable[..., Run]) -> None:
    run = make_run()
    run.folder.table("results").unlink()
    with pytest.raises(ArtifactError, match="no results yet"):
        result_table(run)
