from typing import Any

import pyarrow as pa
import pytest
from matplotlib.figure import Figure
from rich.console import Console

from clso.artifacts import table_from_rows
from clso.report.terminal import TerminalTable
from clso.studies.pareto import Front

METER = {"energy_source": "rapl", "estimated": False}


def row(number: int, loss: float, size: int, flops: int, *, joules: float | None = None) -> dict:
    front = joules is not None
    return {
        "run_id": "run",
        "seed": 0,
        "family": "mixture",
        "genome": [number, 0],
        "genome_hash": f"{number:016x}",
        "loss": loss,
        "stored_bytes": size,
        "flops_per_token": flops,
        "on_front": front,
        "validation_loss": loss + 0.01 if front else None,
        "tokens": 1000 if front else None,
        "energy_j_per_token": None if joules is None else joules / 1000,
        "duration_s": 1.0 if front else None,
        "energy_j": joules,
        "energy_source": "rapl" if front else None,
        "estimated": False if front else None,
    }


ROWS = [
    row(1, 4.20, 8_000_000, 6000, joules=0.4),
    row(2, 4.22, 4_000_000, 7000, joules=0.3),
    row(3, 4.24, 8_500_000, 1500, joules=0.1),
    row(4, 9.01, 1_700_000, 200, joules=0.01),
    row(5, 4.30, 9_000_000, 7000),
    row(6, 5.00, 9_500_000, 6000),
]
TABLE = table_from_rows(ROWS, "pareto")
ALL = ("loss", "stored_bytes", "flops")


def generations(shares: list[float | None]) -> pa.Table:
    rows = [
        {
            "run_id": "run",
            "seed": 0,
            "family": "mixture",
            "generation": number,
            "n_evaluated": 3,
            "n_failed": 0,
            "n_front": 4,
            "hypervolume": share,
            "best_loss": 4.2,
            "duration_s": 1.0,
            "energy_j": 1.0,
            **METER,
        }
        for number, share in enumerate(shares)
    ]
    return table_from_rows(rows, "pareto_generations")


def text(renderable: Any) -> str:  # noqa: ANN401 - whatever rich prints
    console = Console(width=80, record=True, file=None, quiet=False)
    with console.capture() as captured:
        console.print(renderable)
    return captured.get()


def test_the_front_comes_by_loss_and_is_printed_with_both_ends() -> None:
    front = Front(TABLE, "mixture")
    assert [row["genome"][0] for row in front.rows] == [1, 2, 3, 4]
    assert [row.texts()[1][0] for row in front.table("all", limit=2).rows] == ["4.2000", "9.0100"]
    alone = Front(table_from_rows(ROWS[:1], "pareto"), "mixture")
    assert [row.texts()[1][0] for row in alone.table("all").rows] == ["4.2000"]
    (row, *_) = front.table("all").rows
    assert row.cells[1:] == (("4.2000", "4.2100"), "8\u00a0MB", "6,000", "400\u00a0µJ")


@pytest.mark.parametrize(
    ("cost", "expected"),
    [
        ("stored_bytes", [4, 2, 1]),
        ("flops_per_token", [4, 3, 1]),
        ("energy_j_per_token", [4, 3, 2, 1]),
    ],
)
def test_the_line_has_the_lowest_loss_at_each_price(cost: str, expected: list[int]) -> None:
    pictures = {picture.name: picture for picture in Front(TABLE, "mixture").pictures("green")}
    figure = pictures[f"pareto-mixture-{cost.replace('_', '-')}"].draw()
    assert isinstance(figure, Figure)
    (line,) = figure.axes[0].lines
    by_number = {row["genome"][0]: row for row in ROWS}
    assert list(line.get_xdata()) == [by_number[number][cost] for number in expected]
    assert list(line.get_ydata()) == [by_number[number]["loss"] for number in expected]


def test_the_sentences_say_what_being_nearly_as_good_saves() -> None:
    front, growth, energy = Front(TABLE, "mixture").sentences(generations([0.5, 0.75]), ALL)
    assert front.startswith(
        "Of 6 evaluated models, 4 are beaten by no other in loss, stored bytes and operations "
        "per token at once: the front. The lowest loss, 4.2000, takes 8\u00a0MB and 6,000"
    )
    assert front.endswith(
        "with 50\u00a0% of its stored bytes, or with 25\u00a0% of its operations per token."
    )
    assert "from 0.500 after that generation to 0.750 after 2" in growth
    assert "(rapl)" in energy
    (alone, *_) = Front(TABLE, "mixture").sentences(generations([0.5]), ("loss", "flops"))
    assert "loss and operations per token at once" in alone
    assert "stored bytes" not in alone


def test_what_was_not_measured_is_not_claimed() -> None:
    rows = [one | {"energy_j": None, "energy_j_per_token": None} for one in ROWS]
    rows = [one | {"energy_source": None, "estimated": None} for one in rows]
    table = table_from_rows(rows, "pareto")
    front = Front(table, "mixture")
    sentences = front.sentences(generations([None]), ALL)
    assert len(sentences) == 2
    assert sentences[-1].endswith("joules were not measured.")
    assert {row.cells[-1] for row in front.table("all").rows} == {"\u2014"}
    names = [picture.name for picture in front.pictures("green")]
    assert names == ["pareto-mixture-stored-bytes", "pareto-mixture-flops-per-token"]


def test_the_table_fits_a_terminal() -> None:
    printed = text(TerminalTable(Front(TABLE, "mixture").table("1,000 targets of validation")))
    assert max(len(line) for line in printed.splitlines()) <= 80
    assert "400\u00a0µJ" in printed
    assert "1,000 targets" in printed.replace("\n", " ")


def test_a_figure_per_cost_says_what_it_leaves_out() -> None:
    drawn = Front(TABLE, "mixture").pictures("green")
    assert [one.name.removeprefix("pareto-mixture-") for one in drawn] == [
        "stored-bytes",
        "flops-per-token",
        "energy-j-per-token",
    ]
    for one in drawn:
        assert one.caption.endswith("Higher losses, not shown: 1.")
        figure = one.draw()
        assert isinstance(figure, Figure)
        (axes,) = figure.axes
        assert axes.get_xscale() == "log"
        assert axes.get_ylim()[0] < 4.2
        assert (one.svg or "").startswith("<svg")
    assert "read by no decision" in drawn[-1].caption
    assert "grey" not in drawn[-1].caption
    assert Front(table_from_rows([], "pareto"), "mixture").pictures("green") == []
