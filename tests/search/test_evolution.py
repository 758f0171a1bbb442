import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from small_search import FULL, SMALL, Liar, Watched, data_of, search

from clso.energy import CpuModelMeter, EnergyMonitor
from clso.errors import ClsoError
from clso.genome import Genome, GenomeSpace, Slot, genome_hash
from clso.problem import Evaluation
from search.settings import LocalSearchSettings, SearchSettings
from search.surrogates import FloatArray


@pytest.mark.parametrize("kind", ["none", "random_forest", "mlp"])
def test_rows_fit_their_schemas_and_number_every_individual_once(kind: Any) -> None:  # noqa: ANN401
    settings = SMALL.replaced(surrogate=SMALL.surrogate.replaced(kind=kind))
    result, rows, generations = search(Watched(), settings, surrogate=None)
    assert data_of(rows, "evaluations").num_rows == result.counts.total
    assert data_of(generations, "generations").num_rows == result.n_generations == 7
    for row in generations:
        own = [one for one in rows if one["generation"] == row["generation"]]
        assert [one["individual"] for one in own] == list(range(len(own)))
        assert len({one["genome_hash"] for one in own}) == len(own) == row["n_unique"]
        counts = Counter(one["status"] for one in own)
        for status in ("evaluated", "predicted", "cached", "failed"):
            assert counts[status] == row[f"n_{status}"]


def test_no_genome_is_evaluated_twice_and_all_on_the_whole_fidelity() -> None:
    problem = Watched()
    result, rows, _ = search(problem)
    assert max(problem.seen.values()) == 1
    assert problem.fidelity == {1.0}
    scored = [tuple(row["genome"]) for row in rows if row["status"] == "evaluated"]
    assert sorted(scored) == sorted(problem.seen)
    assert result.counts.n_evaluated == len(scored)


def test_each_status_carries_what_it_may_and_nothing_more() -> None:
    problem = Watched(fails=lambda genome: genome[0] % 3 == 0)
    _, rows, _ = search(problem)
    evaluated_at: dict[str, int] = {}
    assert {row["status"] for row in rows} == {"evaluated", "predicted", "cached", "failed"}
    for row in rows:
        genome = tuple(row["genome"])
        assert row["genome_hash"] == genome_hash(genome)
        assert row["screening_loss"] is None
        costs = [row[name] for name in ("tokens", "duration_s", "energy_j", "energy_source")]
        if row["status"] in ("evaluated", "failed"):
            assert row["genome_hash"] not in evaluated_at
            evaluated_at[row["genome_hash"]] = row["generation"]
            assert costs == [640, 0.1, 2.0, "rapl"]
            assert (row["fidelity"], row["estimated"]) == (1.0, False)
        else:
            assert costs == [None] * 4
            assert row["estimated"] is None
        if row["status"] == "cached":
            assert evaluated_at[row["genome_hash"]] < row["generation"]
        if row["status"] in ("evaluated", "cached"):
            assert row["evaluated_loss"] == problem.loss(genome)
        else:
            assert row["evaluated_loss"] is None
        if row["status"] == "predicted":
            assert row["genome_hash"] not in evaluated_at
            assert row["fidelity"] is None
            assert row["predicted_loss"] is not None
            assert row["predicted_std"] is not None


def test_each_origin_stands_where_it_can() -> None:
    _, rows, _ = search(Watched())
    for row in rows:
        match row["origin"]:
            case "init":
                assert row["generation"] == 0
            case "elite":
                assert row["status"] == "cached"
                assert row["generation"] > 0
            case "local_search":
                assert row["status"] == "evaluated"
                assert row["individual"] >= SMALL.population
            case origin:
                assert origin in ("crossover", "mutation")
                assert row["generation"] > 0
    elites = Counter(row["generation"] for row in rows if row["origin"] == "elite")
    assert elites == dict.fromkeys(range(1, 7), 2)


def test_local_search_tries_one_gene_neighbours_of_the_incumbent() -> None:
    _, rows, _ = search(Watched())
    for generation in range(7):
        before = [r for r in rows if r["generation"] <= generation and r["evaluated_loss"]]
        steps = [r for r in before if r["generation"] == generation]
        steps = [r for r in steps if r["origin"] == "local_search"]
        known = [r for r in before if r not in steps]
        incumbent = min(known, key=lambda r: r["evaluated_loss"])["genome"]
        assert len(steps) == 2
        for step in steps:
            assert sum(a != b for a, b in zip(step["genome"], incumbent, strict=True)) == 1


def test_local_search_leaves_alone_what_its_generation_has() -> None:
    settings = SMALL.replaced(local_search=LocalSearchSettings(neighbours=12))
    _, rows, _ = search(Watched(cardinalities=(6, 6, 6)), settings)
    places = Counter((row["generation"], row["genome_hash"]) for row in rows)
    assert set(places.values()) == {1}


def test_the_incumbent_never_rises_and_the_finalists_are_the_best_evaluated() -> None:
    problem = Watched()
    result, _, generations = search(problem)
    best = [row["best_loss"] for row in generations]
    assert all(later <= earlier for earlier, later in pairwise(best))
    losses = sorted(problem.loss(genome) for genome in problem.seen)
    assert [finalist.loss for finalist in result.finalists] == losses[:3]
    assert result.best.loss == best[-1]


def test_search_beats_as_many_uniform_draws() -> None:
    problem = Watched(cardinalities=(32,) * 6)
    result, _, _ = search(problem, SMALL.replaced(generations=15))
    rng = np.random.default_rng(0)
    draws = [tuple(map(int, rng.integers(0, 32, 6))) for _ in range(len(problem.seen))]
    assert result.best.loss < min(map(problem.loss, draws)) - 1


def test_failures_are_recorded_and_never_win() -> None:
    result, rows, _ = search(Watched(fails=lambda genome: sum(genome) % 2 == 0))
    assert result.counts.n_failed > 0
    assert all(sum(finalist.canonical) % 2 for finalist in result.finalists)
    assert all(sum(row["genome"]) % 2 for row in rows if row["origin"] == "elite")
    assert math.isfinite(result.best.loss)


def test_a_search_where_everything_fails_ends_and_says_so() -> None:
    result, rows, generations = search(Watched(fails=lambda _: True))
    assert {row["status"] for row in rows} == {"failed"}
    assert generations[-1]["best_loss"] is None
    assert generations[-1]["mean_loss"] is None
    assert result.finalists == ()
    with pytest.raises(ClsoError, match=r"none of the \d+ evaluated genomes has a finite loss"):
        _ = result.best


def test_a_loss_called_evaluated_that_is_no_number_counts_as_failed() -> None:
    class Careless(Watched):
        def evaluate(self, genomes: Sequence[Genome], fidelity: float = 1.0) -> list[Evaluation]:
            first, *rest = super().evaluate(genomes, fidelity)
            return [replace(first, loss=-math.inf), *rest]

    result, _, _ = search(Careless(), FULL)
    assert result.counts.n_failed > 0
    assert math.isfinite(result.best.loss)


@pytest.mark.parametrize("settings", [SMALL, FULL])
@pytest.mark.parametrize("limit", [5, 12, 13, 30, 33])
def test_no_more_is_evaluated_than_allowed(settings: SearchSettings, limit: int) -> None:
    problem = Watched(fails=lambda genome: genome[0] == 0)
    result, rows, _ = search(problem, settings.replaced(max_evaluations=limit))
    assert sum(problem.seen.values()) == limit
    assert result.stop_reason == "max_evaluations"
    assert all(row["status"] is not None for row in rows)


def test_patience_reads_measured_losses_only() -> None:
    class Flat(Watched):
        def loss(self, genome: Genome) -> float:
            return 5.0

    falling = iter(range(10**6))

    class EverBetter(Liar):
        def predict(self, genomes: Sequence[Genome]) -> tuple[FloatArray, FloatArray]:
            return np.full(len(genomes), -float(next(falling))), np.zeros(len(genomes))

    result, _, _ = search(Flat(), SMALL.replaced(patience=3, generations=50), surrogate=EverBetter)
    assert result.stop_reason == "patience"
    assert result.n_generations == 4


def test_an_improvement_below_min_delta_does_not_count() -> None:
    result, _, _ = search(Watched(), FULL.replaced(patience=2, min_delta=1e6, generations=50))
    assert (result.stop_reason, result.n_generations) == ("patience", 3)


def test_a_space_that_is_used_up_ends_the_search() -> None:
    problem = Watched(cardinalities=(3, 2))
    result, _, _ = search(problem, FULL.replaced(generations=100))
    assert result.stop_reason == "exhausted"
    assert len(problem.seen) == 6
    assert result.best.loss == min(map(problem.loss, problem.seen))


def test_genomes_of_one_meaning_are_evaluated_once() -> None:
    class Unordered(Watched):
        def __init__(self) -> None:
            super().__init__()
            slots = tuple(Slot(f"slot{i}", 12) for i in range(4))
            self.space = GenomeSpace(slots, canonicalize=lambda g: tuple(sorted(g)))

    problem = Unordered()
    _, rows, _ = search(problem)
    assert all(list(genome) == sorted(genome) for genome in problem.seen)
    assert max(problem.seen.values()) == 1
    assert all(row["genome"] == sorted(row["genome"]) for row in rows)


def test_seeds_decide_everything() -> None:
    first, second, other = (search(Watched(), seed=seed)[1] for seed in (1, 1, 2))
    assert first == second
    assert [row["genome"] for row in first] != [row["genome"] for row in other]


def test_how_evaluations_are_split_among_workers_changes_nothing() -> None:
    assert search(Watched(chunks=1))[1] == search(Watched(chunks=5))[1]


def test_energy_of_generations_and_surrogate_comes_from_the_monitor() -> None:
    monitor = EnergyMonitor([CpuModelMeter(10.0)])
    result, _, generations = search(Watched(), monitor=monitor)
    assert result.surrogate_energy_j is not None
    assert result.surrogate_energy_j > 0
    for row in generations:
        assert row["energy_source"] in ("cpu_model", None)
        assert (row["energy_j"] is None) == (row["energy_source"] is None)
    assert any(row["energy_j"] for row in generations)


def test_without_a_monitor_energy_is_unmeasured_and_not_zero() -> None:
    result, _, generations = search(Watched())
    assert result.surrogate_cost is not None
    assert result.surrogate_cost.duration_s > 0
    assert result.surrogate_energy_j is None
    assert {row["energy_j"] for row in generations} == {None}
