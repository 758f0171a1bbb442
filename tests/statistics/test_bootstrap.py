from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clso.artifacts import table_from_rows
from clso.statistics.bootstrap import (
    BASELINES,
    FLOORS,
    BootstrapSettings,
    ModelCost,
    ordered_models,
)
from clso.statistics.scores import Totals

ScoresOf = Callable[..., pa.Table]
FAST = BootstrapSettings(resamples=300)
SEED = 3


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    settings, hits = BootstrapSettings(confidence=0.9, resamples=300), 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        tokens = rng.integers(50, 200, 40).astype(float)
        nll = tokens * (2.0 + rng.normal(0, 0.5, 40))
        low, high = settings.interval(nll, tokens, seed=seed)
        assert low is not None
        assert high is not None
        hits += low <= 2.0 <= high
    assert 0.82 <= hits / 200 <= 0.96


def test_a_ratio_of_sums_weighs_units_by_their_tokens() -> None:
    nll, tokens = np.array([10.0, 1000.0]), np.array([10.0, 500.0])
    low, high = BootstrapSettings(confidence=0.99, resamples=2000).interval(nll, tokens, seed=0)
    assert (low, high) == (pytest.approx(1.0), pytest.approx(2.0))


def test_one_unit_gives_no_interval() -> None:
    interval = FAST.interval(np.ones(1), np.ones(1), seed=0)
    assert interval == (None, None)


def test_equal_units_give_an_interval_without_width() -> None:
    low, high = FAST.interval(np.full(30, 6.0), np.full(30, 3.0), seed=0)
    assert (low, high) == (2.0, 2.0)


def test_the_same_seed_gives_the_same_interval(scores_of: ScoresOf) -> None:
    scores = scores_of({"gpt": 6.0, "adamw": 5.5})
    assert FAST.compare(scores, "gpt", "adamw", seed=SEED) == FAST.compare(
        scores, "gpt", "adamw", seed=SEED
    )


def test_many_short_pieces_are_summed_in_one_order(scores_of: ScoresOf) -> None:
    rng = np.random.default_rng(0)
    scores = scores_of({"mixture": 5.0, "adamw": 5.1}, spread=0.8)
    nll = scores["nll"].to_numpy() * rng.uniform(0.5, 1.5, scores.num_rows)
    scores = scores.set_column(scores.schema.get_field_index("nll"), "nll", pa.array(nll))
    pieces = pa.concat_tables(scores.slice(start, 1) for start in range(scores.num_rows))
    compare = BootstrapSettings(resamples=100).compare
    first = compare(pieces, "mixture", "adamw", seed=0)
    assert all(compare(pieces, "mixture", "adamw", seed=0) == first for _ in range(20))


def test_pairing_sees_a_difference_that_unpaired_intervals_hide(scores_of: ScoresOf) -> None:
    scores = scores_of({"gpt": 5.40, "adamw": 5.33}, spread=0.8)
    apart = FAST.summarize(scores, seed=SEED)
    assert apart[0]["ci_low"] < apart[1]["test_loss"] < apart[0]["ci_high"]
    for row in FAST.compare(scores, "gpt", "adamw", seed=SEED):
        assert 0.0 < row["ci_low"] < row["difference"] < row["ci_high"]
        assert row["difference"] == pytest.approx(apart[0]["test_loss"] - apart[1]["test_loss"])


def test_a_difference_turns_its_sign_with_the_pair(scores_of: ScoresOf) -> None:
    scores = scores_of({"gpt": 6.0, "adamw": 5.5})
    there = FAST.compare(scores, "gpt", "adamw", seed=SEED)[0]
    back = FAST.compare(scores, "adamw", "gpt", seed=SEED)[0]
    assert back["difference"] == -there["difference"]
    assert back["ci_low"] == pytest.approx(-there["ci_high"], rel=1e-3)


def test_documents_and_blocks_stand_beside_each_other(scores_of: ScoresOf) -> None:
    rows = FAST.compare(scores_of({"gpt": 6.0, "adamw": 5.5}), "gpt", "adamw", seed=SEED)
    assert [(row["unit"], row["n_units"]) for row in rows] == [("document", 40), ("block", 20)]
    assert table_from_rows(rows, "comparisons").num_rows == 2


def test_a_single_document_leaves_the_interval_unmeasured(scores_of: ScoresOf) -> None:
    scores = scores_of({"gpt": 6.0, "adamw": 5.5}, documents=1)
    assert {row["ci_low"] for row in FAST.compare(scores, "gpt", "adamw", seed=SEED)} == {None}
    assert FAST.summarize(scores, seed=SEED)[0]["ci_high"] is None


def test_models_scored_on_other_targets_are_not_compared(scores_of: ScoresOf) -> None:
    scores = scores_of({"gpt": 6.0, "adamw": 5.5})
    cut = scores.filter((pc.field("model") != "adamw") | (pc.field("document") > 3))
    with pytest.raises(ValueError, match="'gpt' and 'adamw' were not scored on the same targets"):
        FAST.compare(cut, "gpt", "adamw", seed=SEED)
    with pytest.raises(ValueError, match="not scored on the same targets"):
        FAST.compare(scores, "gpt", "hybrid", seed=SEED)


def test_a_result_is_what_the_pieces_sum_to(scores_of: ScoresOf) -> None:
    scores = scores_of({"adamw": 5.5, "unigram": 6.6, "gpt": 6.0})
    cost = ModelCost(train_tokens=1000, energy_j=3.0, energy_source="rapl", estimated=False)
    rows = FAST.summarize(scores, {"gpt": cost}, seed=SEED)
    assert table_from_rows(rows, "results").num_rows == 3
    assert [row["model"] for row in rows] == ["unigram", "gpt", "adamw"]
    for row in rows:
        found = Totals.of(scores, row["model"])
        assert found is not None
        assert row["test_loss"] == found.loss
        assert row["perplexity"] == pytest.approx(np.exp(row["test_loss"]))
        assert row["bits_per_byte"] == found.bits_per_byte
        assert row["ci_low"] < row["test_loss"] < row["ci_high"]
    assert [row["energy_j"] for row in rows] == [None, 3.0, None]


def test_a_model_without_validation_scores_has_none(scores_of: ScoresOf) -> None:
    scores = scores_of({"gpt": 6.0}).filter(pc.field("split") == "test")
    assert FAST.summarize(scores, seed=SEED)[0]["validation_loss"] is None


def test_a_model_scored_on_validation_alone_is_no_result(scores_of: ScoresOf) -> None:
    scores = scores_of({"gpt": 6.0}).filter(pc.field("split") == "validation")
    assert FAST.summarize(scores, seed=SEED) == []


@given(
    st.permutations(["gpt", "mixture", "zeta", "beta"]),
    st.permutations([*FLOORS, "gpt", "mixture", "zeta", "beta", "alpha", *BASELINES]),
    st.integers(0, 11),
)
def test_results_stand_in_one_order_whatever_the_order_of_the_families(
    searched: list[str], names: list[str], kept: int
) -> None:
    plug_ins = [name for name in searched if name in ("zeta", "beta")]
    expected = [*FLOORS, "gpt", "mixture", *plug_ins, "alpha", *BASELINES]
    shown = names[:kept]
    assert ordered_models(shown, searched) == [name for name in expected if name in shown]


def test_unknown_models_without_a_run_follow_the_built_in_families_by_the_alphabet() -> None:
    names = ["zeta", "adamw", "uniform", "alpha", "hybrid", "gpt"]
    assert ordered_models(names) == ["uniform", "gpt", "alpha", "zeta", "adamw", "hybrid"]
