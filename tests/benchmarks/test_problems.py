"""Problems that others publish: each beside its definition, and its optimum by brute force."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product

import numpy as np
import pytest

from benchmarks.problems import (
    PROBLEMS,
    ContaminationControl,
    DiscreteProblem,
    IsingSparsification,
    MaxSat,
    NkLandscape,
    PestControl,
    Relabelled,
)
from search import SearchSettings, minimize
from search.settings import SurrogateSettings

SMALL: dict[str, Callable[[int], DiscreteProblem]] = {
    "pest_control": lambda instance: PestControl(instance, stations=4),
    "contamination": lambda instance: ContaminationControl(instance, stages=9),
    "ising": lambda instance: IsingSparsification(instance, side=3),
    "max_sat": lambda instance: MaxSat(instance, variables=10, clauses=60),
    "nk": lambda instance: NkLandscape(instance, genes=6, others=2, options=3),
}


def genomes(problem: DiscreteProblem, count: int, seed: int = 0) -> list[tuple[int, ...]]:
    rng = np.random.default_rng(seed)
    drawn = rng.integers(problem.cardinalities, size=(count, len(problem.cardinalities)))
    return [tuple(genome) for genome in drawn.tolist()]


@pytest.mark.parametrize("make", [*PROBLEMS.values(), *SMALL.values()])
def test_a_loss_depends_on_the_genome_and_the_instance_alone(
    make: Callable[[int], DiscreteProblem],
) -> None:
    problem, again, other = make(3), make(3), make(4)
    asked = genomes(problem, 20)
    losses = [problem(genome) for genome in asked]
    assert losses == [again(list(genome)) for genome in asked]
    assert losses[::-1] == [problem(genome) for genome in asked[::-1]]
    assert losses != [other(genome) for genome in asked]
    assert np.isfinite(losses).all()


@pytest.mark.parametrize("name", SMALL)
def test_the_search_finds_the_optimum_that_brute_force_finds(name: str) -> None:
    problem = SMALL[name](1)
    everything = product(*map(range, problem.cardinalities))
    losses = [problem(genome) for genome in everything]
    settings = SearchSettings(population=20, surrogate=SurrogateSettings(kind="none"))
    result = minimize(
        problem, list(problem.cardinalities), evaluations=250, settings=settings, seed=0
    )
    assert result.loss == pytest.approx(min(losses))
    assert len(losses) > 250  # so that the search cannot have tried all


@pytest.mark.parametrize("name", SMALL)
def test_options_with_other_numbers_are_the_same_problem(name: str) -> None:
    problem = SMALL[name](0)
    relabelled = Relabelled(problem, 5)
    asked = genomes(problem, 50)
    named = [relabelled.relabel(genome) for genome in asked]
    assert named != asked
    assert len(set(named)) == len(set(asked))
    assert [relabelled(genome) for genome in named] == [problem(genome) for genome in asked]
    assert relabelled.cardinalities == problem.cardinalities


def test_pest_control_is_the_price_and_the_stations_with_too_many_pests() -> None:
    problem = PestControl(1)
    for genome in genomes(problem, 20):
        price = sum(
            price * uses * (1 - discount * uses / 25)
            for price, discount, uses in zip(
                (1.0, 0.8, 0.7, 0.5),
                (0.2, 0.3, 0.3, 0.0),
                [genome.count(kind) for kind in (1, 2, 3, 4)],
                strict=True,
            )
        )
        shares = 100 * (problem(genome) - price)  # of 100 simulations
        assert shares == pytest.approx(round(shares), abs=1e-6)
        assert 0 <= round(shares) <= 2500


def test_pest_control_has_an_optimum_that_no_change_of_few_genes_reaches() -> None:
    problem = PestControl(1)
    settled, best = (4,) * 24 + (0,), (3,) * 24 + (0,)
    assert problem(settled) == pytest.approx(12.02)  # as of the published code with this seed
    assert problem(best) == pytest.approx(11.9916)
    for changed in range(1, 20):
        for genome in (best[:changed] + settled[changed:], settled[:-changed] + best[-changed:]):
            assert problem(genome) > problem(settled) - 1e-9


def test_contamination_counts_preventions_and_the_stages_that_fall_short() -> None:
    problem = ContaminationControl(0)
    all_prevent = problem([1] * 25)
    # whatever is prevented, at most 0.05 a stage is gained
    assert 25 * 1.01 - 25 * 0.05 - 1e-9 <= all_prevent <= 25 * 1.01
    for genome in genomes(problem, 20):
        shares = 100 * (problem(genome) - 1.01 * sum(genome) - 25 * 0.95)
        assert shares == pytest.approx(round(shares), abs=1e-6)
        assert -2500 <= round(shares) <= 0


def test_a_prevention_never_contaminates_later_stages() -> None:
    problem = ContaminationControl(2)
    for genome in genomes(problem, 10):
        for stage, prevents in enumerate(genome):
            if not prevents:
                more = (*genome[:stage], 1, *genome[stage + 1 :])
                assert problem(more) <= problem(genome) + 1.01 + 1e-9


def ising_loss(problem: IsingSparsification, side: int, kept: Sequence[int]) -> float:
    """Return the loss from the two distributions over all states."""
    places = list(product(range(side), range(side)))
    edges = [((row, column), (row, column + 1)) for row, column in places if column + 1 < side] + [
        ((row, column), (row + 1, column)) for row, column in places if row + 1 < side
    ]
    weights = []
    for couplings in (problem._couplings, problem._couplings * np.array(kept)):
        energies = []
        for spins in product((-1, 1), repeat=side * side):
            state = dict(zip(places, spins, strict=True))
            energies.append(
                sum(j * state[a] * state[b] for j, (a, b) in zip(couplings, edges, strict=True))
            )
        weights.append(np.exp(np.array(energies) - max(energies)))
    p, q = (weight / weight.sum() for weight in weights)
    return float((p * np.log(p / q)).sum()) + 0.01 * sum(kept)


def test_ising_is_the_divergence_of_two_distributions() -> None:
    problem = IsingSparsification(2, side=2)
    for kept in product((0, 1), repeat=4):
        assert problem(kept) == pytest.approx(ising_loss(problem, 2, kept), abs=1e-9)


def test_ising_with_all_edges_pays_for_the_edges_alone() -> None:
    problem = IsingSparsification(0)
    assert len(problem.cardinalities) == 24
    assert problem([1] * 24) == pytest.approx(0.24, abs=1e-9)
    for genome in genomes(problem, 10):
        assert problem(genome) >= 0.01 * sum(genome) - 1e-9


def test_a_random_genome_misses_an_eighth_of_the_clauses() -> None:
    problem = MaxSat(0)
    losses = [problem(genome) for genome in genomes(problem, 300)]
    assert np.mean(losses) == pytest.approx(1 / 8, abs=0.01)
    total = problem._weights.sum()
    weights = np.array(losses) * total
    assert np.allclose(weights, np.round(weights))
    assert all(len(set(clause)) == 3 for clause in problem._variables.tolist())


def test_max_sat_counts_each_clause_without_a_true_literal() -> None:
    problem = MaxSat(1, variables=8, clauses=40)
    for genome in genomes(problem, 20):
        missed = sum(
            weight
            for variables, wanted, weight in zip(
                problem._variables.tolist(),
                problem._wanted.tolist(),
                problem._weights.tolist(),
                strict=True,
            )
            if not any(genome[v] == value for v, value in zip(variables, wanted, strict=True))
        )
        assert problem(genome) * problem._weights.sum() == pytest.approx(missed)


def test_without_others_each_gene_of_an_nk_landscape_is_on_its_own() -> None:
    problem = NkLandscape(0, genes=8, others=0, options=4)
    best = problem._tables.argmin(axis=1).tolist()
    assert problem(best) == pytest.approx(problem._tables.min(axis=1).mean())


def test_a_gene_of_an_nk_landscape_matters_to_the_genes_that_meet_it() -> None:
    problem = NkLandscape(0, genes=20, others=2)
    assert all(
        len(set(met)) == 3 and met[0] == gene for gene, met in enumerate(problem._met.tolist())
    )
    genome = list(genomes(problem, 1)[0])
    for gene in range(20):
        changed = genome.copy()
        changed[gene] = 1 - changed[gene]
        concerned = int((problem._met == gene).any(axis=1).sum())
        # an entry is in (0, 1), so that each concerned table changes the mean by less than 1/20
        assert abs(problem(changed) - problem(genome)) < concerned / 20
