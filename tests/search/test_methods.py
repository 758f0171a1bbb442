"""The contract of the methods that studies compare with the genetic algorithm."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution
from optuna.samplers import TPESampler
from picked_set import canonical_set
from table_problem import TableProblem

from clso.energy import CpuModelMeter, EnergyMonitor
from clso.errors import ConfigError
from clso.genome import Genome, GenomeSpace, Slot
from clso.problem import Evaluation
from search.methods import check_method, method_identity, run_method
from search.own_work import OwnWork
from search.result import SearchResult
from search.rivals import predicted_best, random_search
from search.samplers import _by_distance, tpe
from search.settings import METHODS, SearchSettings, SurrogateSettings
from search.watched import WatchedProblem

OPTIONS, PICKS = 9, 3
SETTINGS = SearchSettings(surrogate=SurrogateSettings(kind="ridge", features=True)).lasting(24)


def canonical(genome: Genome) -> Genome:
    return (*canonical_set(genome[:PICKS]), *genome[PICKS:])


class Picks:
    """Sets of up to 3 of 8 described options, and a mode; every fifth sum fails."""

    fidelities = (1.0,)
    fingerprint = "picks"

    def __init__(self) -> None:
        slots = tuple(Slot(f"pick{i}", OPTIONS) for i in range(PICKS))
        self.space = GenomeSpace(
            (*slots, Slot("mode", 3), Slot("only", 1)),
            canonical,
            exchangeable=tuple(range(PICKS)),
            describe=lambda: np.array([[0.0, 0.0], *([o % 4, o // 4] for o in range(1, OPTIONS))]),
        )
        self.seen: Counter[Genome] = Counter()

    def evaluate(self, genomes: Sequence[Genome], fidelity: float = 1.0) -> list[Evaluation]:
        self.seen.update(self.space.canonical(genome) for genome in genomes)
        return [
            Evaluation(None, "failed", 1)
            if sum(genome) % 5 == 4
            else Evaluation(9.0 - sum(set(genome[:PICKS])) / 4 - genome[PICKS], "evaluated", 1)
            for genome in genomes
        ]


SMAC = find_spec("smac") is not None
SMAC_MARKS = [
    pytest.mark.slow if SMAC else pytest.mark.skip(reason="SMAC3 is an extra"),
    pytest.mark.filterwarnings("ignore"),  # of its dependencies
]
METHOD = pytest.mark.parametrize(
    "method", [pytest.param(name, marks=SMAC_MARKS if name == "smac" else []) for name in METHODS]
)


def searched(
    method: str, seed: int = 0, *, problem: Picks | None = None, start: Sequence[Genome] = ()
) -> tuple[WatchedProblem, SearchResult]:
    watched = WatchedProblem(Picks() if problem is None else problem)
    return watched, run_method(method, watched, SETTINGS, seed=seed, start=start)


@METHOD
def test_a_method_spends_its_budget_on_distinct_genomes_by_its_seed_alone(method: str) -> None:
    problem = Picks()
    watched, result = searched(method, 1, problem=problem)
    assert sum(problem.seen.values()) == watched.spent == len(watched.standings) == 24
    assert set(problem.seen.values()) == {1}
    assert result.stop_reason == "max_evaluations"
    assert result.counts.n_failed > 0
    assert result.counts.n_evaluated + result.counts.n_failed == 24
    assert result.best.loss == watched.standings[-1].loss
    again, other = (searched(method, seed)[0] for seed in (1, 2))
    assert again.archive.in_order == watched.archive.in_order
    assert other.archive.in_order != watched.archive.in_order


@METHOD
def test_it_begins_with_the_genomes_it_is_given(method: str) -> None:
    start = [(8, 7, 0, 2, 0), (1, 0, 0, 0, 0), (7, 8, 8, 2, 0)]
    watched, _ = searched(method, start=start)
    first = [scored.canonical for scored in watched.archive.in_order[:3]]
    assert first[:2] == [(7, 8, 0, 2, 0), (1, 0, 0, 0, 0)]
    assert first[2] not in first[:2]
    assert watched.spent == 24


@METHOD
def test_it_ends_where_it_is_told_to(method: str) -> None:
    watched = WatchedProblem(Picks())

    def low() -> bool:
        loss = watched.standings[-1].loss
        return loss is not None and loss <= 6.0

    result = run_method(method, watched, SETTINGS.lasting(100), seed=0, should_stop=low)
    assert result.stop_reason == "interrupted"
    assert result.best.loss <= 6.0
    assert watched.spent < 100


@METHOD
def test_it_ends_where_there_is_nothing_new(method: str) -> None:
    watched = WatchedProblem(TableProblem((2, 3), interaction=0.1, seed=0))
    result = run_method(method, watched, SETTINGS.lasting(50), seed=0)
    assert result.stop_reason == "exhausted"
    assert 1 < watched.spent <= 6


@METHOD
def test_its_own_work_is_measured_beside_the_evaluations(method: str) -> None:
    watched, work = WatchedProblem(Picks()), OwnWork(EnergyMonitor([CpuModelMeter(10.0)]))
    result = run_method(method, watched, SETTINGS, seed=0, work=work)
    at = [evaluations for evaluations, _ in work.costs]
    assert at == sorted(at)
    assert at[0] == 0
    assert at[-1] < 24
    assert result.surrogate_cost == work.cost
    assert result.surrogate_energy_j is not None
    assert result.surrogate_energy_j > 0
    assert (result.n_predictions > 0) == (method == "predicted_best")


def test_the_best_predictions_are_evaluated_in_their_order() -> None:
    problem = TableProblem([4] * 8, interaction=0.0, seed=0)
    watched, work = WatchedProblem(problem), OwnWork()
    ridge = SurrogateSettings(kind="ridge")
    list(predicted_best(watched, ridge, seed=0, limit=80, work=work))
    losses = [scored.loss or 0.0 for scored in watched.archive]
    assert np.mean(losses[40:]) < np.mean(losses[:40]) - 2
    assert np.mean(losses[40:60]) < np.mean(losses[60:])
    # 20,000 draws of 65,536 genomes have some of them twice
    assert 16_000 < work.n_predictions < 20_000 - 40
    (random,) = list(random_search(problem, seed=0, limit=80))[-1:]
    assert watched.standings[-1].loss is not None
    assert random.loss is not None
    assert watched.standings[-1].loss < random.loss


def test_features_are_seen_where_the_surrogate_asks_for_them() -> None:
    orders = []
    for features in (False, True):
        watched = WatchedProblem(Picks())
        surrogate = SurrogateSettings(kind="ridge", features=features)
        list(predicted_best(watched, surrogate, seed=0, limit=24))
        orders.append([scored.canonical for scored in watched.archive])
    assert orders[0][:12] == orders[1][:12]
    assert orders[0] != orders[1]


def test_parzen_estimators_expect_more_of_options_near_the_seen_ones() -> None:
    """Options 1 to 4 are one cluster, 5 to 8 another, and 0 lies between them."""
    features = np.array([[0.0], *([(-5 if o < 5 else 5) + o / 100] for o in range(1, 9))])
    space = {name: CategoricalDistribution(range(OPTIONS)) for name in ("seen", "other")}
    parameters = TPESampler()._parzen_estimator_parameters
    density = {}
    for name in space:
        estimator = _by_distance({"seen"}, features)(
            {name: np.array([1.0] * 9)}, {name: space[name]}, parameters
        )
        density[name] = np.exp(estimator.log_pdf({name: np.arange(OPTIONS)}))
        assert density[name].sum() == pytest.approx(1.0)
    # ten kernels with the prior's, so an option at the largest distance has e^(-ln 10 ln 9 / ln 6)
    row = np.exp(
        -np.log(10) * np.log(9) / np.log(6) * ((features[1] - features[:, 0]) / 10.07) ** 2
    )
    expected = 0.9 * row / row.sum() + 0.1 / OPTIONS
    assert density["seen"] == pytest.approx(expected)
    assert density["seen"][2:5].min() > 0.18 > density["seen"][0] > density["seen"][5:].max()
    assert density["other"][2:] == pytest.approx(density["other"][0])


def test_a_space_with_features_is_sampled_by_them() -> None:
    described = Picks()
    plain = Picks()
    plain.space = replace(plain.space, describe=None)
    orders = []
    for problem in (described, plain):
        watched = WatchedProblem(problem)
        list(tpe(watched, seed=0, limit=24))
        orders.append([scored.canonical for scored in watched.archive])
    assert orders[0][:10] == orders[1][:10]  # at random
    assert orders[0] != orders[1]


def test_a_sampler_finds_more_than_chance() -> None:
    problem = TableProblem([6] * 6, interaction=0.1, seed=1)
    best = [
        [list(search(problem, seed=seed, limit=120))[-1].loss or 0.0 for seed in range(3)]
        for search in (tpe, random_search)
    ]
    assert np.mean(best[0]) < np.mean(best[1])


def test_settings_that_a_method_does_not_read_part_no_searches() -> None:
    other = SETTINGS.replaced(mutation_rate=0.3)
    ridge, forest = (
        SETTINGS.replaced(surrogate=SurrogateSettings(kind=kind))
        for kind in ("ridge", "random_forest")
    )
    for name in ("predicted_best", "tpe"):
        assert method_identity(name, SETTINGS) == method_identity(name, other)
        assert method_identity(name, SETTINGS) != method_identity(name, SETTINGS.lasting(25))
        same = method_identity(name, ridge) == method_identity(name, forest)
        assert same == (name == "tpe")


def test_what_cannot_search_is_refused() -> None:
    none = SearchSettings(surrogate=SurrogateSettings(kind="none"))
    with pytest.raises(ConfigError, match="needs a surrogate"):
        check_method("predicted_best", none)
    with pytest.raises(ConfigError, match="expected predicted_best or tpe or smac"):
        check_method("annealing", none)
    check_method("tpe", none)


@pytest.mark.skipif(SMAC, reason="SMAC3 is installed")
def test_a_missing_package_is_named_with_its_remedy() -> None:
    with pytest.raises(ConfigError, match=r"smac is not installed") as refused:
        check_method("smac", SETTINGS)
    assert refused.value.remedy == "pip install 'clso[samplers]'"
