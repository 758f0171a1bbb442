import numpy as np

from clso.genome import GenomeSpace, Slot
from search.local_search import neighbours

RNG = np.random.default_rng(0)
SPACE = GenomeSpace((Slot("a", 3), Slot("b", 1), Slot("c", 4)))


def test_neighbours_are_all_changes_of_one_gene() -> None:
    found = neighbours(SPACE, (0, 0, 1), lambda _: False, most=None, rng=RNG)
    assert len(found) == 2 + 0 + 3
    for step in found:
        assert sum(x != y for x, y in zip(step.genome, (0, 0, 1), strict=True)) == 1
        assert SPACE.validate(step.genome) == step.genome


def test_known_genomes_are_no_neighbours() -> None:
    found = neighbours(SPACE, (0, 0, 1), lambda canonical: canonical[0] == 2, most=None, rng=RNG)
    assert {step.genome[0] for step in found} == {0, 1}


def test_neighbours_are_one_per_canonical_form() -> None:
    space = GenomeSpace((Slot("a", 3), Slot("b", 3)), canonicalize=lambda g: tuple(sorted(g)))
    found = neighbours(space, (1, 0), lambda _: False, most=None, rng=RNG)
    assert [step.canonical for step in found] == [(0, 0), (0, 2), (1, 1), (1, 2)]


def test_a_step_names_what_it_brings_and_a_set_s_slots_bring_the_same() -> None:
    slots = (Slot("other", 2), *(Slot(f"pick{number}", 4) for number in range(2)))
    space = GenomeSpace(slots, exchangeable=(1, 2))
    found = neighbours(space, (0, 1, 2), lambda _: False, most=None, rng=RNG)
    brought = {step.genome: step.brings for step in found}
    assert brought[1, 1, 2] == (0, 1)
    assert brought[0, 3, 2] == brought[0, 1, 3] == (1, 3)
    assert brought[0, 0, 2] == brought[0, 1, 0] == (1, 0)


def test_a_sample_is_drawn_from_all_neighbours() -> None:
    every = neighbours(SPACE, (0, 0, 1), lambda _: False, most=None, rng=RNG)
    drawn = set()
    for seed in range(20):
        rng = np.random.default_rng(seed)
        found = neighbours(SPACE, (0, 0, 1), lambda _: False, most=2, rng=rng)
        assert len(set(found)) == 2
        drawn |= set(found)
    assert drawn == set(every)
    whole = neighbours(SPACE, (0, 0, 1), lambda _: False, most=9, rng=np.random.default_rng(0))
    assert sorted(whole) == sorted(every)
