import json
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from small_search import CARDINALITIES, FULL, SMALL, Additive, Liar, Watched, search

from clso.energy import CpuModelMeter, EnergyMonitor
from clso.genome import Genome, GenomeSpace
from search.settings import Acquisition, LocalSearchSettings, SurrogateSettings
from search.surrogates import FloatArray


def test_the_surrogate_filters_from_generation_start_on() -> None:
    result, rows, generations = search(Watched())
    assert result.surrogate_start == 2
    for row in rows:
        if row["generation"] < 2:
            assert row["predicted_loss"] is None
            assert row["status"] != "predicted"
    for row in generations:
        assert (row["n_predicted"] > 0) == (row["generation"] >= 2)
        if row["generation"] < 2:
            assert row["spearman"] is None
            assert row["topk_recall"] is None
    assert any(row["spearman"] is not None for row in generations)
    assert all(-1 <= row["spearman"] <= 1 for row in generations if row["spearman"] is not None)


def test_a_search_of_start_generations_is_never_filtered() -> None:
    settings = SMALL.replaced(generations=5, surrogate=SurrogateSettings(start=5))
    result, rows, _ = search(Watched(), settings, surrogate=Liar)
    assert result.surrogate_start is None
    assert result.surrogate_cost is None
    assert result.surrogate_energy_j is None
    assert result.lowest_prediction is None
    assert result.counts.n_predicted == 0
    assert all(row["predicted_loss"] is None for row in rows)


def test_at_least_a_tenth_of_the_screened_evaluations_is_random() -> None:
    settings = SMALL.replaced(generations=20, population=20, local_search=_NO_LOCAL)
    result, rows, _ = search(Watched(), settings)
    start = result.surrogate_start
    assert start is not None
    screened = [r for r in rows if r["generation"] >= start and r["status"] == "evaluated"]
    assert result.n_random >= 0.1 * len(screened)
    # the control shows: some evaluated rows were not among the lowest predictions
    passed_over = 0
    for generation in range(start, result.n_generations):
        own = [r for r in rows if r["generation"] == generation and r["predicted_loss"] is not None]
        own.sort(key=lambda r: r["predicted_loss"])
        n_evaluated = sum(r["status"] == "evaluated" for r in own)
        passed_over += sum(r["status"] == "predicted" for r in own[:n_evaluated])
    assert 0 < passed_over <= result.n_random


_NO_LOCAL = LocalSearchSettings(enabled=False)


@pytest.mark.parametrize("random_fraction", [0.1, 0.35, 1.0])
@pytest.mark.parametrize(
    ("neighbours", "every", "limit", "cardinalities"),
    [
        (2, 1, None, CARDINALITIES),
        (15, 1, None, CARDINALITIES),  # more than screening gives
        (4, 3, 100, CARDINALITIES),
        (4, 1, None, (6, 6, 6)),  # in the end no unknown child is left to draw from
    ],
)
def test_after_every_generation_the_control_covers_local_search_too(
    random_fraction: float,
    neighbours: int,
    every: int,
    limit: int | None,
    cardinalities: tuple[int, ...],
    tmp_path: Path,
) -> None:
    settings = SMALL.replaced(
        generations=15,
        max_evaluations=limit,
        surrogate=SMALL.surrogate.replaced(random_fraction=random_fraction),
        local_search=LocalSearchSettings(neighbours=neighbours, every=every),
    )
    state_path, saved = tmp_path / "state.json", []

    def look() -> bool:
        if state_path.exists():
            saved.append(json.loads(state_path.read_text()))
        return False

    result, rows, _ = search(
        Watched(fails=lambda genome: genome[0] == 1, cardinalities=cardinalities),
        settings,
        state_path=state_path,
        should_stop=look,
    )
    look()
    start = result.surrogate_start
    assert start == 2
    assert [state["generations"] for state in saved] == list(range(1, result.n_generations + 1))
    for state in saved:
        n_scored = sum(
            start <= row["generation"] < state["generations"]
            and row["status"] in ("evaluated", "failed")
            for row in rows
        )
        evaluations, at_random = state["screened"]
        assert evaluations == n_scored
        assert at_random >= random_fraction * n_scored - 1e-9
    assert any(row["origin"] == "local_search" and row["generation"] >= start for row in rows)


def test_local_search_steps_where_the_prediction_is_lowest() -> None:
    class ByFirstGene(Liar):
        def predict(self, genomes: Sequence[Genome]) -> tuple[FloatArray, FloatArray]:
            return np.array([float(genome[0]) for genome in genomes]), np.zeros(len(genomes))

    # a control this small is paid by the screening, so local search is left to the prediction
    settings = SMALL.replaced(local_search=LocalSearchSettings(neighbours=1))
    _, rows, _ = search(Watched(), settings, surrogate=ByFirstGene)
    steps = [row for row in rows if row["origin"] == "local_search" and row["generation"] >= 2]
    assert len(steps) == 5
    incumbents = [
        min(
            (
                row
                for row in rows
                if row["generation"] <= step["generation"]
                and row["evaluated_loss"] is not None
                and (row["generation"], row["origin"]) != (step["generation"], "local_search")
            ),
            key=lambda row: row["evaluated_loss"],
        )["genome"]
        for step in steps
    ]
    for step, incumbent in zip(steps, incumbents, strict=True):
        assert step["predicted_loss"] == step["genome"][0] <= incumbent[0]


@pytest.mark.parametrize("says", [-1000.0, -1e300])
def test_a_predicted_loss_never_becomes_a_result(says: float) -> None:
    problem = Watched()
    result, rows, generations = search(
        problem, surrogate=lambda slots, seed: Liar(slots, seed, says=says)
    )
    measured = {problem.loss(genome) for genome in problem.seen}
    assert result.best.loss == min(measured)
    assert {finalist.loss for finalist in result.finalists} <= measured
    assert result.lowest_prediction is not None
    assert result.lowest_prediction.predicted_loss == says
    for row in generations:
        assert row["best_loss"] in measured
        assert row["mean_loss"] > 0
    for row in rows:
        if row["status"] == "predicted":
            assert row["evaluated_loss"] is None
        if row["origin"] == "elite":
            assert row["evaluated_loss"] in measured


def test_selection_never_believes_a_prediction_below_the_incumbent(tmp_path: Path) -> None:
    state_path = tmp_path / "state.json"
    result, rows, _ = search(Watched(), surrogate=Liar, state_path=state_path)
    parents = json.loads(state_path.read_text())["parents"]
    last = [row for row in rows if row["generation"] == result.n_generations - 1]
    assert len(parents) == len(last)
    for (_, believed), row in zip(parents, last, strict=True):
        expected = result.best.loss if row["status"] == "predicted" else row["evaluated_loss"]
        assert believed == expected


def test_selection_adds_the_spread_to_a_prediction(tmp_path: Path) -> None:
    class Unsure(Liar):
        def predict(self, genomes: Sequence[Genome]) -> tuple[FloatArray, FloatArray]:
            return np.full(len(genomes), 100.0), np.full(len(genomes), 7.0)

    state_path = tmp_path / "state.json"
    result, rows, _ = search(Watched(), surrogate=Unsure, state_path=state_path)
    parents = json.loads(state_path.read_text())["parents"]
    last = [row for row in rows if row["generation"] == result.n_generations - 1]
    predicted = [i for i, row in enumerate(last) if row["status"] == "predicted"]
    assert predicted
    assert {parents[i][1] for i in predicted} == {107.0}


def test_the_lowest_prediction_names_its_later_evaluation() -> None:
    problem = Watched()
    result, rows, _ = search(problem)
    lowest = result.lowest_prediction
    assert lowest is not None
    predictions = [r["predicted_loss"] for r in rows if r["predicted_loss"] is not None]
    assert lowest.predicted_loss == min(predictions)
    evaluated = problem.loss(lowest.canonical) if problem.seen[lowest.canonical] else None
    assert lowest.evaluated_loss == evaluated


def test_a_surrogate_that_says_nan_steps_aside() -> None:
    result, rows, _ = search(
        Watched(), surrogate=lambda slots, seed: Liar(slots, seed, says=math.nan)
    )
    assert result.surrogate_start is None
    assert result.counts.n_predicted == 0
    assert all(row["predicted_loss"] is None for row in rows)


def test_a_larger_pool_discards_candidates_before_they_are_individuals() -> None:
    settings = SMALL.replaced(surrogate=SMALL.surrogate.replaced(pool_factor=3.0))
    result, rows, _ = search(Watched(), settings)
    assert result.counts.n_discarded > 0
    assert result.counts.total == len(rows)
    population = [row for row in rows if row["origin"] != "local_search"]
    assert set(Counter(row["generation"] for row in population).values()) == {12}


class Unsure:
    """Guesses the same of all genomes and is the less sure the higher their first gene."""

    kind: str | None = "unsure"

    def __init__(self, space: GenomeSpace, seed: int) -> None:
        pass

    def fit(self, genomes: Sequence[Genome], losses: Sequence[float]) -> None:
        pass

    def predict(self, genomes: Sequence[Genome]) -> tuple[FloatArray, FloatArray]:
        return np.full(len(genomes), 9.0), np.array([float(genome[0]) for genome in genomes])


def test_optimism_tries_what_is_little_known_and_leaves_the_predictions_as_they_are() -> None:
    mean_std = {}
    for optimism in (0.0, 1.0):
        surrogate = SMALL.surrogate.replaced(optimism=optimism, pool_factor=4.0)
        settings = SMALL.replaced(surrogate=surrogate, mutation_rate=0.5)
        _, rows, _ = search(Watched(), settings, surrogate=Unsure)
        guessed = [row for row in rows if row["predicted_loss"] is not None]
        assert {row["predicted_loss"] for row in guessed} == {9.0}
        tried = [row["predicted_std"] for row in guessed if row["status"] == "evaluated"]
        mean_std[optimism] = np.mean(tried)
    assert mean_std[1.0] > mean_std[0.0] + 1.0


def test_expected_improvement_tries_what_is_little_known_and_the_mean_does_not() -> None:
    mean_std = {}
    acquisitions: list[Acquisition] = ["mean", "expected_improvement"]
    for acquisition in acquisitions:
        # the mean has no use for optimism
        surrogate = SMALL.surrogate.replaced(acquisition=acquisition, optimism=1.0, pool_factor=4.0)
        settings = SMALL.replaced(surrogate=surrogate, mutation_rate=0.5)
        _, rows, _ = search(Watched(), settings, surrogate=Unsure)
        guessed = [row for row in rows if row["predicted_loss"] is not None]
        tried = [row["predicted_std"] for row in guessed if row["status"] == "evaluated"]
        mean_std[acquisition] = np.mean(tried)
    assert mean_std["expected_improvement"] > mean_std["mean"] + 1.0


class Moody(Additive):
    """Steps aside when the number of genomes it learned from is odd."""

    def fit(self, genomes: Sequence[Genome], losses: Sequence[float]) -> None:
        super().fit(genomes, losses)
        self.kind = None if len(genomes) % 2 else "moody"


def test_where_the_surrogate_steps_aside_everything_is_evaluated() -> None:
    settings = SMALL.replaced(generations=20, local_search=LocalSearchSettings(neighbours=3))
    result, rows, generations = search(Watched(), settings, surrogate=Moody)
    by_generation = [row["surrogate"] for row in generations]
    assert by_generation[:2] == [None, None]
    assert {None, "moody"} == set(by_generation[2:])
    assert result.surrogate_start == by_generation.index("moody")
    for row in generations:
        own = [one for one in rows if one["generation"] == row["generation"]]
        if row["surrogate"] is None:
            assert row["n_predicted"] == row["n_random"] == row["n_discarded"] == 0
            assert all(one["predicted_loss"] is None for one in own)


def filtered_ones(
    rows: list[dict[str, Any]], generations: list[dict[str, Any]]
) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    return [
        (row, [one for one in rows if one["generation"] == row["generation"]])
        for row in generations
        if row["surrogate"] is not None
    ]


@pytest.mark.parametrize("pool_factor", [1.0, 3.0])
def test_a_generation_says_which_share_of_its_candidates_it_was_spared(pool_factor: float) -> None:
    settings = SMALL.replaced(surrogate=SMALL.surrogate.replaced(pool_factor=pool_factor))
    result, rows, generations = search(Watched(fails=lambda one: one[0] == 3), settings)
    filtered = filtered_ones(rows, generations)
    assert [row["generation"] for row, _ in filtered] == list(range(2, 7))
    for row, own in filtered:
        bred = [one for one in own if one["predicted_loss"] is not None]
        bred = [one for one in bred if one["origin"] != "local_search"]
        scored = sum(one["status"] in ("evaluated", "failed") for one in bred)
        seen = len(bred) + row["n_discarded"]
        assert row["spared_share"] == pytest.approx(1 - scored / seen)
        assert row["surrogate"] == "additive"
    assert (sum(row["n_discarded"] for row in generations) > 0) == (pool_factor > 1)
    assert sum(row["n_discarded"] for row in generations) == result.counts.n_discarded
    assert sum(row["n_random"] for row in generations) == result.n_random


@given(
    seed=st.integers(0, 99),
    random_fraction=st.sampled_from([0.1, 0.3]),
    pool_factor=st.sampled_from([1.0, 4.0]),
    acquisition=st.sampled_from(["mean", "lower_confidence_bound", "expected_improvement"]),
    make=st.sampled_from([Additive, Moody]),
)
@hypothesis_settings(max_examples=20, deadline=None)
def test_a_tenth_at_least_of_what_the_surrogate_could_choose_is_drawn_at_random(
    seed: int,
    random_fraction: float,
    pool_factor: float,
    acquisition: Any,  # noqa: ANN401 - a literal
    make: Any,  # noqa: ANN401 - makes a surrogate
) -> None:
    surrogate = SMALL.surrogate.replaced(
        random_fraction=random_fraction,
        pool_factor=pool_factor,
        acquisition=acquisition,
    )
    settings = SMALL.replaced(surrogate=surrogate, generations=6)
    _, rows, generations = search(Watched(), settings, surrogate=make, seed=seed)
    scored = at_random = 0
    for row, own in filtered_ones(rows, generations):
        scored += sum(one["status"] in ("evaluated", "failed") for one in own)
        at_random += row["n_random"]
        assert at_random >= random_fraction * scored - 1e-9


def test_every_prediction_is_counted(tmp_path: Path) -> None:
    asked = 0

    class Counting(Additive):
        def predict(self, genomes: Sequence[Genome]) -> tuple[FloatArray, FloatArray]:
            nonlocal asked
            asked += len(genomes)
            return super().predict(genomes)

    monitor = EnergyMonitor([CpuModelMeter(10.0)])
    state_path = tmp_path / "state.json"
    result, _, _ = search(Watched(), surrogate=Counting, monitor=monitor, state_path=state_path)
    assert result.n_predictions == asked > result.counts.n_predicted
    assert result.surrogate_energy_j is not None
    assert result.surrogate_energy_j > 0
    assert json.loads(state_path.read_text())["n_predictions"] == asked


def test_a_search_without_predictions_has_no_joules_of_any() -> None:
    result, _, _ = search(Watched(), FULL, monitor=EnergyMonitor([CpuModelMeter(10.0)]))
    assert result.n_predictions == 0
    assert result.surrogate_energy_j is None
