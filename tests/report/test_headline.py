from typing import Any

import pytest

from clso.report.headline import Headline
from clso.report.models import Models


def result(model: str, loss: float, validation_loss: float | None = None) -> dict[str, Any]:
    return {
        "model": model,
        "test_loss": loss,
        "validation_loss": loss if validation_loss is None else validation_loss,
        "perplexity": 2.718281828**loss,
        "test_tokens": 12_800,
    }


def comparison(
    a: str, b: str, difference: float, half: float | None, unit: str = "document"
) -> dict[str, Any]:
    return {
        "model_a": a,
        "model_b": b,
        "difference": difference,
        "ci_low": None if half is None else difference - half,
        "ci_high": None if half is None else difference + half,
        "unit": unit,
        "n_units": 40,
        "confidence": 0.95,
    }


def plain(text: str) -> str:
    return text.replace("\u00a0", " ")


FLOORS = [result("uniform", 9.0), result("unigram", 6.6), result("bigram", 5.7)]


def against_floors(model: str, loss: float, half: float | None = 0.05) -> list[dict[str, Any]]:
    """Return the comparisons with floors that a run stores: none is with uniform."""
    return [
        comparison(model, floor["model"], loss - floor["test_loss"], half) for floor in FLOORS[1:]
    ]


def test_the_baseline_wins_where_it_wins() -> None:
    headline = Headline.of(
        [*FLOORS, result("gpt", 6.5), result("adamw", 5.3)],
        [
            comparison("gpt", "adamw", 1.2, 0.1),
            *against_floors("gpt", 6.5),
            *against_floors("adamw", 5.3),
        ],
    )
    assert headline.title.startswith("AdamW GPT-2 wins: 5.300 against 6.500")
    assert "the crystalline GPT loses 1.200 nats per token more" in headline.details[0]
    assert "1.100 to 1.300" in plain(headline.details[0])
    assert "does not beat the bigram floor (5.700)" in headline.details[1]
    assert headline.details[2].startswith("AdamW GPT-2 beats every floor")


def test_the_search_wins_where_it_wins() -> None:
    headline = Headline.of(
        [*FLOORS, result("gpt", 4.9), result("adamw", 5.3)],
        [comparison("gpt", "adamw", -0.4, 0.1)],
    )
    assert headline.title.startswith("The crystalline GPT wins: 4.900 against 5.300")
    assert "0.300 to 0.500" in plain(headline.details[0])
    assert "perplexity is 49\u00a0% higher" in headline.details[0]


def test_the_hybrid_is_held_against_the_network_alone() -> None:
    results = [*FLOORS, result("mixture", 5.1), result("adamw", 5.3), result("hybrid", 5.0)]
    told = Headline.of(results, [comparison("hybrid", "adamw", -0.3, 0.1)]).details
    hybrid = next(detail for detail in told if "hybrid" in detail)
    assert "5.000. Its perplexity is 26\N{NO-BREAK SPACE}% lower than AdamW GPT-2's" in hybrid
    assert "-0.300".replace("-", "\N{MINUS SIGN}") in hybrid
    assert "paired bootstrap over 40 documents" in hybrid
    results[-1] = result("hybrid", 5.6)
    told = Headline.of(results, []).details
    assert any(
        "35\N{NO-BREAK SPACE}% higher" in detail and "no interval" in detail for detail in told
    )


def test_the_networks_share_of_the_hybrid_is_told() -> None:
    results = [*FLOORS, result("mixture", 5.1), result("adamw", 5.3), result("hybrid", 5.0)]
    models = Models({"hybrid": {"family": "mixture", "network_weight": 0.28}})
    told = map(plain, Headline.of(results, [], models).details)
    assert any("one more function (28 % of the weight), reaches 5.000" in text for text in told)


def test_a_text_too_small_for_an_interval_is_the_reason_given() -> None:
    single = {**comparison("gpt", "adamw", 0.4, None), "n_units": 1}
    headline = Headline.of([result("gpt", 5.7), result("adamw", 5.3)], [single])
    assert "the test split is a single document" in headline.details[0]


def test_counting_wins_where_both_stay_behind_a_floor() -> None:
    headline = Headline.of(
        [*FLOORS, result("gpt", 6.5), result("adamw", 5.8)],
        [
            comparison("gpt", "adamw", 0.7, 0.1),
            *against_floors("gpt", 6.5),
            *against_floors("adamw", 5.8),
        ],
    )
    assert headline.title.startswith("Counting wins: the bigram floor, 5.700 nats per token")
    assert "beats AdamW GPT-2 (5.800) and the crystalline GPT (6.500)" in headline.title
    assert "0.600 to 0.800" in plain(headline.details[0])


@pytest.mark.parametrize(("loss", "half"), [(5.8, 0.2), (5.8, None), (5.7, 0.0)])
def test_counting_wins_nothing_that_its_intervals_do_not_establish(
    loss: float, half: float | None
) -> None:
    headline = Headline.of(
        [*FLOORS, result("gpt", 6.5), result("adamw", loss)],
        [
            comparison("gpt", "adamw", 6.5 - loss, 0.1),
            *against_floors("gpt", 6.5),
            *against_floors("adamw", loss, half),
        ],
    )
    assert headline.title.startswith(f"AdamW GPT-2 wins: {loss:.3f} against 6.500")
    assert headline.details[1].startswith("The crystalline GPT does not beat the bigram floor")
    assert headline.details[2].startswith(
        f"AdamW GPT-2 is not distinguishable from the bigram floor: {loss:.3f} against 5.700"
    )


def test_no_floor_is_beaten_where_an_interval_contains_zero() -> None:
    headline = Headline.of([*FLOORS, result("gpt", 5.6)], against_floors("gpt", 5.6, 0.15))
    (detail,) = headline.details
    assert "is not distinguishable from the bigram floor: 5.600 against 5.700" in detail
    assert "contains zero" in detail
    headline = Headline.of([*FLOORS, result("gpt", 5.6)], [])
    assert "no interval could be computed" in headline.details[0]


def test_a_higher_floor_that_is_not_beaten_for_sure_is_named() -> None:
    comparisons = [comparison("gpt", "unigram", -1.1, 1.2), comparison("gpt", "bigram", -0.2, 0.1)]
    headline = Headline.of([*FLOORS, result("gpt", 5.5)], comparisons)
    assert "not distinguishable from the unigram floor: 5.500 against 6.600" in headline.details[0]


@pytest.mark.parametrize(
    ("loss", "told"),
    [
        (8.9, "beats every floor; the lowest is the uniform's"),
        (9.0, "not distinguishable"),
        (9.1, "does not beat the uniform floor (9.000)"),
    ],
)
def test_uniform_is_never_compared_so_its_plain_loss_decides(loss: float, told: str) -> None:
    headline = Headline.of([FLOORS[0], result("gpt", loss)], [])
    assert told in headline.details[0]


def test_an_interval_that_contains_zero_is_no_difference() -> None:
    headline = Headline.of(
        [result("gpt", 5.29), result("adamw", 5.3)], [comparison("gpt", "adamw", -0.01, 0.05)]
    )
    assert headline.title.startswith("No difference is established")
    assert "contains zero" in headline.details[0]


def test_a_lower_loss_without_an_interval_is_not_called_a_win() -> None:
    for comparisons in ([], [comparison("gpt", "adamw", -0.4, None)]):
        headline = Headline.of([result("gpt", 4.9), result("adamw", 5.3)], comparisons)
        assert headline.title.startswith("The crystalline GPT has the lower test loss")
        assert "no interval could be computed" in headline.details[0]


def test_one_model_alone_is_compared_with_the_floors_only() -> None:
    headline = Headline.of([*FLOORS, result("gpt", 6.7)], against_floors("gpt", 6.7))
    assert "this run has no AdamW baseline" in headline.title
    assert headline.details == (
        "The crystalline GPT does not beat the bigram floor (5.700), which only counts tokens.",
    )
    assert "no gradient-free model" in Headline.of([result("adamw", 5.3)], []).title


def test_without_results_nothing_is_claimed() -> None:
    assert Headline.of([], []).title == "No model has been scored yet"
    assert Headline.of(FLOORS, []).title == "No model has been scored yet"


def test_validation_picks_the_contender_not_test() -> None:
    results = [result("gpt", 5.0, 5.6), result("mixture", 5.1, 5.5), result("adamw", 4.0)]
    contender = Models.contender(results)
    assert contender is not None
    assert contender["model"] == "mixture"


def test_intervals_over_documents_and_over_blocks_stand_side_by_side() -> None:
    results = [result("gpt", 6.3), result("adamw", 5.3)]
    rows = [comparison("gpt", "adamw", 1.0, 0.1, "block"), comparison("gpt", "adamw", 1.0, 0.2)]
    rows[0]["n_units"] = 900
    headline = Headline.of(results, rows)
    assert headline.title.startswith("AdamW GPT-2 wins")
    told = "0.800 to 1.200, paired bootstrap over 40 documents; 0.900 to 1.100, over 900 blocks"
    assert told in plain(headline.details[0])
    rows[1] = comparison("gpt", "adamw", 1.0, None)
    detail = plain(Headline.of(results, rows).details[0])
    assert "(95 % interval 0.900 to 1.100, paired bootstrap over 900 blocks)" in detail


@pytest.mark.parametrize(("documents", "blocks"), [(1.2, 0.1), (0.1, 1.2)])
def test_a_win_needs_both_intervals(documents: float, blocks: float) -> None:
    rows = [
        comparison("adamw", "gpt", -1.0, documents),
        comparison("adamw", "gpt", -1.0, blocks, "block"),
    ]
    headline = Headline.of([result("gpt", 6.3), result("adamw", 5.3)], rows)
    assert headline.title.startswith("No difference is established")
    assert headline.details[0].count("which contains zero") == 1
