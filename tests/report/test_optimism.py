from typing import Any

import pytest

from clso.artifacts import Run, load_run
from clso.report.run import report_page
from clso.report.search import _optimism_sentence
from clso.statistics.search_summary import winners_optimism

BEST = {"gpt": {"search_loss": 5.0}, "mixture": {"search_loss": 4.5, "refitted_on": ["tune"]}}
RESULTS: list[dict[str, Any]] = [
    {"model": "unigram", "validation_loss": 6.0, "test_loss": 6.125},
    {"model": "gpt", "validation_loss": 5.25, "test_loss": 5.5},
    {"model": "mixture", "validation_loss": None, "test_loss": 4.25},
]


def test_the_differences_are_those_of_the_losses() -> None:
    found = winners_optimism(BEST, RESULTS)
    assert found["gpt"] == {
        "search_loss": 5.0,
        "validation_loss": 5.25,
        "test_loss": 5.5,
        "validation_minus_search": 0.25,
        "test_minus_search": 0.5,
    }
    assert found["mixture"]["validation_minus_search"] is None
    assert found["mixture"]["test_minus_search"] == -0.25


@pytest.mark.parametrize("best", [{}, {"gpt": {}}, {"gpt": {"search_loss": None}}])
def test_without_a_winner_nothing_is_said(best: dict[str, Any]) -> None:
    assert winners_optimism(best, RESULTS) == {}
    assert _optimism_sentence(best, RESULTS, "gpt") == ""


def test_the_sentence_sets_the_splits_own_difference_beside_it() -> None:
    sentence = _optimism_sentence(BEST, RESULTS, "gpt")
    assert (
        "validation split the loss changes by +0.250. To the test split it changes by +0.500."
        in sentence
    )
    assert "the loss of the unigram, which no search chose, changes by +0.125" in sentence
    assert "tune" not in sentence
    assert "was fitted on tune too" in _optimism_sentence(BEST, RESULTS, "mixture")
    assert "unigram" not in _optimism_sentence(BEST, RESULTS[1:], "gpt")


def test_the_report_tells_it_where_it_tells_what_looked_too_good(make_run: Any) -> None:  # noqa: ANN401 - a fixture
    run: Run = make_run()
    assert "looked too good." not in report_page(run).html()
    run.folder.write_manifest({**run.manifest, "best": {"gpt": {"search_loss": 6.5}}})
    assert (
        "Where the change is positive, the winner looked too good."
        in report_page(load_run(run.path)).html()
    )
