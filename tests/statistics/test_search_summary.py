from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from clso.artifacts import Run, table_from_rows
from clso.report.search import _count_sentence, _surrogate_sentences
from clso.statistics.search_summary import SearchSummary

MakeRun = Callable[..., Run]


def changed(table: pa.Table, position: int, **values: Any) -> pa.Table:  # noqa: ANN401 - any cell
    rows = table.to_pylist()
    rows[position].update(values)
    return table_from_rows(rows, "evaluations")


def test_every_individual_is_counted_once_under_its_status(run: Run) -> None:
    counts = SearchSummary(run.evaluations, "gpt").counts
    assert counts.individuals == run.evaluations.num_rows == 12 * 16
    assert counts.evaluated + counts.cached + counts.predicted + counts.failed == 12 * 16
    recorded = [
        sum(run.generations[f"n_{status}"].to_pylist())
        for status in ("evaluated", "predicted", "cached", "failed")
    ]
    assert recorded == [counts.evaluated, counts.predicted, counts.cached, counts.failed]
    assert counts.generations == 12
    assert counts.distinct_evaluated <= counts.evaluated


def test_the_surrogate_starts_with_its_first_prediction(make_run: MakeRun) -> None:
    assert SearchSummary(make_run().evaluations, "gpt").counts.surrogate_generation == 5


def test_a_surrogate_that_never_started_is_known_as_such(make_run: MakeRun) -> None:
    evaluations = make_run(surrogate_start=5, generations=5).evaluations
    assert SearchSummary(evaluations, "gpt").counts.surrogate_generation is None
    assert SearchSummary(evaluations, "gpt").lowest_prediction() is None
    assert SearchSummary(evaluations, "gpt").rank_correlation() is None


def test_a_prediction_never_becomes_the_best_loss(run: Run) -> None:
    best = SearchSummary(run.evaluations, "gpt").best_loss()
    assert best == pc.min(run.evaluations["evaluated_loss"]).as_py()
    lowest = SearchSummary(run.evaluations, "gpt").lowest_prediction()
    assert lowest is not None
    assert lowest.predicted_loss == 1.6538 < best
    assert lowest.evaluated_loss is None


def test_a_hope_is_set_beside_its_later_evaluation(run: Run) -> None:
    last = run.evaluations.num_rows - 1
    assert run.evaluations["genome_hash"][last].as_py() == "never-scored"
    scored = changed(run.evaluations, 3, genome_hash="never-scored", evaluated_loss=6.9)
    lowest = SearchSummary(scored, "gpt").lowest_prediction()
    assert lowest is not None
    assert (lowest.predicted_loss, lowest.evaluated_loss) == (1.6538, 6.9)
    assert not lowest.failed


def test_a_hope_whose_evaluation_failed_is_not_called_unevaluated(run: Run) -> None:
    failed = changed(
        run.evaluations, 3, genome_hash="never-scored", status="failed", evaluated_loss=None
    )
    lowest = SearchSummary(failed, "gpt").lowest_prediction()
    assert lowest is not None
    assert (lowest.evaluated_loss, lowest.failed) == (None, True)


def test_pairs_are_predictions_that_an_evaluation_followed(run: Run) -> None:
    pairs = SearchSummary(run.evaluations, "gpt").pairs()
    assert pairs.num_rows == 7 * 6
    assert set(pairs["status"].to_pylist()) == {"evaluated"}


def test_rank_correlation_is_of_the_pairs(run: Run) -> None:
    correlation = SearchSummary(run.evaluations, "gpt").rank_correlation()
    assert correlation is not None
    assert 0.3 < correlation < 1.0


def test_predictions_that_are_all_alike_have_no_rank_correlation(run: Run) -> None:
    rows = run.evaluations.to_pylist()
    for row in rows:
        row["predicted_loss"] = None if row["predicted_loss"] is None else 6.0
    table = table_from_rows(rows, "evaluations")
    assert SearchSummary(table, "gpt").rank_correlation() is None


def test_one_model_of_the_search_can_be_asked_for(run: Run) -> None:
    row = run.evaluations.slice(4, 1).to_pylist()[0]
    assert (
        SearchSummary(run.evaluations, "gpt").best_loss(row["genome_hash"]) == row["evaluated_loss"]
    )
    assert SearchSummary(run.evaluations, "gpt").best_loss("unheard-of") is None


def test_a_search_without_rows_has_nothing_to_tell() -> None:
    nothing = table_from_rows([], "evaluations")
    assert SearchSummary(nothing, "gpt").counts.individuals == 0
    assert SearchSummary(nothing, "gpt").best_loss() is None


@pytest.mark.parametrize("other", ["mixture"])
def test_families_are_kept_apart(run: Run, other: str) -> None:
    table = changed(run.evaluations, 0, family=other, evaluated_loss=1.0)
    assert SearchSummary(table, other).counts.individuals == 1
    best = SearchSummary(table, "gpt").best_loss()
    assert best is not None
    assert best > 1.0


def test_who_was_ruled_out_on_a_part_of_the_batches_is_counted_and_told(run: Run) -> None:
    last = run.evaluations.num_rows - 1
    screened = changed(
        run.evaluations,
        last,
        status="screened",
        screening_loss=6.6,
        fidelity=0.25,
        tokens=1280,
    )
    counts = SearchSummary(screened, "gpt").counts
    assert counts.screened == 1
    assert counts.tokens == SearchSummary(run.evaluations, "gpt").counts.tokens + 1280
    sentence = _count_sentence(SearchSummary(screened, "gpt"))
    assert "Ruled out on a part of the batches: 1." in sentence
    lowest = SearchSummary(screened, "gpt").lowest_prediction()
    assert lowest is not None
    assert (lowest.screened, lowest.evaluated_loss) == (True, None)
    told = _surrogate_sentences(SearchSummary(screened, "gpt"))[-1]
    assert "A part of the batches ruled that model out" in told
