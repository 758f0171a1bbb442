from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from rich.console import Console
from scipy import stats

from clso.artifacts import table_from_rows
from clso.report.style import figure_svg
from clso.report.terminal import TerminalTable
from clso.statistics.picks import mean_similarity
from clso.studies.ablations import Ablation, Effect, Selections


def effects(table: pa.Table, family: str) -> list[Effect]:
    return Ablation(table, family).effects


def exact_interval(successes: float, n: int) -> tuple[float, float]:
    """Return Clopper and Pearson's interval of a count, whole or not."""
    low = stats.beta.ppf(0.025, successes, n - successes + 1) if successes > 0 else 0.0
    high = stats.beta.ppf(0.975, successes + 1, n - successes) if successes < n else 1.0
    return float(low), float(high)


GENES = [
    {"slot": "up", "genes": 1, "families": [["sparse", 3], ["low_rank", 1]]},
    {"slot": "down", "genes": 1, "families": [["sparse", 2]]},
]


def row(arm: str, seed: int, loss: float, **values: object) -> dict[str, Any]:
    factor, _, level = arm.partition("=")
    return {
        "run_id": "run",
        "seed": seed,
        "family": "gpt",
        "arm": arm,
        "factor": factor if level else None,
        "level": level or None,
        "loss": loss,
        "held_back_loss": loss + 0.5,
        "evaluations": 20,
        "predictions": 0,
        "tokens": 100,
        "duration_s": 1.0,
        "energy_j": 10.0,
        "energy_source": "rapl",
        "estimated": False,
        "surrogate_energy_j": None,
        "n_finalists": 2,
        "finalists": [3, 0, 0, 1],
        **values,
    }


def table_of(losses: Mapping[str, Sequence[float]], **values: object) -> pa.Table:
    rows = [
        row(arm, seed, loss, **(values if arm != "base" else {}))
        for arm, every in losses.items()
        for seed, loss in enumerate(every)
    ]
    return table_from_rows(rows, "ablations")


STUDY = {
    "base": [5.0, 5.2, 5.1],
    "size=32": [4.8, 5.1, 4.9],
    "size=128": [5.1, 5.3, 5.2],
    "rate=0.2": [5.0, 5.1, 5.3],
}


def test_arms_are_held_against_the_base_seed_by_seed() -> None:
    found = effects(table_of(STUDY), "gpt")
    assert [(one.factor, one.level) for one in found] == [
        ("size", "32"),
        ("size", "128"),
        ("rate", "0.2"),
    ]
    smaller = found[0]
    expected = stats.ttest_rel(STUDY["size=32"], STUDY["base"])
    low, high = expected.confidence_interval(0.95)
    assert smaller.held_back.mean == pytest.approx(np.mean([-0.2, -0.1, -0.2]))
    assert (smaller.held_back.low, smaller.held_back.high) == pytest.approx((low, high))
    assert smaller.searched.mean == pytest.approx(smaller.held_back.mean)
    assert smaller.p_value == pytest.approx(min(1.0, 2 * expected.pvalue))
    assert smaller.signed_rank_p is None
    assert smaller.n_seeds == 3
    assert Ablation(table_of(STUDY), "gpt").base_loss == pytest.approx(5.6)


def test_only_seeds_that_both_have_are_compared() -> None:
    study = {"base": [5.0, 5.0], "size=32": [4.0, 4.0, 9.0]}
    (found,) = effects(table_of(study), "gpt")
    assert found.n_seeds == 2
    assert found.held_back.mean == pytest.approx(-1.0)


def test_joules_of_other_meters_or_none_have_no_ratio() -> None:
    assert effects(table_of(STUDY, energy_j=5.0), "gpt")[0].energy_ratio == pytest.approx(0.5)
    assert effects(table_of(STUDY, energy_source="nvml"), "gpt")[0].energy_ratio is None
    unmeasured = {"energy_j": None, "energy_source": None, "estimated": None}
    assert effects(table_of(STUDY, **unmeasured), "gpt")[0].energy_ratio is None


def test_the_sentence_counts_before_and_after_the_correction() -> None:
    sentence = Ablation(table_of(STUDY), "gpt").sentence()
    assert "Held-back loss of 3 arms against the base: 1 lower, 1 higher, 1 undecided" in sentence
    assert "Holm's correction for 3 comparisons" in sentence
    assert "no arm" in Ablation(table_from_rows([], "ablations"), "gpt").sentence()


def test_the_tables_fit_80_columns() -> None:
    table = Ablation(table_of(STUDY), "gpt").table("Ablation")
    console = Console(width=80, record=True, file=None)
    with console.capture() as capture:
        console.print(TerminalTable(table))
        console.print(TerminalTable(Selections(selections(), "gpt").table("GPT")))
    printed = capture.get()
    assert "…" not in printed
    for expected in ("size", "32", "0.2", "low rank", "chance"):
        assert expected in printed
    assert table.rows[1].texts()[3][1] == "—"


def selections() -> pa.Table:
    rows = Selections.rows_of(table_of({"base": [5.0, 5.1, 5.2]}), "gpt", {"base": GENES})
    named = {"run_id": "run", "seed": 0, "family": "gpt"}
    return table_from_rows([{**named, **one} for one in rows], "selections")


def test_a_seed_gives_the_share_of_its_finalists_and_counts_once() -> None:
    by = {(one["slot"], one["entry_family"]): one for one in selections().to_pylist()}
    # of two finalists one picked entry 3, the only one of its family, in every seed
    picked = by["up", "low_rank"]
    assert (picked["picked"], picked["chance"], picked["n_seeds"]) == (0.5, 0.25, 3)
    assert (picked["ci_low"], picked["ci_high"]) == pytest.approx(exact_interval(1.5, 3))
    assert by["down", "sparse"]["picked"] == by["down", "sparse"]["chance"] == 1.0
    every = by[None, "low_rank"]
    assert (every["picked"], every["chance"]) == (0.25, 0.125)


def test_several_genes_together_have_an_interval_over_the_seeds_shares() -> None:
    genes = [{"slot": "functions", "genes": 2, "families": [["count", 3], ["pointer", 1]]}]
    rows = [
        row("base", seed, 5.0, n_finalists=1, finalists=finalist)
        for seed, finalist in enumerate(([0, 1], [0, 3], [2, 1], [3, 1]))
    ]
    table = table_from_rows(rows, "ablations")
    count, _ = Selections.rows_of(table, "gpt", {"base": genes})
    shares = [1.0, 0.5, 1.0, 0.5]
    low, high = stats.t.interval(0.95, 3, loc=np.mean(shares), scale=stats.sem(shares))
    assert (count["ci_low"], count["ci_high"]) == pytest.approx((low, min(1.0, high)))
    one_seed = Selections.rows_of(table.slice(0, 1), "gpt", {"base": genes})[0]
    assert (one_seed["ci_low"], one_seed["ci_high"]) == pytest.approx(exact_interval(1, 1))


def test_genes_without_a_choice_are_not_shown() -> None:
    rows = Selections(selections(), "gpt").table("GPT").rows
    assert [row.cells for row in rows if row.emphasis == "group"] == [("all genes",), ("up",)]


@pytest.mark.parametrize(("k", "n"), [(0, 1), (1, 1), (0, 5), (2, 5), (15, 17), (40, 40)])
def test_the_interval_of_whole_counts_is_the_exact_binomial_one(k: int, n: int) -> None:
    gene = {"slot": "up", "genes": 1, "families": [["low_rank", 1], ["sparse", 1]]}
    rows = [row("base", seed, 5.0, n_finalists=1, finalists=[int(seed >= k)]) for seed in range(n)]
    (picked, _) = Selections.rows_of(table_from_rows(rows, "ablations"), "gpt", {"base": [gene]})
    expected = stats.binomtest(k, n).proportion_ci(0.95, method="exact")
    assert (picked["ci_low"], picked["ci_high"]) == pytest.approx((expected.low, expected.high))


def test_similarity_is_the_mean_absolute_cosine_of_all_pairs() -> None:
    cosines = np.array([[1.0, -1.0, 0.5], [-1.0, 1.0, np.nan], [0.5, np.nan, np.nan]])
    assert mean_similarity(cosines[:2, :2]) == pytest.approx(1.0)
    assert mean_similarity(cosines) == pytest.approx(0.75)
    assert mean_similarity(cosines[1:, 1:]) is None
    assert mean_similarity(np.empty((0, 0))) is None


def test_similarities_are_of_what_two_seeds_picked_in_one_slot() -> None:
    asked = []

    def similarity(slot: str, options: Sequence[int]) -> float:
        asked.append((slot, list(options)))
        return 0.5

    table = table_of({"base": [5.0, 5.1], "size=32": [5.0, 5.1]})
    rows = Selections.rows_of(table, "gpt", {"base": GENES, "size=32": GENES}, similarity)
    assert ("up", [3, 3]) in asked
    assert ("up", [0, 1, 2]) in asked
    assert {one["similarity"] for one in rows if one["arm"] == "base"} == {0.5, None}
    assert {one["similarity"] for one in rows if one["arm"] == "size=32"} == {None}


def test_the_figures_name_every_level_and_family() -> None:
    figure = Ablation(table_of(STUDY), "gpt").figure("blue")
    assert figure is not None
    svg = figure_svg(figure, "ablations", "differences")
    for label in ("size", "128", "rate", "held back", "searched"):
        assert label in svg
    figure = Selections(selections(), "gpt").figure("blue")
    assert figure is not None
    assert "low rank" in figure_svg(figure, "selections", "shares")
    assert Ablation(table_from_rows([], "ablations"), "gpt").figure("blue") is None
    assert Selections(table_from_rows([], "selections"), "gpt").figure("blue") is None


def test_an_arm_that_is_broken_leaves_the_others_to_be_told_apart() -> None:
    def scale(losses: Mapping[str, Sequence[float]]) -> str:
        figure = Ablation(table_of(losses), "gpt").figure("blue")
        assert figure is not None
        return figure.axes[0].get_xscale()

    assert scale(STUDY) == "linear"
    assert scale({**STUDY, "bias=off": [15.0, 15.1, 15.2]}) == "symlog"
