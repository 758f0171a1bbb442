from collections.abc import Mapping, Sequence

import pyarrow as pa
import pytest
from rich.console import Console
from scipy import stats

from clso.artifacts import table_from_rows
from clso.report.style import figure_svg
from clso.report.terminal import TerminalTable
from clso.studies.rivals import Duel, Rivals

Points = Sequence[tuple[int, float]]


def duels(table: pa.Table, budgets: Sequence[int]) -> list[Duel]:
    return Rivals(table, budgets).duels


def test_a_method_of_a_plugin_family_is_shown_by_its_name() -> None:
    curves: dict[str, Sequence[Points]] = {
        "search": [[(1, 6.0), (50, 5.0)], [(1, 6.2), (50, 5.1)]],
        "closed_form": [[(1, 5.5)]],
    }
    found = duels(table_of(curves), [50])
    assert [duel.rival for duel in found] == ["closed_form"]
    console = Console(width=120, record=True)
    console.print(TerminalTable(Rivals(table_of(curves), [50]).table()))
    assert "closed_form" in console.export_text()
    figure = Rivals(table_of(curves)).figure("green")
    assert figure is not None
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["this search", "closed_form"]


def table_of(curves: Mapping[str, Sequence[Points]]) -> pa.Table:
    """Return a table of curves per method and seed; held-back losses are 1 higher."""
    return table_from_rows(
        [
            {
                "run_id": "run",
                "seed": seed,
                "family": "mixture",
                "method": method,
                "evaluations": evaluations,
                "loss": loss,
                "held_back_loss": loss + 1.0,
            }
            for method, seeds in curves.items()
            for seed, points in enumerate(seeds)
            for evaluations, loss in points
        ],
        "rivals",
    )


STUDY = table_of(
    {
        "search": [[(1, 6.0), (50, 5.0), (300, 4.5)], [(1, 6.2), (80, 5.1)], [(2, 6.1), (90, 4.8)]],
        "random": [[(1, 6.0), (60, 5.5)], [(1, 6.3), (70, 5.4)], [(1, 6.1), (95, 5.6)]],
        "greedy": [[(1, 9.0), (90, 4.9)], [(1, 9.0), (95, 4.9)], [(1, 9.0), (99, 4.9)]],
        "all_at_once": [[(700, 4.0)]],
    }
)


def test_a_method_has_at_a_budget_what_it_found_up_to_it() -> None:
    rivals = Rivals(STUDY)
    assert rivals.losses("search", 49)[0] == (6.0, 7.0)
    assert rivals.losses("search", 50)[0] == (5.0, 6.0)
    assert rivals.losses("search", 10_000)[0] == (4.5, 5.5)
    assert rivals.losses("search", 1)[2] is None


def test_differences_are_paired_by_seed_with_students_interval() -> None:
    (random,) = [duel for duel in duels(STUDY, [100]) if duel.rival == "random"]
    gaps = [5.0 - 5.5, 5.1 - 5.4, 4.8 - 5.6]
    low, high = stats.t.interval(0.95, 2, loc=sum(gaps) / 3, scale=stats.sem(gaps))
    assert random.fitness.mean == pytest.approx(sum(gaps) / 3)
    assert random.fitness.low == pytest.approx(low)
    assert random.fitness.high == pytest.approx(high)
    assert random.held_back.mean == pytest.approx(random.fitness.mean)
    assert (random.n_won, random.n_seeds) == (3, 3)


@pytest.mark.parametrize("budget", [100, 299])
def test_the_reference_stands_against_every_seed_and_budget(budget: int) -> None:
    (reference,) = [duel for duel in duels(STUDY, [budget]) if duel.rival == "all_at_once"]
    assert reference.rival_loss == 4.0
    assert reference.fitness.mean == pytest.approx((5.0 + 5.1 + 4.8) / 3 - 4.0)
    assert (reference.n_won, reference.n_seeds) == (0, 3)


def test_nothing_is_said_before_both_have_a_loss() -> None:
    assert duels(STUDY, [1]) == []
    assert duels(table_from_rows([], "rivals"), [100]) == []


def test_wins_and_losses_are_told_alike() -> None:
    assert "Of 4 comparisons" in Rivals(STUDY, [5, 100]).sentence()
    mirrored = table_of(
        {
            "search": [[(1, 9.0)], [(1, 9.1)]],
            "random": [[(1, 5.0)], [(1, 5.1)]],
        }
    )
    assert "lower loss in 0 and the higher in 1" in Rivals(mirrored, [1]).sentence()
    assert "nothing to compare" in Rivals(STUDY).sentence()


def test_the_table_shows_both_losses_and_fits_80_columns() -> None:
    console = Console(width=80, record=True, file=None)
    with console.capture() as capture:
        console.print(TerminalTable(Rivals(STUDY, [100, 300]).table()))
    printed = capture.get()
    for expected in ("100 evaluations", "300 evaluations", "greedy forward", "3 of 3", "held back"):
        assert expected in printed
    assert "…" not in printed


def test_the_figure_names_every_method_that_ran() -> None:
    figure = Rivals(STUDY).figure("green")
    assert figure is not None
    svg = figure_svg(figure, "rivals", "losses")
    for label in ("this search", "random search", "greedy forward selection", "all at once"):
        assert label in svg
    assert "heaviest" not in svg
    assert Rivals(table_from_rows([], "rivals")).figure("green") is None
