import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_columns import data_columns
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from table_problem import TableProblem

from clso.artifacts import table_from_rows
from clso.energy import CpuModelMeter, DeviceEnergy, EnergyMonitor, Measurement
from clso.errors import ArtifactError, ClsoError
from clso.genome import Genome, GenomeSpace, Slot, genome_hash
from clso.problem import Evaluation
from search.records import MemorySink
from search.result import SearchResult
from search.run import run_search
from search.settings import Acquisition, LocalSearchSettings, SearchSettings, SurrogateSettings
from search.surrogates import FloatArray

CARDINALITIES = (12, 12, 12, 12)
COST = Measurement(0.1, (DeviceEnergy("cpu", 2.0, "rapl", estimated=False),))
SMALL = SearchSettings(
    population=12,
    generations=7,
    mutation_rate=0.15,
    surrogate=SurrogateSettings(kind="random_forest", start=2, full_eval_fraction=0.3),
    local_search=LocalSearchSettings(neighbours=2),
)
FULL = SMALL.replaced(surrogate=SurrogateSettings(kind="none"))


class Watched(TableProblem):
    """Counts evaluations; fails where told to; scores in shuffled chunks if asked."""

    def __init__(
        self,
        *,
        fails: Callable[[Genome], bool] = lambda _: False,
        chunks: int = 1,
        cardinalities: Sequence[int] = CARDINALITIES,
    ) -> None:
        super().__init__(cardinalities, interaction=0.4, seed=3)
        self.fails = fails
        self.chunks = chunks
        self.seen: Counter[Genome] = Counter()
        self.fidelity: set[float] = set()

    def evaluate(self, genomes: Sequence[Genome], fidelity: float = 1.0) -> list[Evaluation]:
        self.fidelity.add(fidelity)
        results: dict[int, Evaluation] = {}
        for chunk in range(self.chunks):
            for index in reversed(range(chunk, len(genomes), self.chunks)):
                genome = genomes[index]
                self.seen[genome] += 1
                loss = math.nan if self.fails(genome) else self.loss(genome)
                results[index] = Evaluation(
                    loss, "failed" if self.fails(genome) else "evaluated", 640, COST
                )
        return [results[index] for index in range(len(genomes))]


class Additive:
    """Guesses the sum of each option's mean deviation: quick to fit, and right about as often."""

    kind: str | None = "additive"

    def __init__(self, space: GenomeSpace, seed: int) -> None:
        self.effects = [np.zeros(cardinality) for cardinality in space.cardinalities]
        self.mean = 0.0

    def fit(self, genomes: Sequence[Genome], losses: Sequence[float]) -> None:
        columns, observed = np.array(genomes).T, np.array(losses)
        self.mean = float(observed.mean())
        for effect, column in zip(self.effects, columns, strict=True):
            for option in np.unique(column):
                effect[option] = observed[column == option].mean() - self.mean

    def predict(self, genomes: Sequence[Genome]) -> tuple[FloatArray, FloatArray]:
        guesses = [
            self.mean + sum(effect[gene] for effect, gene in zip(self.effects, genome, strict=True))
            for genome in genomes
        ]
        return np.array(guesses, dtype=np.float64), np.full(len(guesses), 0.1)


class Liar:
    """Predicts what no genome can have."""

    kind: str | None = "liar"

    def __init__(self, space: GenomeSpace, seed: int, *, says: float = -1000.0) -> None:
        self.says = says

    def fit(self, genomes: Sequence[Genome], losses: Sequence[float]) -> None:
        assert np.isfinite(losses).all()

    def predict(self, genomes: Sequence[Genome]) -> tuple[FloatArray, FloatArray]:
        return np.full(len(genomes), self.says), np.zeros(len(genomes))


def search(
    problem: Any,  # noqa: ANN401 - any stand-in of a Problem
    settings: SearchSettings = SMALL,
    *,
    sink: Any = None,  # noqa: ANN401 - any sink
    **options: Any,  # noqa: ANN401 - whatever run_search takes
) -> tuple[SearchResult, list[dict[str, Any]], list[dict[str, Any]]]:
    sink = sink or MemorySink()
    if settings.surrogate.kind != "none":
        options.setdefault("surrogate", Additive)  # `None`: the real one of that kind
    result = run_search(
        problem,
        settings,
        seed=options.pop("seed", 1),
        family="gpt",
        run_id="run",
        sink=sink,
        **options,
    )
    return result, sink.rows("evaluations"), sink.rows("generations")


def data_of(rows: list[dict[str, Any]], name: str) -> Any:  # noqa: ANN401 - pyarrow is untyped
    return data_columns(table_from_rows(rows, name))


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


def test_local_search_leaves_alone_what_its_generation_has() -> None:
    settings = SMALL.replaced(local_search=LocalSearchSettings(neighbours=12))
    _, rows, _ = search(Watched(cardinalities=(6, 6, 6)), settings)
    places = Counter((row["generation"], row["genome_hash"]) for row in rows)
    assert set(places.values()) == {1}


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


class Killed(Exception):
    """Stands for the end of the process."""


class Fragile(MemorySink):
    """Dies while it writes one table of one generation, before or after the write."""

    def __init__(self) -> None:
        super().__init__()
        self.dies_at: tuple[str, int, bool] | None = None

    def append(self, table: str, part: int, rows: Iterable[Mapping[str, Any]]) -> None:
        after = self.dies_at == (table, part, True)
        if self.dies_at == (table, part, False):
            raise Killed
        super().append(table, part, rows)
        if after:
            raise Killed


@pytest.mark.parametrize("kind", ["random_forest", "mlp"])
def test_a_search_killed_in_every_generation_equals_an_unbroken_one(
    kind: Any,  # noqa: ANN401 - a literal
    tmp_path: Path,
) -> None:
    settings = SMALL.replaced(
        generations=5, surrogate=SMALL.surrogate.replaced(kind=kind, pool_factor=1.5)
    )
    fails: Callable[[Genome], bool] = lambda genome: genome[1] == 2  # noqa: E731
    whole, rows, generations = search(Watched(fails=fails), settings, surrogate=None)
    sink, state_path = Fragile(), tmp_path / "state.json"
    for part in range(5):
        for table in ("evaluations", "generations"):
            for after in (False, True):
                sink.dies_at = (table, part, after)
                with pytest.raises(Killed):
                    search(
                        Watched(fails=fails),
                        settings,
                        sink=sink,
                        state_path=state_path,
                        surrogate=None,
                    )
        sink.dies_at = ("evaluations", part + 1, False)
        if part < 4:
            with pytest.raises(Killed):
                search(
                    Watched(fails=fails), settings, sink=sink, state_path=state_path, surrogate=None
                )
    sink.dies_at = None
    resumed, resumed_rows, resumed_generations = search(
        Watched(fails=fails), settings, sink=sink, state_path=state_path, surrogate=None
    )
    assert data_of(resumed_rows, "evaluations").equals(data_of(rows, "evaluations"))
    assert data_of(resumed_generations, "generations").equals(data_of(generations, "generations"))
    assert replace(resumed, surrogate_cost=None) == replace(whole, surrogate_cost=None)


def test_a_finished_search_is_read_back_without_evaluating(tmp_path: Path) -> None:
    state_path = tmp_path / "state.json"
    first, _, _ = search(Watched(), state_path=state_path)
    problem = Watched()
    again, rows, _ = search(problem, state_path=state_path)
    assert again == first
    assert not problem.seen
    assert not rows


def test_should_stop_ends_between_generations_and_the_search_goes_on_later(tmp_path: Path) -> None:
    whole, rows, _ = search(Watched())
    sink, state_path = MemorySink(), tmp_path / "state.json"
    answers = iter([False, False, True])
    stopped, _, _ = search(
        Watched(), sink=sink, state_path=state_path, should_stop=lambda: next(answers)
    )
    assert (stopped.stop_reason, stopped.n_generations) == ("interrupted", 2)
    resumed, resumed_rows, _ = search(Watched(), sink=sink, state_path=state_path)
    assert resumed_rows == rows
    assert replace(resumed, surrogate_cost=None) == replace(whole, surrogate_cost=None)


def test_the_state_of_another_search_is_refused_with_what_differs(tmp_path: Path) -> None:
    state_path = tmp_path / "state.json"
    search(Watched(), state_path=state_path)
    with pytest.raises(ArtifactError, match=r"settings\.surrogate\.start was 2, is 3"):
        search(
            Watched(),
            SMALL.replaced(surrogate=SMALL.surrogate.replaced(start=3)),
            state_path=state_path,
        )
    with pytest.raises(ArtifactError, match="seed was 1, is 5"):
        search(Watched(), state_path=state_path, seed=5)
    other = Watched()
    other.fingerprint = "another"
    with pytest.raises(ArtifactError, match=r"problem was 'table.*', is 'another'"):
        search(other, state_path=state_path)


def test_the_state_of_a_search_by_other_code_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state_path = tmp_path / "state.json"
    search(Watched(), state_path=state_path)
    monkeypatch.setattr("search.loop.SEARCH_VERSION", 99)
    with pytest.raises(ArtifactError, match=r"version was \d+, is 99"):
        search(Watched(), state_path=state_path)


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


def test_what_auto_picks_stands_in_the_records_and_survives_a_resumed_run(tmp_path: Path) -> None:
    settings = SMALL.replaced(surrogate=SMALL.surrogate.replaced(kind="auto"), generations=5)
    _, rows, generations = search(Watched(), settings, surrogate=None)
    assert any(row["surrogate"] for row in generations)
    sink, state_path = MemorySink(), tmp_path / "state.json"
    for stop in (3, 5):
        search(
            Watched(),
            settings,
            surrogate=None,
            sink=sink,
            state_path=state_path,
            should_stop=lambda stop=stop: len(sink.rows("generations")) >= stop,  # type: ignore[misc]
        )
    assert sink.rows("evaluations") == rows
    assert [row["surrogate"] for row in sink.rows("generations")] == [
        row["surrogate"] for row in generations
    ]
