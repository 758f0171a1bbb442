from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_columns import data_columns
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ttest_rel
from table_problem import TableProblem

from clso.artifacts import table_from_rows
from clso.energy import DeviceEnergy, Measurement
from clso.errors import ConfigError
from clso.genome import Genome
from clso.problem import Evaluation, Extendable, Problem
from search.ladder import Climb, Ladder, Rung
from search.records import MemorySink
from search.result import SearchResult
from search.run import run_search
from search.settings import (
    AdaptivePopulationSettings,
    FidelitySettings,
    LocalSearchSettings,
    SearchSettings,
    SurrogateSettings,
)
from search.watched import WatchedProblem

N_BATCHES, BATCH_TOKENS = 16, 10
COST = Measurement(0.5, (DeviceEnergy("cpu", 2.0, "rapl", estimated=False),))
HALVING = FidelitySettings(kind="successive_halving", eta=2.0)
RACING = FidelitySettings(kind="racing")
SMALL = SearchSettings(
    population=12,
    generations=6,
    mutation_rate=0.15,
    surrogate=SurrogateSettings(kind="none"),
    local_search=LocalSearchSettings(neighbours=2),
)


class Batched(TableProblem):
    """A table's losses with noise by genome and batch, and a part that all genomes share."""

    fidelities = (0.25, 0.5, 1.0)

    def __init__(self, *, noise: float = 1.0, fails: int | None = None) -> None:
        super().__init__((9, 9, 9, 9), interaction=0.4, seed=3)
        self.noise = noise
        self.fails = fails
        self.asked: dict[Genome, list[float]] = {}
        self.tokens = 0

    def nats(self, genome: Genome) -> list[float]:
        shared = np.random.default_rng(5).normal(size=N_BATCHES) * 3
        own = np.random.default_rng(genome).normal(size=N_BATCHES) * self.noise
        own -= own.mean()
        if genome[0] == self.fails:
            own[0] = math.nan
        return (BATCH_TOKENS * (self.loss(genome) + shared + own)).tolist()

    def whole(self, genome: Genome) -> float:
        return math.fsum(self.nats(genome)) / (N_BATCHES * BATCH_TOKENS)

    def scored(self, genome: Genome, first: int, fidelity: float) -> Evaluation:
        last = math.ceil(fidelity * N_BATCHES)
        nats = self.nats(genome)[:last]
        loss = math.fsum(nats) / (last * BATCH_TOKENS)
        self.asked.setdefault(genome, []).append(fidelity)
        tokens = (last - first) * BATCH_TOKENS
        self.tokens += tokens
        failed = math.isnan(loss)
        return Evaluation(
            None if failed else loss,
            "failed" if failed else "evaluated",
            tokens,
            COST,
            batch_nats=None if fidelity == 1.0 else tuple(nats),
        )

    def evaluate(self, genomes: Sequence[Genome], fidelity: float = 1.0) -> list[Evaluation]:
        return [self.scored(genome, 0, fidelity) for genome in genomes]


class Extending(Batched):
    """Goes on where the lower rung ended."""

    def extend(
        self, genomes: Sequence[Genome], begun: Sequence[Evaluation], fidelity: float
    ) -> list[Evaluation]:
        return [
            self.scored(genome, len(one.batch_nats or ()), fidelity)
            for genome, one in zip(genomes, begun, strict=True)
        ]


class ScreenedFirst(Extending):
    """The lowest rung is an approximation that costs a tenth of a whole evaluation."""

    fidelities = (0.1, 0.25, 0.5, 1.0)
    screening = 0.1


def search(
    problem: Problem,
    asked: SearchSettings,
    **options: Any,  # noqa: ANN401 - whatever run_search takes
) -> tuple[SearchResult, list[dict[str, Any]], list[dict[str, Any]]]:
    sink = options.pop("sink", None) or MemorySink()
    result = run_search(problem, asked, seed=1, family="gpt", run_id="run", sink=sink, **options)
    return result, sink.rows("evaluations"), sink.rows("generations")


def climbed(
    problem: Problem, ladder: Ladder, genomes: Sequence[Genome], incumbent: Sequence[Rung] = ()
) -> list[Climb]:
    """Have the problem evaluate what the ladder asks for."""
    climbing = ladder.climb(genomes, incumbent)
    try:
        batch = next(climbing)
        while True:
            batch = climbing.send(batch.evaluated_by(problem))
    except StopIteration as stop:
        climbs: list[Climb] = stop.value
        return climbs


KINDS = pytest.mark.parametrize("fidelity", [HALVING, RACING], ids=["halving", "racing"])
PROBLEMS = pytest.mark.parametrize("problem_class", [Batched, Extending])


@KINDS
@PROBLEMS
def test_a_watched_search_is_the_same_search(
    fidelity: FidelitySettings, problem_class: type[Batched]
) -> None:
    settings = SMALL.replaced(fidelity=fidelity, max_evaluations=30)
    plain = search(problem_class(), settings)
    known: dict[Genome, Evaluation] = {}
    for _ in range(2):  # the second time whole evaluations are known
        watched = WatchedProblem(problem_class(), known)
        result, rows, generations = search(watched, settings)
        assert rows == plain[1]
        for one, other in zip(generations, plain[2], strict=True):
            assert one | {"duration_s": None} == other | {"duration_s": None}
        assert watched.standings[-1].loss == result.best.loss
        cost = sum(
            row["tokens"] / (N_BATCHES * BATCH_TOKENS) for row in rows if row["tokens"] is not None
        )
        assert watched.spent == math.ceil(cost)
        assert len(watched.archive) == result.counts.n_evaluated
    # what was only extended to the whole was never asked for as a whole
    assert len(known) == (0 if problem_class is Extending else result.counts.n_evaluated)


@KINDS
@PROBLEMS
def test_rows_say_how_far_each_came_and_what_it_cost(
    fidelity: FidelitySettings, problem_class: type[Batched]
) -> None:
    problem = problem_class(fails=2)
    result, rows, generations = search(problem, SMALL.replaced(fidelity=fidelity))
    table_from_rows(rows, "evaluations")
    table_from_rows(generations, "generations")
    assert {row["status"] for row in rows} == {"evaluated", "cached", "failed", "screened"}
    for row in rows:
        genome = tuple(row["genome"])
        if row["status"] == "cached":
            assert (row["tokens"], row["screening_loss"], row["fidelity"]) == (None, None, 1.0)
            continue
        climbed = problem.asked.pop(genome)  # nobody is asked for twice
        assert climbed == list(problem.fidelities[: len(climbed)])
        assert row["fidelity"] == climbed[-1]
        shares = climbed[-1:] if problem_class is Extending else climbed
        assert row["tokens"] == sum(shares) * N_BATCHES * BATCH_TOKENS
        assert row["duration_s"] == 0.5 * len(climbed)
        assert row["energy_j"] == 2.0 * len(climbed)
        if row["status"] == "evaluated":
            assert row["fidelity"] == 1.0
            assert row["evaluated_loss"] == problem.whole(genome)
            assert row["screening_loss"] is not None
        else:
            assert row["evaluated_loss"] is None
            assert row["fidelity"] < 1.0
            assert (row["screening_loss"] is None) == (row["status"] == "failed")
    assert not problem.asked
    counted = [sum(row[name] for row in generations) for name in ("n_screened", "tokens")]
    assert counted == [result.counts.n_screened, problem.tokens]
    assert result.counts.total == len(rows)


@KINDS
def test_the_lowest_screening_loss_is_no_result(fidelity: FidelitySettings) -> None:
    class Deceptive(Batched):
        """Who looks best on the first batches is the worst on all."""

        def nats(self, genome: Genome) -> list[float]:
            nats = super().nats(genome)
            if genome[1] < 4:
                nats[: N_BATCHES // 2] = [one - 400.0 for one in nats[: N_BATCHES // 2]]
                nats[N_BATCHES // 2 :] = [one + 800.0 for one in nats[N_BATCHES // 2 :]]
            return nats

    problem = Deceptive()
    result, rows, generations = search(problem, SMALL.replaced(fidelity=fidelity))
    screened = [row for row in rows if row["status"] == "screened"]
    whole = [row["evaluated_loss"] for row in rows if row["evaluated_loss"] is not None]
    assert min(row["screening_loss"] for row in rows if row["screening_loss"]) < min(whole)
    assert result.best.loss == min(whole) == generations[-1]["best_loss"]
    reached = {tuple(row["genome"]) for row in rows if row["status"] == "evaluated"}
    assert {finalist.canonical for finalist in result.finalists} <= reached
    assert not reached & {tuple(row["genome"]) for row in screened}
    assert all(tuple(row["genome"]) in reached for row in rows if row["origin"] == "elite")


@KINDS
def test_screened_parents_are_believed_no_better_than_the_incumbent(
    fidelity: FidelitySettings, tmp_path: Path
) -> None:
    state_path = tmp_path / "state.json"
    asked = SMALL.replaced(fidelity=fidelity)
    result, rows, _ = search(Batched(noise=5.0), asked, state_path=state_path)
    parents = json.loads(state_path.read_text())["parents"]
    last = [row for row in rows if row["generation"] == result.n_generations - 1]
    believed = [
        loss for (_, loss), row in zip(parents, last, strict=True) if row["status"] == "screened"
    ]
    assert believed
    assert all(result.best.loss <= loss < 100 for loss in believed)


def test_what_is_believed_of_a_screened_one_is_how_far_the_incumbent_was_ahead(
    tmp_path: Path,
) -> None:
    state_path = tmp_path / "state.json"
    problem = Batched(noise=0.0)
    # without noise, every part of the batches is off by the same for all genomes
    result, rows, _ = search(problem, SMALL.replaced(fidelity=HALVING), state_path=state_path)
    parents = json.loads(state_path.read_text())["parents"]
    last = [row for row in rows if row["generation"] == result.n_generations - 1]
    for (_, loss), row in zip(parents, last, strict=True):
        expected = max(problem.whole(tuple(row["genome"])), result.best.loss)
        assert loss == pytest.approx(expected)


@KINDS
@PROBLEMS
@pytest.mark.parametrize("kind", ["none", "ridge"])
@pytest.mark.parametrize("limit", [2, 17])
def test_no_more_is_spent_than_allowed(
    fidelity: FidelitySettings,
    problem_class: type[Batched],
    kind: str,
    limit: int,
) -> None:
    surrogate = SurrogateSettings(kind=kind, start=1, full_eval_fraction=0.5)
    asked = SMALL.replaced(
        fidelity=fidelity, max_evaluations=limit, generations=200, surrogate=surrogate
    )
    problem = problem_class(fails=2)
    result, rows, _ = search(problem, asked)
    assert result.stop_reason == "max_evaluations"
    spent = problem.tokens / (N_BATCHES * BATCH_TOKENS)
    dearest = 1.0 if problem_class is Extending else 1.75
    assert limit - dearest < spent <= limit
    assert all(row["status"] is not None for row in rows)


@pytest.mark.parametrize("fidelity", [FidelitySettings(), HALVING, RACING], ids=lambda f: f.kind)
@PROBLEMS
def test_a_search_resumed_after_every_generation_equals_an_unbroken_one(
    fidelity: FidelitySettings, problem_class: type[Batched], tmp_path: Path
) -> None:
    asked = SMALL.replaced(
        fidelity=fidelity,
        max_evaluations=60,
        surrogate=SurrogateSettings(kind="ridge", start=2, full_eval_fraction=0.5),
        adaptive_population=AdaptivePopulationSettings(enabled=True, min=6, max=20),
    )
    whole, rows, generations = search(problem_class(fails=2), asked)
    sink, state_path = MemorySink(), tmp_path / "state.json"
    stopped, parts = None, 0
    while stopped is None or stopped.stop_reason == "interrupted":
        answers = iter([False, True])
        stopped, resumed, resumed_generations = search(
            problem_class(fails=2),
            asked,
            sink=sink,
            state_path=state_path,
            should_stop=lambda answers=answers: next(answers),
        )
        parts += 1
    assert parts == whole.n_generations
    for found, expected, name in (
        (resumed, rows, "evaluations"),
        (resumed_generations, generations, "generations"),
    ):
        tables = [data_columns(table_from_rows(part, name)) for part in (found, expected)]
        assert tables[0].equals(tables[1])
    assert replace(stopped, surrogate_cost=None) == replace(whole, surrogate_cost=None)


@KINDS
def test_a_problem_of_one_fidelity_has_nothing_to_climb(fidelity: FidelitySettings) -> None:
    class Plain(Batched):
        fidelities = (1.0,)

    assert search(Plain(), SMALL.replaced(fidelity=fidelity))[1] == search(Plain(), SMALL)[1]


@given(
    count=st.integers(1, 40),
    eta=st.floats(1.1, 8.0),
    noise=st.floats(0.0, 3.0),
    limit=st.integers(2, 30),
)
@settings(max_examples=15, deadline=None)
@pytest.mark.parametrize("kind", ["successive_halving", "racing"])
def test_a_climb_costs_at_most_what_it_was_said_to(
    kind: str, count: int, eta: float, noise: float, limit: int
) -> None:
    for problem in (Batched(noise=noise), Extending(noise=noise)):
        ladder = Ladder(problem, FidelitySettings(kind=kind, eta=eta), limit=limit)
        genomes = [(i % 9, i // 9, 0, 1) for i in range(count)]
        climbs = climbed(problem, ladder, genomes)
        spent = math.fsum(climb.cost for climb in climbs)
        assert spent == pytest.approx(problem.tokens / (N_BATCHES * BATCH_TOKENS))
        assert spent <= ladder.worst_cost(count) + 1e-9
        if kind == "successive_halving":
            assert spent == pytest.approx(ladder.worst_cost(count))
        # someone always reaches the top, and the lowest of a rung is never ruled out
        assert any(climb.fidelity == 1.0 for climb in climbs)
        lowest = min(climbs, key=lambda climb: climb.rungs[0].loss)
        assert lowest.fidelity > 0.25
        affordable = ladder.affordable(0.0)
        assert affordable is not None
        assert ladder.worst_cost(affordable) <= limit < ladder.worst_cost(affordable + 1)


def test_halving_lets_the_lowest_climb_on_in_the_order_they_came() -> None:
    problem = Batched(noise=0.0)
    genomes = [(gene, 3, 0, 1) for gene in range(9)]
    ladder = Ladder(problem, FidelitySettings(kind="successive_halving", eta=3.0))
    climbs = climbed(problem, ladder, genomes)
    ranked = sorted(genomes, key=problem.loss)
    assert {g for g, c in zip(genomes, climbs, strict=True) if c.fidelity >= 0.5} == set(ranked[:3])
    assert {g for g, c in zip(genomes, climbs, strict=True) if c.fidelity == 1.0} == {ranked[0]}


def test_a_race_is_run_against_the_incumbent_too() -> None:
    problem = Batched(noise=0.0)
    genomes = [(gene, 3, 0, 1) for gene in range(9)]
    ladder = Ladder(problem, RACING)
    best = min(
        climbed(problem, ladder, genomes), key=lambda climb: climb.evaluation.loss or math.inf
    )
    assert best.fidelity == 1.0
    ahead = [
        Rung(rung.fidelity, rung.loss - 5.0, tuple(one - 50.0 for one in rung.batch_nats or ()))
        for rung in best.rungs
    ]
    assert {climb.fidelity for climb in climbed(problem, ladder, genomes, ahead)} == {0.25}


@pytest.mark.parametrize("fidelity", [HALVING, RACING], ids=lambda f: f.kind)
def test_where_all_fail_nobody_climbs(fidelity: FidelitySettings) -> None:
    problem = Batched(fails=1)
    climbs = climbed(problem, Ladder(problem, fidelity), [(1, 0, 0, 0), (1, 1, 1, 1)])
    assert {(climb.fidelity, climb.evaluation.finite_loss, climb.rungs) for climb in climbs} == {
        (0.25, None, ())
    }


def test_a_limit_that_pays_for_no_climb_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"max_evaluations is 1, expected at least 1\.75"):
        Ladder(Batched(), RACING, limit=1)
    assert Ladder(Extending(), RACING, limit=1).affordable(0.0) == 1


def test_a_race_needs_losses_by_batch() -> None:
    class Silent(Batched):
        def evaluate(self, genomes: Sequence[Genome], fidelity: float = 1.0) -> list[Evaluation]:
            return [replace(one, batch_nats=None) for one in super().evaluate(genomes, fidelity)]

    with pytest.raises(ConfigError, match="tells no losses by batch"):
        climbed(Silent(), Ladder(Silent(), RACING), [(0, 0, 0, 0), (1, 1, 1, 1)])


def test_only_problems_that_say_so_are_extended() -> None:
    assert isinstance(Extending(), Extendable)
    assert not isinstance(Batched(), Extendable)


@given(
    n=st.integers(2, 30),
    seed=st.integers(0, 10**6),
    shift=st.floats(-2.0, 2.0),
    alpha=st.floats(0.01, 0.3),
)
@settings(max_examples=25, deadline=None)
def test_the_test_is_the_paired_one_sided_t_test(
    n: int, seed: int, shift: float, alpha: float
) -> None:
    rng = np.random.default_rng(seed)
    best = rng.normal(size=n) * 10
    nats = best + rng.normal(size=n) + shift
    p = ttest_rel(nats, best, alternative="greater").pvalue
    assert rung(nats).is_worse_than(rung(best), alpha=alpha) == (p < alpha)


def rung(nats: Sequence[float]) -> Rung:
    return Rung(0.5, sum(nats), tuple(nats))


def test_equals_are_not_worse_and_one_batch_says_nothing() -> None:
    assert not rung([1.0, 2.0]).is_worse_than(rung([1.0, 2.0]), alpha=0.4)
    assert not rung([9.0]).is_worse_than(rung([1.0]), alpha=0.4)
    assert rung([2.0, 3.0]).is_worse_than(rung([1.0, 2.0]), alpha=0.01)


def test_the_rung_above_a_screening_begins_anew_and_costs_all_of_its_share() -> None:
    problem = ScreenedFirst(noise=0.0)
    ladder = Ladder(problem, HALVING)
    assert ladder.worst_cost(1) == pytest.approx(1.1)
    climbing = ladder.climb([(0, 0, 0, 0), (1, 0, 0, 0)], ())
    batch = next(climbing)
    begun = []
    try:
        while True:
            begun.append((batch.fidelity, len(batch), len(batch.begun)))
            batch = climbing.send(batch.evaluated_by(problem))
    except StopIteration as stop:
        climbs = stop.value
    assert begun == [(0.1, 2, 0), (0.25, 1, 0), (0.5, 1, 1), (1.0, 1, 1)]
    assert sorted(climb.cost for climb in climbs) == pytest.approx([0.1, 1.1])


@pytest.mark.parametrize("asked", [HALVING, RACING])
def test_a_screened_search_ends_with_whole_losses(asked: FidelitySettings) -> None:
    problem = ScreenedFirst()
    watched = WatchedProblem(problem)
    assert watched.screening == 0.1
    result, rows, _ = search(watched, SMALL.replaced(fidelity=asked.model_dump()))
    for finalist in result.finalists:
        assert finalist.loss == problem.whole(finalist.canonical)
    scored = [row for row in rows if row["status"] == "evaluated"]
    assert scored
    assert {row["fidelity"] for row in scored} == {1.0}
    assert {row["fidelity"] for row in rows if row["status"] == "screened"} & {0.1, 0.25, 0.5}
