from collections import Counter

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st
from picked_set import canonical_set
from scipy.stats import chisquare

from clso.genome import Genome, GenomeSpace, Slot
from search.breeding import neighbours

SPACE = GenomeSpace((Slot("a", 3), Slot("b", 1), Slot("c", 4)))


def drawn_order(space: GenomeSpace, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    return rng.permutation(sum(space.cardinalities))


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


SLOTS = (Slot("other", 2), *(Slot(f"pick{number}", 6) for number in range(3)))


def of_set(genome: Genome) -> Genome:
    return (genome[0], *canonical_set(genome[1:]))


SET = GenomeSpace(SLOTS, of_set, exchangeable=(1, 2, 3))


@given(
    genome=st.tuples(st.integers(0, 1), *[st.integers(0, 5)] * 3),
    most=st.none() | st.integers(1, 20),
    seed=st.integers(0, 99),
)
def test_a_step_brings_what_the_genome_had_not(genome: Genome, most: int | None, seed: int) -> None:
    rng = np.random.default_rng(seed)
    before = set(genome[1:]) - {0}
    order = drawn_order(SET, rng)
    for step in neighbours(SET, genome, lambda _: False, most=most, order=order):
        assert step.step is not None
        slot, option = step.step
        after = set(step.genome[1:]) - {0}
        assert SET.canonical(step.genome) == step.canonical
        if slot == 0:
            assert (step.canonical[0], after) == (option, before)
        elif option == 0:
            assert after < before
        else:
            assert slot == 1
            assert after - before == {option}


@given(genome=st.tuples(st.integers(0, 1), *[st.integers(0, 5)] * 3))
def test_all_neighbours_of_a_set_are_found(genome: Genome) -> None:
    found = neighbours(SET, genome, lambda _: False)
    every = {
        SET.canonical((*genome[:slot], option, *genome[slot + 1 :]))
        for slot, cardinality in enumerate(SET.cardinalities)
        for option in range(cardinality)
    }
    assert {step.canonical for step in found} == every - {SET.canonical(genome)}
    assert len({step.canonical for step in found}) == len(found)


def test_a_sample_is_drawn_uniformly_from_all_neighbours_of_a_set() -> None:
    genome = (0, 4, 2, 0)  # two picks can be dropped, and there are two ways to write each drop
    every = neighbours(SET, genome, lambda _: False)
    rng = np.random.default_rng(1)
    drawn = Counter(
        step.canonical
        for _ in range(3000)
        for step in neighbours(SET, genome, lambda _: False, most=3, order=drawn_order(SET, rng))
    )
    assert set(drawn) == {step.canonical for step in every}
    assert chisquare(list(drawn.values())).pvalue > 1e-3


def test_a_sample_is_drawn_from_all_neighbours() -> None:
    every = neighbours(SPACE, (0, 0, 1), lambda _: False)
    drawn = set()
    for seed in range(20):
        rng = np.random.default_rng(seed)
        found = neighbours(SPACE, (0, 0, 1), lambda _: False, most=2, order=drawn_order(SPACE, rng))
        assert len({step.genome for step in found}) == 2
        drawn |= {step.genome for step in found}
    assert drawn == {step.genome for step in every}
    whole = neighbours(
        SPACE,
        (0, 0, 1),
        lambda _: False,
        most=9,
        order=drawn_order(SPACE, np.random.default_rng(0)),
    )
    assert sorted(whole, key=lambda step: step.genome) == sorted(
        every, key=lambda step: step.genome
    )
