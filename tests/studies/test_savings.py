import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from scipy import stats

from clso.artifacts import table_from_rows
from clso.report.style import figure_svg
from clso.report.terminal import TerminalTable
from clso.statistics.survival import Times
from clso.studies.arrivals import Share
from clso.studies.savings import Saving, Savings

BUDGET = 100
Curve = Sequence[tuple[int, float]]


def row(arm: str, seed: int, curve: Curve, **values: object) -> dict[str, Any]:
    return {
        "run_id": "run",
        "seed": seed,
        "family": "mixture",
        "arm": arm,
        "loss": curve[-1][1],
        "held_back_loss": curve[-1][1],
        "evaluations": curve[-1][0],
        "predictions": 0 if arm == "unfiltered" else 1000,
        "tokens": 100,
        "duration_s": 1.0,
        "energy_j": curve[-1][0] * (0.5 if arm == "unfiltered" else 2.0),
        "energy_source": "rapl",
        "estimated": False,
        "surrogate_energy_j": None if arm == "unfiltered" else curve[-1][0] * 1.0,
        "steps": [at for at, _ in curve],
        "step_losses": [loss for _, loss in curve],
        "step_energy_j": [at * (0.5 if arm == "unfiltered" else 2.0) for at, _ in curve],
        **values,
    }


def table_of(arms: Mapping[str, Sequence[Curve]], **values: object) -> pa.Table:
    rows = [
        row(arm, seed, curve, **values)
        for arm, curves in arms.items()
        for seed, curve in enumerate(curves)
    ]
    return table_from_rows(rows, "savings")


PLAIN = [[(1, 9.0), (at, loss), (BUDGET, loss)] for at, loss in ((80, 5), (60, 4), (90, 6))]
STUDY = {
    "unfiltered": PLAIN,
    "quick": [
        [(1, 9.0), (20, 5.0), (BUDGET, 3.0)],
        [(10, 4.0), (BUDGET, 4.0)],
        [(30, 5.0), (99, 5.0)],
    ],
    "slow": [[(1, 9.0), (BUDGET, 8.0)]] * 3,
}


def savings_of(
    table: pa.Table, family: str, reference: str, budget: int, *, beyond_target: bool
) -> list[Saving]:
    return Savings(table, family, reference, budget, beyond_target=beyond_target).arms


def whole_study(study: Mapping[str, Sequence[Curve]] = STUDY) -> Savings:
    return Savings(table_of(study), "mixture", "unfiltered", BUDGET, beyond_target=True)


def times_of(evaluations: Sequence[int], reached: Sequence[bool]) -> Times:
    return Times(np.array(evaluations), np.array(reached))


def test_the_target_is_the_median_of_the_unfiltered_losses() -> None:
    assert whole_study({"unfiltered": PLAIN}).target == 5.0
    assert whole_study({"unfiltered": PLAIN[:2]}).target == 4.5


def test_a_search_arrives_at_its_first_loss_at_the_target_or_is_censored_at_its_end() -> None:
    _, quick, slow = whole_study().arms
    # quick arrives after 20, 10 and 30 evaluations; slow ends at its budget without arriving
    assert (quick.n_reached, quick.median, quick.restricted_mean) == (3, 20, pytest.approx(20))
    assert (slow.n_reached, slow.restricted_mean) == (0, BUDGET)


def test_joules_to_the_target_are_counted_as_evaluations_are() -> None:
    _, quick, slow = savings_of(
        table_of(STUDY), "mixture", "unfiltered", BUDGET, beyond_target=True
    )
    # 20 evaluations at 2 J against 80 at 0.5 J
    assert quick.energy_share is not None
    assert quick.energy_share.ratio == 1.0
    assert slow.energy_share is not None
    assert slow.energy_share.ratio == math.inf


def test_a_search_that_fails_cheaply_is_no_sign_of_an_early_arrival() -> None:
    curves = [[(at, 5.0), (BUDGET, 4.0)] for at in (90, 95, 99)] + [[(1, 9.0), (BUDGET, 9.0)]] * 7
    rows = [
        row(
            "quick", seed, curve, step_energy_j=[at * (2.0 if seed < 3 else 1.0) for at, _ in curve]
        )
        for seed, curve in enumerate(curves)
    ]
    plain = [row("unfiltered", seed, PLAIN[seed % 3]) for seed in range(10)]
    table = table_from_rows([*plain, *rows], "savings")
    _, quick = savings_of(table, "mixture", "unfiltered", BUDGET, beyond_target=True)
    assert quick.share.ratio == math.inf
    assert quick.energy_share is not None
    assert quick.energy_share.ratio == math.inf


def test_no_resample_of_the_reference_has_a_target_below_its_floor() -> None:
    floor = whole_study({"unfiltered": PLAIN}).floor
    assert floor == 4.0
    picks = np.random.default_rng(0).integers(len(PLAIN), size=(50, len(PLAIN)))
    resamples = ([PLAIN[pick] for pick in drawn] for drawn in picks)
    assert min(whole_study({"unfiltered": curves}).target for curves in resamples) >= floor


def test_ending_at_the_floor_changes_times_and_shares_in_nothing() -> None:
    floor = whole_study({"unfiltered": PLAIN}).floor
    ended = {
        arm: curves
        if arm == "unfiltered"
        else [
            curve[: next((n for n, (_, loss) in enumerate(curve, 1) if loss <= floor), None)]
            for curve in curves
        ]
        for arm, curves in STUDY.items()
    }
    assert ended["quick"][1] == [(10, 4.0)]
    whole, short = (
        savings_of(table_of(study), "mixture", "unfiltered", BUDGET, beyond_target=beyond)
        for study, beyond in ((STUDY, True), (ended, False))
    )
    for one, other in zip(whole, short, strict=True):
        assert (one.share, one.energy_share, one.median) == (
            other.share,
            other.energy_share,
            other.median,
        )
        assert one.restricted_mean == pytest.approx(other.restricted_mean)
        assert other.loss is None


def test_kaplan_and_meier_by_hand() -> None:
    # 10: 1 of 6 arrives; 15: one leaves; 20: 2 of 4 arrive; 30: the last two leave
    times = times_of([10, 15, 20, 20, 30, 30], [True, False, True, True, False, False])
    at, without = times.survival()
    assert at.tolist() == [10, 15, 20, 30]
    assert without == pytest.approx([5 / 6, 5 / 6, 5 / 12, 5 / 12])
    assert times.medians(np.ones((1, 6), dtype=np.int64)).tolist() == [20]


def test_the_median_is_where_half_have_arrived_in_spite_of_rounding() -> None:
    ten = times_of([*range(1, 6), *[100] * 5], [True] * 5 + [False] * 5)
    assert ten.medians(np.ones((1, 10), dtype=np.int64)).tolist() == [5]


def test_nobody_arrives() -> None:
    nobody = times_of([100, 100], [False, False])
    assert nobody.medians(np.ones((2, 2), dtype=np.int64)).tolist() == [math.inf, math.inf]


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.integers(1, 12), st.booleans()), min_size=1, max_size=8), st.data())
def test_medians_of_resamples_are_those_of_scipys_estimate(
    found: list[tuple[int, bool]], data: st.DataObject
) -> None:
    times = times_of([at for at, _ in found], [reached for _, reached in found])
    picks = data.draw(st.lists(st.integers(0, len(found) - 1), min_size=1, max_size=8))
    counts = np.bincount(picks, minlength=len(found))[None]
    sample = times_of(times.spent[picks].tolist(), times.reached[picks].tolist())
    estimate = stats.ecdf(sample.censored()).sf
    below = estimate.quantiles[estimate.probabilities <= 0.5 + 1e-9]
    expected = below[0] if len(below) else math.inf
    assert times.medians(counts).tolist() == [expected]


def test_arms_are_held_against_the_reference() -> None:
    plain, quick, slow = savings_of(
        table_of(STUDY), "mixture", "unfiltered", BUDGET, beyond_target=True
    )
    assert (plain.arm, plain.n_reached, plain.median, plain.share.ratio) == ("unfiltered", 2, 80, 1)
    assert (quick.n_reached, quick.median, quick.share.ratio) == (3, 20, 0.25)
    assert quick.share.low <= quick.share.ratio <= quick.share.high < math.inf
    assert quick.restricted_mean == pytest.approx((10 + 20 + 30) / 3)
    # 60 + 80 + 100: a third is still without it when the budget ends
    assert plain.restricted_mean == pytest.approx((60 + 80 + 100) / 3)
    assert (slow.n_reached, slow.median, slow.restricted_mean) == (0, math.inf, 100)
    assert slow.share.low == slow.share.high == math.inf
    assert quick.loss is not None
    assert quick.loss.mean == pytest.approx(np.mean([-2, 0, -1]))
    assert plain.p_value is None


def test_what_is_the_reference_itself_has_the_ratio_one_in_every_resample() -> None:
    _, twin = savings_of(
        table_of({"unfiltered": PLAIN, "twin": PLAIN}),
        "mixture",
        "unfiltered",
        BUDGET,
        beyond_target=True,
    )
    assert twin.share == Share(1, 1, 1)
    assert twin.p_value == pytest.approx(1.0)


def test_an_evaluation_is_priced_in_predictions() -> None:
    plain, quick, _ = savings_of(
        table_of(STUDY), "mixture", "unfiltered", BUDGET, beyond_target=True
    )
    assert plain.predictions_per_evaluation is None
    assert quick.evaluation_j == pytest.approx(1.0)
    assert quick.prediction_j == pytest.approx(299 / 3000)
    assert quick.predictions_per_evaluation == pytest.approx(3000 / 299)


def test_unmeasured_energy_prices_nothing() -> None:
    unmeasured = {
        "energy_j": None, "energy_source": None, "estimated": None, "step_energy_j": None,
    }  # fmt: skip
    table = table_of(STUDY, surrogate_energy_j=None, **unmeasured)
    assert all(
        one.predictions_per_evaluation is None
        and one.evaluation_j is None
        and one.energy_share is None
        for one in savings_of(table, "mixture", "unfiltered", BUDGET, beyond_target=True)
    )


def test_arms_with_other_seeds_are_not_compared() -> None:
    study = {"unfiltered": PLAIN, "quick": STUDY["quick"][:2]}
    (only,) = savings_of(table_of(study), "mixture", "unfiltered", BUDGET, beyond_target=True)
    assert only.arm == "unfiltered"
    nothing = table_from_rows([], "savings")
    assert savings_of(nothing, "mixture", "unfiltered", BUDGET, beyond_target=True) == []


def test_the_sentence_stands_beside_the_write_ups_claims() -> None:
    sentence = whole_study().sentence()
    assert "quick takes 25" in sentence
    assert "19" in sentence
    assert "635" in sentence
    assert "lowest of 2 arms, which flatters it" in sentence
    assert (
        "flatters"
        not in whole_study({arm: STUDY[arm] for arm in ("unfiltered", "quick")}).sentence()
    )
    assert (
        "No arm reaches"
        in whole_study({arm: STUDY[arm] for arm in ("unfiltered", "slow")}).sentence()
    )
    assert "no arm" in whole_study({"unfiltered": PLAIN}).sentence()


def test_a_tie_is_told_as_one_and_nothing_as_picked() -> None:
    tied = {arm: STUDY["quick"] for arm in ("one", "two", "three")}
    told = whole_study({"unfiltered": PLAIN, **tied, "slow": STUDY["slow"]}).sentence()
    assert "one, two and three take equally few evaluations, 25" in told
    assert "so none of them is the best" in told
    assert "picked" not in told


def test_an_arm_that_takes_as_many_as_the_reference_is_said_to_save_nothing() -> None:
    told = whole_study({"unfiltered": PLAIN, "same": PLAIN}).sentence()
    assert "that is no fewer than unfiltered takes" in told
    assert "no fewer" not in whole_study().sentence()


def test_the_table_fits_80_columns_and_says_never() -> None:
    table = whole_study().table("mixture", 5.0)
    console = Console(width=80, record=True, file=None)
    with console.capture() as capture:
        console.print(TerminalTable(table))
    printed = capture.get()
    assert "…" not in printed
    assert "3 of 3" in printed
    assert table.rows[2].cells[2] == "never"


def test_the_figures_name_every_arm() -> None:
    study = whole_study()
    for draw in (study.arrivals_figure, study.losses_figure):
        figure = draw()
        assert figure is not None
        svg = figure_svg(figure, "savings", "curves")
        assert all(arm in svg for arm in STUDY)
    nothing = whole_study({})
    assert nothing.arrivals_figure() is nothing.losses_figure() is None


@pytest.mark.parametrize("n_arms", [2, 14])
def test_a_legend_of_long_names_stays_inside_the_figure(n_arms: int) -> None:
    arms = {f"gaussian process, expected improvement {n}": PLAIN for n in range(n_arms)}
    study = whole_study({"unfiltered": PLAIN, **arms})
    for draw in (study.arrivals_figure, study.losses_figure):
        figure = draw()
        assert figure is not None
        figure.draw_without_rendering()
        (legend,) = figure.legends
        box, paper = legend.get_window_extent(), figure.bbox
        assert paper.x0 <= box.x0
        assert box.x1 <= paper.x1
        assert box.y1 <= paper.y1
        assert figure.axes[0].get_window_extent().height > 1.5 * figure.dpi  # inches
