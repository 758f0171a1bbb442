from collections.abc import Callable
from io import StringIO

import pytest
from rich.console import Console
from rich.table import Table

from clso.artifacts import Run
from clso.errors import ArtifactError
from clso.report.formats import (
    format_bytes,
    format_count,
    format_duration,
    format_energy,
    format_interval,
    format_loss,
    format_perplexity,
    format_power,
    format_ratio,
    format_share,
    format_source,
    model_label,
)
from clso.report.tables import comparison_lines, comparison_table, result_lines, result_table


def text_of(table: Table) -> str:
    console = Console(file=StringIO(), width=80)
    console.print(table)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue().replace("\u00a0", " ")


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (format_loss(5.33249), "5.332"),
        (format_loss(-0.25, signed=True), "−0.250"),  # noqa: RUF001 - a true minus sign
        (format_loss(0.25, signed=True), "+0.250"),
        (format_interval(1.0, 2.0), "1.000 to 2.000"),
        (format_perplexity(207.123), "207.1"),
        (format_perplexity(9.5), "9.50"),
        (format_perplexity(50257.4), "50,257"),
        (format_perplexity(3e12), "3.00e+12"),
        (format_perplexity(float("inf")), "∞"),
        (format_count(256000), "256,000"),
        (format_share(0.0), "0 %"),
        (format_share(0.0004), "< 0.1 %"),
        (format_share(0.031), "3.1 %"),
        (format_share(0.95), "95 %"),
        (format_ratio(0.0213), "0.0213"),
        (format_ratio(0.374), "0.37"),
        (format_ratio(12.34), "12.3"),
        (format_ratio(1234.5), "1,234"),
        (format_energy(0.5), "0.5 J"),
        (format_energy(0.0204), "20.4 mJ"),
        (format_energy(0.0002), "<1 mJ"),
        (format_energy(1690.0), "1.69 kJ"),
        (format_energy(999.9), "1 kJ"),
        (format_energy(5e12), "5,000 GJ"),
        (format_power(18.04), "18.0 W"),
        (format_bytes(220_000), "220 kB"),
        (format_duration(0.0213), "21 ms"),
        (format_duration(21.44), "21.4 s"),
        (format_duration(59.97), "1 min 0 s"),
        (format_duration(3700.0), "1 h 1 min"),
        (format_source(None, None), "not measured"),
        (format_source("rapl", False), "rapl"),
        (format_source("cpu_model", True), "cpu_model, estimated"),
        (model_label("gpt"), "crystalline GPT"),
        (model_label("other"), "other"),
    ],
)
def test_numbers_are_written_for_people(written: str, expected: str) -> None:
    assert written.replace("\u00a0", " ") == expected


def test_what_was_not_measured_is_a_dash_and_never_zero() -> None:
    for written in (
        format_loss(None),
        format_interval(None, None),
        format_perplexity(None),
        format_count(None),
        format_share(None),
        format_energy(None),
        format_power(None),
        format_bytes(None),
        format_duration(None),
    ):
        assert written == "\u2014"


def test_the_lowest_test_loss_stands_first_and_alone_is_best(run: Run) -> None:
    lines = result_lines(run.results.to_pylist())
    assert [line.model for line in lines] == ["adamw", "bigram", "gpt", "unigram", "uniform"]
    assert [line.is_best for line in lines] == [True, False, False, False, False]
    assert [line.is_floor for line in lines] == [False, True, False, True, True]


def test_the_terminal_shows_every_model_with_its_interval(run: Run) -> None:
    text = text_of(result_table(run))
    for line in result_lines(run.results.to_pylist()):
        assert line.label in text
        assert line.test_loss in text
        assert line.interval in text
    assert "energy: cpu_model, estimated" in " ".join(text.split())


def test_a_model_that_learns_nothing_has_a_dash_for_its_training_tokens(run: Run) -> None:
    tokens = {line.model: line.train_tokens for line in result_lines(run.results.to_pylist())}
    assert (tokens["uniform"], tokens["unigram"]) == ("\u2014", "256,000")


def test_a_pair_is_one_line_with_both_units(run: Run) -> None:
    lines = comparison_lines(run.comparisons.to_pylist())
    assert [line.label for line in lines] == [
        "crystalline GPT minus AdamW GPT-2",
        "crystalline GPT minus bigram",
        "crystalline GPT minus unigram",
        "AdamW GPT-2 minus bigram",
        "AdamW GPT-2 minus unigram",
    ]
    assert lines[0].verdict == "AdamW GPT-2 is better"
    assert (lines[0].n_documents, lines[0].n_blocks) == ("40 documents", "20 blocks")
    text = text_of(comparison_table(run))
    for line in lines:
        for cell in (line.label.split()[0], line.verdict, line.by_document, line.by_block):
            assert cell in text


def test_a_verdict_falls_back_to_blocks_and_says_so(make_run: Callable[..., Run]) -> None:
    rows = make_run().comparisons.to_pylist()[:2]
    rows[0] |= {"ci_low": None, "ci_high": None, "n_units": 1}
    line = comparison_lines(rows)[0]
    assert line.verdict == "AdamW GPT-2 is better (over blocks)"
    assert (line.by_document, line.n_documents) == ("\u2014", "1 document")
    rows[1] |= {"ci_low": -0.1}
    assert comparison_lines(rows)[0].verdict == "no difference established (over blocks)"
    assert comparison_lines(rows[:1])[0].verdict == "no interval"


def test_markup_in_a_name_is_shown_as_it_is(make_run: Callable[..., Run]) -> None:
    run = make_run()
    run.manifest["run_id"] = "[red]odd"
    assert "[red]odd" in text_of(result_table(run))


def test_a_run_without_results_is_told_so(make_run: Callable[..., Run]) -> None:
    run = make_run()
    run.folder.table("results").unlink()
    with pytest.raises(ArtifactError, match="no results yet"):
        result_table(run)
