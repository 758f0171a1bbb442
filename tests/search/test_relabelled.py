"""Numbers of options mean nothing: surrogates and the search do not depend on them."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.problems import NkLandscape, PestControl, Relabelled
from clso.genome import GenomeSpace
from search import Search, SearchSettings
from search.function import Function
from search.settings import LocalSearchSettings, SurrogateSettings
from search.surrogates import surrogate_factory

# trees draw columns, and the MLP's embeddings are drawn by number
KINDS = ("gaussian_process", "ridge")
PROBLEM = NkLandscape(0, genes=12, others=2, options=4)


def drawn(count: int, seed: int = 0) -> list[tuple[int, ...]]:
    rng = np.random.default_rng(seed)
    shape = (count, len(PROBLEM.cardinalities))
    return [tuple(genome) for genome in rng.integers(PROBLEM.cardinalities, size=shape).tolist()]


def balanced(count: int, seed: int) -> list[tuple[int, ...]]:
    """Return genomes in which every option occurs: those that never did are all alike."""
    rng = np.random.default_rng(seed)
    columns = [rng.permutation(np.arange(count) % options) for options in PROBLEM.cardinalities]
    return [tuple(genome) for genome in np.stack(columns, axis=1).tolist()]


@pytest.mark.parametrize("kind", KINDS)
def test_a_surrogate_predicts_the_same_of_genomes_whose_options_have_other_numbers(
    kind: str,
) -> None:
    relabelled = Relabelled(PROBLEM, 3)
    factory = surrogate_factory(SurrogateSettings(kind=kind))
    assert factory is not None
    genomes = drawn(120)
    losses = [PROBLEM(genome) for genome in genomes[:80]]
    predictions = []
    for named in (genomes, [relabelled.relabel(genome) for genome in genomes]):
        surrogate = factory(GenomeSpace.of(list(PROBLEM.cardinalities)), 0)
        surrogate.fit(named[:80], losses)
        predictions.append(surrogate.predict(named[80:]))
    for plain, other in zip(*predictions, strict=True):
        assert np.allclose(plain, other, rtol=1e-6)
        assert plain.std() > 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(3))
def test_a_search_evaluates_the_same_genomes_whatever_their_options_are_called(
    kind: str, seed: int
) -> None:
    # Only drawing an option depends on its number, and the order of several neighbours. So the
    # start is given, nothing mutates, a surrogate chooses one neighbour at a time, and the search
    # ends before breeding repeats itself and draws anew.
    settings = SearchSettings(
        population=20,
        mutation_rate=0.0,
        surrogate=SurrogateSettings(
            kind=kind, start=1, full_eval_fraction=0.2, pool_factor=4.0, optimism=1.0
        ),
        local_search=LocalSearchSettings(every=2, neighbours=1),
    ).lasting(45)
    relabelled = Relabelled(PROBLEM, seed)
    start = balanced(20, seed)
    evaluated = []
    for problem, first in (
        (PROBLEM, start),
        (relabelled, [relabelled.relabel(genome) for genome in start]),
    ):
        asked: list[tuple[int, ...]] = []

        def loss(
            genome: list[int],
            problem: NkLandscape | Relabelled = problem,
            asked: list[tuple[int, ...]] = asked,
        ) -> float:
            asked.append(tuple(genome))
            return problem(genome)

        space = GenomeSpace.of(list(PROBLEM.cardinalities))
        Search(Function(space, "", loss), settings, seed=seed, start=first).run()
        evaluated.append(asked)
    plain, other = evaluated
    assert len(plain) == 45
    assert list(map(relabelled.relabel, plain)) == other
    assert len(set(plain) - set(start)) == 25


def test_a_problem_of_one_repeated_option_hides_it_when_relabelled() -> None:
    problem = PestControl(1, stations=6)
    relabelled = Relabelled(problem, 0)
    assert len(set(relabelled.relabel((4,) * 6))) > 1
    assert relabelled(relabelled.relabel((4,) * 6)) == problem((4,) * 6)
