"""Energy under other assumptions, in use, and over repeats."""

from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from clso.artifacts import table_from_rows
from clso.report.assumptions import assumptions_table
from clso.report.models import Models
from clso.report.repeats import repeats_table
from clso.report.table import Table
from clso.report.terminal import TerminalTable
from clso.report.use import use_sentences, use_table

MODELS = Models()


def row(
    model: str,
    cpu_s: float | None = 1.0,
    duration_s: float = 1.0,
    **values: object,
) -> dict[str, Any]:
    return {
        "model": model,
        "test_loss": 5.0,
        "validation_loss": 5.0,
        "cpu_s": cpu_s,
        "duration_s": duration_s,
        "energy_j": None if cpu_s is None else 10 * cpu_s,
        "energy_source": "cpu_model",
        "estimated": True,
        "scoring_j_per_token": None,
        "generation_j_per_token": None,
        "use_energy_source": "cpu_model",
        "use_estimated": True,
        **values,
    }


def texts(table: Table) -> list[list[str]]:
    return [[text.replace("\u00a0", " ") for text, _ in row.texts()] for row in table.rows]


def printed(table: Table) -> str:
    console = Console(file=StringIO(), width=80, record=True)
    console.print(TerminalTable(table))
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 80
    return text.replace("\u00a0", " ")


RESULTS = [row("mixture", 10.0, 10.0), row("adamw", 100.0, 50.0), row("opponent", 50.0, 40.0)]


class TestAssumptions:
    def test_without_idle_power_the_watts_of_a_core_change_nothing(self) -> None:
        table = assumptions_table(RESULTS, MODELS)
        assert table is not None
        lines = texts(table)
        assert [line[0] for line in lines if len(line) == 1] == [
            "Against the strongest gradient model",
            "Against AdamW GPT-2",
        ]
        by_core = [line for line in lines if line[0].endswith(" W")]
        assert [line[1] for line in by_core] == ["20.0 %"] * 4 + ["10.0 %"] * 4

    def test_idle_power_moves_the_share_towards_that_of_wall_time(self) -> None:
        table = assumptions_table(RESULTS, MODELS)
        assert table is not None
        lines = {line[0]: line for line in texts(table)[6:]}
        # (10 W x 10 s + 50 W x 10 s) / (10 W x 100 s + 50 W x 50 s)
        assert lines["10 W"][1:] == ["10.0 %", "13.3 %", "17.1 %"]
        assert lines["wall time alone"][1] == "20.0 %"
        assert "1 min 40 s of CPU time" in printed(table).replace("\n", " ")

    @pytest.mark.parametrize(
        "results",
        [
            [row("mixture")],
            [row("adamw")],
            [row("mixture", None), row("adamw")],
            [row("mixture"), row("adamw", None)],
            [row("mixture"), row("adamw", energy_source="cpu_model+nvml")],
        ],
    )
    def test_what_is_not_known_gives_no_table(self, results: list[dict[str, Any]]) -> None:
        assert assumptions_table(results, MODELS) is None


class TestUse:
    def test_every_model_has_its_joules_per_token(self) -> None:
        rows = [
            row("mixture", scoring_j_per_token=2e-3, generation_j_per_token=4e-2),
            row("adamw", scoring_j_per_token=5e-4),
        ]
        table = use_table(rows, MODELS)
        assert table is not None
        assert texts(table) == [
            ["crystalline mixture", "10 J", "2 mJ", "40 mJ"],
            ["AdamW GPT-2", "10 J", "500 µJ", "\u2014"],
        ]
        assert "cpu_model, estimated" in printed(table)
        assert use_table(RESULTS, MODELS) is None

    @pytest.mark.parametrize(
        ("making", "use", "told"),
        [
            ((10, 100), (3e-3, 1e-3), "the crystalline mixture takes less up to 45,000 tokens"),
            ((10, 100), (1e-3, 3e-3), "the crystalline mixture takes less, however many"),
            ((100, 10), (3e-3, 1e-3), "AdamW GPT-2 takes less, however many"),
            ((100, 10), (1e-3, 3e-3), "AdamW GPT-2 takes less up to 45,000 tokens scored"),
        ],
    )
    def test_tokens_that_make_up_for_making_are_told(
        self, making: tuple[float, float], use: tuple[float, float], told: str
    ) -> None:
        rows = [
            row(model, cost / 10, scoring_j_per_token=joules)
            for model, cost, joules in zip(("mixture", "adamw"), making, use, strict=True)
        ]
        (sentence,) = use_sentences(rows, MODELS)
        assert told in sentence
        assert "written" not in sentence

    def test_other_meters_are_not_added_up(self) -> None:
        rows = [
            row("mixture", scoring_j_per_token=1.0),
            row("adamw", scoring_j_per_token=2.0, use_energy_source="rapl"),
        ]
        assert list(use_sentences(rows, MODELS)) == []


class TestRepeats:
    def rows(self, **changed: object) -> list[dict[str, Any]]:
        costs = {"mixture": (10.0, 11.0, 12.0), "adamw": (100.0, 111.0, 119.0)}
        return [
            {
                "run_id": "run",
                "seed": 0,
                "repeat": number,
                "model": model,
                "duration_s": cpu_s / 2,
                "cpu_s": cpu_s,
                "energy_j": 10 * cpu_s,
                "energy_source": "cpu_model",
                "estimated": True,
            }
            | (changed if (model, number) == ("adamw", 0) else {})
            for model, values in costs.items()
            for number, cpu_s in enumerate(values)
        ]

    def test_shares_have_intervals_over_paired_repeats(self) -> None:
        table = repeats_table(table_from_rows(self.rows(), "energy_repeats"), MODELS)
        mixture, adamw, share = (row.texts() for row in table.rows)
        assert mixture[1] == ("110\u00a0J", "100\u00a0J\u00a0to 120\u00a0J")
        assert adamw[0][0] == "AdamW GPT-2"
        assert share[0] == ("crystalline mixture", "as a share of AdamW GPT-2")
        assert share[1:] == (("10.0\u00a0%", "9.8\u00a0%\u00a0to 10.2\u00a0%"),) * 3
        assert "3 repeats" in printed(table)

    def test_a_repeat_without_joules_does_not_count_in_their_ratio(self) -> None:
        changed = self.rows(energy_j=None, energy_source=None, estimated=None, cpu_s=1000.0)
        table = repeats_table(table_from_rows(changed, "energy_repeats"), MODELS)
        *_, share = (row.texts() for row in table.rows)
        assert share[1][0] == "10.0\u00a0%"
        assert share[2][0] != share[1][0]
