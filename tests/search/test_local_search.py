import numpy as np

from clso.genome import GenomeSpace, Slot
from search.local_search import neighbours, propose

SPACE = GenomeSpace((Slot("a", 3), Slot("b", 1), Slot("c", 4)))


def test_neighbours_are_all_changes_of_one_gene() -> None:
    found = neighbours(SPACE, (0, 0, 1), lambda _: False)
    assert len(found) == 2 + 0 + 3
    for step in found:
        assert sum(x != y for x, y in zip(step.genome, (0, 0, 1), strict=True)) == 1
        assert SPACE.validate(step.genome) == step.genome


def test_known_genomes_are_no_neighbours() -> None:
    found = neighbours(SPACE, (0, 0, 1), lambda canonical: canonical[0] == 2)
    assert {step.genome[0] for step in found} == {0, 1}


def test_neighbours_are_one_per_canonical_form() -> None:
    space = GenomeSpace((Slot("a", 3), Slot("b", 3)), canonicalize=lambda g: tuple(sorted(g)))
    found = neighbours(space, (1, 0), lambda _: False)
    assert [step.canonical for step in found] == [(0, 0), (0, 2), (1, 1), (1, 2)]


def test_the_lowest_predictions_are_proposed() -> None:
    rng = np.random.default_rng(0)
    assert propose(2, 5, np.array([3.0, 0.0, 9.0, 1.0, 0.5]), rng) == [1, 4]


def test_without_prediction_the_draw_is_seeded_and_may_take_any() -> None:
    assert propose(3, 9, None, np.random.default_rng(1)) == propose(
        3, 9, None, np.random.default_rng(1)
    )
    seen = {i for seed in range(100) for i in propose(3, 9, None, np.random.default_rng(seed))}
    assert seen == set(range(9))


def test_no_more_are_proposed_than_there_are() -> None:
    assert propose(4, 2, None, np.random.default_rng(0)) == [0, 1]
    assert propose(4, 0, None, np.random.default_rng(0)) == []
