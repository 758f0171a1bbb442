from typing import Any

import pyarrow as pa
import pytest

from clso.artifacts import Run, load_run, table_from_rows
from clso.errors import MeterError
from clso.report import energy
from clso.report.baseline import _rate_sentence, _trials_table
from clso.report.energy import _energy_ratio, _source_notes, energy_table
from clso.report.html import Block
from clso.report.models import Models
from clso.report.run import _data_table
from clso.report.search import (
    _count_sentence,
    _filter_sentences,
    _stop_sentence,
    _surrogate_sentences,
    search_sections,
)
from clso.statistics.search_summary import SearchSummary


def plain(text: str) -> str:
    return text.replace("\u00a0", " ")


def with_result(run: Run, model: str, **values: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - any cell
    return [{**row, **values} if row["model"] == model else row for row in run.results.to_pylist()]


def told(evaluations: pa.Table) -> list[str]:
    return _surrogate_sentences(SearchSummary(evaluations, "gpt"))


def energy_sentences(results: list[dict[str, Any]], rows: list[dict[str, Any]]) -> list[str]:
    return energy._energy_sentences(results, rows, Models())


def test_energy_ratios_need_one_meter() -> None:
    assert _energy_ratio(6.0, "rapl", 3.0, "rapl") == 2.0
    with pytest.raises(MeterError, match="the meters differ"):
        _energy_ratio(6.0, "rapl", 3.0, "cpu_model")
    for a, b in ((None, 3.0), (3.0, None), (3.0, 0.0)):
        with pytest.raises(MeterError, match="was not measured"):
            _energy_ratio(a, "rapl", b, "rapl")


def test_failures_are_told_only_where_there_are_any(run: Run) -> None:
    whole = SearchSummary(run.evaluations, "gpt")
    assert "1 of them without a finite loss" in _count_sentence(whole)
    early = run.evaluations.slice(0, 32)
    assert "finite" not in _count_sentence(SearchSummary(early, "gpt"))


def test_the_end_of_a_search_is_told_once_it_ended() -> None:
    assert _stop_sentence("patience") == (
        "It ended because the best loss had not improved for as long as search.patience allows."
    )
    assert _stop_sentence(None) == ""


def test_a_hope_that_was_evaluated_later_is_set_right(run: Run) -> None:
    rows = run.evaluations.to_pylist()
    rows[3] |= {"genome_hash": "never-scored", "evaluated_loss": 6.9}
    sentence = told(table_from_rows(rows, "evaluations"))[-1]
    assert sentence.endswith("The same model evaluated to 6.900, 5.246 higher than predicted.")


def test_a_modest_prediction_is_told_as_one(run: Run) -> None:
    rows = run.evaluations.to_pylist()
    rows[3] |= {"genome_hash": "never-scored", "evaluated_loss": 1.6}
    assert told(table_from_rows(rows, "evaluations"))[-1].endswith("0.054 lower than predicted.")


def test_a_prediction_whose_evaluation_failed_is_told_as_one(run: Run) -> None:
    rows = run.evaluations.to_pylist()
    rows[3] |= {"genome_hash": "never-scored", "status": "failed", "evaluated_loss": None}
    sentence = told(table_from_rows(rows, "evaluations"))[-1]
    assert "The evaluation of that model gave no finite loss" in sentence
    assert "never evaluated" not in sentence


def test_a_surrogate_that_never_started_is_said_not_to_have(run: Run) -> None:
    assert told(run.evaluations.slice(0, 5 * 16)) == [
        "The surrogate never started, so no individual was predicted."
    ]


def test_the_filter_is_told_by_kind_with_its_control_and_what_asking_cost(run: Run) -> None:
    rows = run.generations.to_pylist()
    start = next(row["generation"] for row in rows if row["surrogate"])
    rows[start] |= {"surrogate": "gaussian_process", "n_discarded": 20}
    summary = SearchSummary(run.evaluations, "gpt", table_from_rows(rows, "generations"))
    found = summary.filtered()
    n_generations = len(rows) - start
    assert found.generations == {"mlp": n_generations - 1, "gaussian_process": 1}
    assert found.spared == 8 * n_generations + 20
    asked = {"n_predictions": 1000, "surrogate_energy_j": 2.0}
    control, cost = map(plain, _filter_sentences(summary, asked))
    assert f"mlp {n_generations - 1}, gaussian process 1" in control
    assert f"Evaluations drawn at random, as a control: {n_generations}." in control
    assert cost == (
        "It was asked for 1,000 predictions: 2 mJ each, fitting included. An evaluation took 1.1 J."
    )
    assert len(_filter_sentences(summary, {"n_predictions": 10, "surrogate_energy_j": None})) == 1


def test_a_search_that_nobody_filtered_says_nothing_of_a_filter(run: Run) -> None:
    rows = [{**row, "surrogate": None} for row in run.generations.to_pylist()]
    summary = SearchSummary(run.evaluations, "gpt", table_from_rows(rows, "generations"))
    assert _filter_sentences(summary, {}) == []


def test_the_winner_is_followed_from_search_to_test(run: Run) -> None:
    row = run.evaluations.slice(4, 1).to_pylist()[0]
    results = run.results.to_pylist()
    gpt = next(result for result in results if result["model"] == "gpt")
    followed = load_run(run.path)
    followed.manifest["best"] = {"gpt": {"genome_hash": row["genome_hash"]}}

    def steps(results: list[dict[str, Any]]) -> list[tuple[str, str]]:
        (section,) = search_sections(followed, results)
        return next(
            block.content
            for block in section.blocks
            if isinstance(block, Block) and block.kind == "steps"
        )

    assert [value for _, value in steps(results)] == [
        f"{loss:.3f}" for loss in (row["evaluated_loss"], gpt["validation_loss"], gpt["test_loss"])
    ]
    assert len(steps([])) == 1


def test_cpu_model_joules_give_a_cpu_time_ratio(run: Run) -> None:
    sentences = energy_sentences(run.results.to_pylist(), run.energy.to_pylist())
    assert "CPU-time ratio 0.37" in sentences[0]
    assert plain(sentences[1]) == "Against AdamW's whole sweep (1.69 kJ) it is 0.12."


@pytest.mark.parametrize(
    ("source", "estimated", "kind"),
    [
        ("rapl", False, "energy ratio 0.37"),
        ("cpu_model+nvml", True, "energy ratio, estimated in part, 0.37"),
    ],
)
def test_measured_joules_give_an_energy_ratio(
    run: Run, source: str, estimated: bool, kind: str
) -> None:
    meter = {"energy_source": source, "estimated": estimated}
    rows = [{**row, **meter} for row in run.results.to_pylist()]
    sentences = energy_sentences(rows, run.energy.to_pylist())
    assert kind in sentences[0]
    # the sweep was metered by something else, so it is not set against it
    assert len(sentences) == 1


def test_ratios_across_meters_are_refused_in_words(run: Run) -> None:
    rows = with_result(run, "adamw", energy_source="rapl", estimated=False)
    assert energy_sentences(rows, run.energy.to_pylist()) == [
        "No energy ratio: the meters differ (cpu_model and rapl)."
    ]


def test_an_unmeasured_model_has_no_ratio(run: Run) -> None:
    rows = with_result(run, "gpt", energy_j=None, energy_source=None, estimated=None)
    assert energy_sentences(rows, []) == ["No energy ratio: one of the two was not measured."]
    assert energy_sentences([], run.energy.to_pylist()) == []


def test_a_reused_stage_says_so_and_an_unmeasured_one_has_dashes(run: Run) -> None:
    rows = run.energy.to_pylist()
    rows[1] |= {"energy_j": None, "mean_power_w": None, "energy_source": None, "estimated": None}
    reused, unmeasured, *_ = energy_table(table_from_rows(rows, "energy")).rows
    assert reused.cells[0] == "prepare (reused)"
    dash = "\u2014"
    assert unmeasured.cells[1:3] == (("cpu", "not measured"), dash)
    assert unmeasured.cells[4] == dash
    rows[1]["reason"] = "NVML refuses gpu0"
    _, refused, *_ = energy_table(table_from_rows(rows, "energy")).rows
    assert refused.cells[1] == ("cpu", "NVML refuses gpu0")


def test_each_meter_is_explained_once(run: Run) -> None:
    rows = run.energy.to_pylist()
    rows[0]["energy_source"] = "nvml+rapl"
    rows[1]["energy_source"] = None
    notes = _source_notes(rows)
    assert [note.split(":")[0] for note in notes] == ["cpu_model", "nvml", "rapl"]


def test_trials_stand_by_loss_and_a_diverged_one_last(run: Run) -> None:
    rows = run.baseline.to_pylist()
    for row in rows:
        if row["lr"] == 1e-3:
            row |= {"train_loss": None, "validation_loss": None}
    lines = _trials_table(table_from_rows(rows, "baseline")).rows
    assert [str(line.cells[0]).split(",")[0] for line in lines] == [
        "rate 0.002",
        "rate 0.004",
        "rate 0.001",
    ]
    assert [line.emphasis for line in lines] == ["best", "", ""]
    assert lines[-1].cells[1] == "no finite loss"


def trials(run: Run, **changes: dict[float, Any]) -> pa.Table:
    """Return the baseline with columns changed by learning rate; the best rate is 0.002."""
    rows = run.baseline.to_pylist()
    for row in rows:
        rate = row["lr"]
        row |= {column: by_rate[rate] for column, by_rate in changes.items() if rate in by_rate}
    return table_from_rows(rows, "baseline")


def test_a_best_rate_between_others_needs_no_word(run: Run) -> None:
    assert _rate_sentence(run.baseline) == ""
    assert _rate_sentence(run.baseline.slice(0, 0)) == ""


@pytest.mark.parametrize(
    ("moved", "edge"), [({4e-3: 1.5e-3}, "largest"), ({1e-3: 3e-3}, "smallest")]
)
def test_a_best_rate_at_the_edge_is_disclosed(
    run: Run, moved: dict[float, float], edge: str
) -> None:
    assert _rate_sentence(trials(run, lr=moved)) == (
        f"The best learning rate is the {edge} that was tried: a better rate may lie beyond."
    )


@pytest.mark.parametrize(
    ("column", "other"),
    [("schedule", "constant"), ("batch_size", 8), ("dropout", 0.1), ("passes", 2)],
)
def test_rates_of_trials_that_differ_otherwise_are_no_neighbours(
    run: Run, column: str, other: object
) -> None:
    assert "largest" in _rate_sentence(trials(run, **{column: {4e-3: other}}))
    alone = trials(run, **{column: {1e-3: other, 4e-3: other}})
    assert _rate_sentence(alone) == "Only one learning rate was tried."


def test_a_rate_that_diverged_was_tried_too(run: Run) -> None:
    assert _rate_sentence(trials(run, validation_loss={4e-3: None}, train_loss={4e-3: None})) == ""


def test_data_without_the_runs_view_has_dashes_for_it() -> None:
    split = {"documents": 3, "bytes": 1000, "tokens": 260}
    (row,) = _data_table({"splits": {"train": split}}).rows
    assert row.texts() == (
        ("train", ""),
        ("3", ""),
        ("260", "1\u00a0kB"),
        ("\u2014", ""),
        ("\u2014", ""),
    )
    assert _data_table({}).rows == []
