from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from clso.artifacts import Run, load_run
from clso.report.differences import comparison_table, difference_blocks
from clso.report.html import Block
from clso.report.table import Row, Table
from clso.report.terminal import TerminalTable

MakeRun = Callable[..., Run]


def pairs(table: Table) -> list[Row]:
    return [row for row in table.rows if row.emphasis != "group"]


def headings(table: Table) -> list[object]:
    return [row.cells[0] for row in table.rows if row.emphasis == "group"]


def test_the_rivals_that_matter_come_first_and_no_pair_is_lost(run: Run) -> None:
    table = comparison_table(run)
    assert headings(table) == [
        "Against AdamW GPT-2",
        "Against the lowest floor, the bigram",
        "Other pairs",
    ]
    rows = [row.texts() for row in pairs(table)]
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
    console = Console(file=StringIO(), width=80, record=True)
    console.print(TerminalTable(table))
    text = console.export_text().replace("\u00a0", " ")
    for (title, verdict), _, (by_document, _), (by_block, _) in rows:
        for cell in (title.split()[0], verdict, by_document, by_block):
            assert cell.replace("\u00a0", " ") in text


def test_the_page_folds_the_other_pairs_away(run: Run) -> None:
    first, folded = difference_blocks(run)[-2:]
    assert isinstance(first, Table)
    assert isinstance(folded, Block)
    label, rest = folded.content
    assert (label, len(pairs(first))) == ("Other pairs (3)", 2)
    assert len(pairs(rest)) == len(rest.rows) == 3


def test_a_pair_that_is_stored_the_other_way_round_is_turned(make_run: MakeRun) -> None:
    run = make_run()
    rows = [row for row in run.comparisons.to_pylist() if row["unit"] == "document"]
    (row,) = (row for row in rows if (row["model_a"], row["model_b"]) == ("gpt", "adamw"))
    run.folder.write_rows(
        "comparisons",
        [
            {
                **row,
                "model_a": "adamw",
                "model_b": "gpt",
                "difference": -row["difference"],
                "ci_low": -row["ci_high"],
                "ci_high": -row["ci_low"],
            }
        ],
    )
    (found,) = pairs(comparison_table(load_run(run.path)))
    (names, verdict), (difference, _), (interval, _), _ = found.texts()
    assert names == "crystalline GPT minus AdamW GPT-2"
    assert verdict == "AdamW GPT-2 is better"
    assert difference == f"{row['difference']:+.3f}"
    assert interval == f"{row['ci_low']:+.3f}\u00a0to {row['ci_high']:+.3f}"


def test_a_verdict_falls_back_to_blocks_and_says_so(make_run: MakeRun) -> None:
    run = make_run()
    rows = run.comparisons.to_pylist()[:2]

    def told(rows: list[dict[str, Any]]) -> tuple[tuple[str, str], ...]:
        run.folder.write_rows("comparisons", rows)
        (row,) = pairs(comparison_table(load_run(run.path)))
        return row.texts()

    rows[0] |= {"ci_low": None, "ci_high": None, "n_units": 1}
    (_, verdict), _, by_document, _ = told(rows)
    assert verdict == "AdamW GPT-2 is better (over blocks)"
    assert by_document == ("\u2014", "1 document")
    rows[1] |= {"ci_low": -0.1}
    assert told(rows)[0][1] == "no difference established (over blocks)"
    assert told(rows[:1])[0][1] == "no interval"


@pytest.mark.parametrize(("documents", "reasons"), [(40, 0), (1, 1)])
def test_a_missing_interval_has_a_reason(make_run: MakeRun, documents: int, reasons: int) -> None:
    run = make_run(documents=documents)
    told = [block for block in difference_blocks(run) if isinstance(block, str)]
    assert sum("resampling needs two or more" in text for text in told) == reasons


def test_models_stand_in_the_order_of_the_result_table(make_run: MakeRun) -> None:
    run = make_run()
    results, (row, *_) = run.results.to_pylist(), run.comparisons.to_pylist()
    (adamw,) = (result for result in results if result["model"] == "adamw")
    losses = {"hybrid": 2.0, "mixture": 1.0, "warm_start": 3.0}
    run.folder.write_rows(
        "results",
        [*results, *({**adamw, "model": name, "test_loss": loss} for name, loss in losses.items())],
    )
    run.folder.write_rows(
        "comparisons", [{**row, "model_a": name, "model_b": "adamw"} for name in losses]
    )
    table = comparison_table(load_run(run.path))
    models = [row.texts()[0][0].split(" minus ")[0] for row in pairs(table)]
    assert models == ["crystalline mixture", "hybrid", "AdamW, warm start"]
