import json
import random
import threading
from collections.abc import Sequence
from itertools import islice
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clso.errors import ArtifactError
from clso.genome import GenomeSpace
from search.toolbox import WORST_LOSS, Child, Operators, Parent


def space_of(cardinalities: Sequence[int], exchangeable: Sequence[int] = ()) -> GenomeSpace:
    space = GenomeSpace.of(cardinalities)
    return GenomeSpace(space.slots, exchangeable=tuple(exchangeable))


def operators(
    cardinalities: Sequence[int],
    *,
    seed: int = 0,
    crossover: Literal["uniform", "two_point"] = "uniform",
    crossover_rate: float = 0.75,
    mutation_rate: float = 0.3,
    tournament_size: int = 3,
    exchangeable: Sequence[int] = (),
) -> Operators:
    return Operators(
        space_of(cardinalities, exchangeable),
        crossover=crossover,
        crossover_rate=crossover_rate,
        mutation_rate=mutation_rate,
        tournament_size=tournament_size,
        seed=seed,
    )


def children(made: Operators, parents: Sequence[Parent], count: int) -> list[Child]:
    return list(islice(made.offspring(parents), count))


@given(
    cardinalities=st.lists(st.integers(1, 9), min_size=1, max_size=6),
    crossover=st.sampled_from(["uniform", "two_point"]),
    mutation_rate=st.floats(0, 1),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=60, deadline=None)
def test_every_bred_gene_stays_within_its_slot(
    cardinalities: list[int],
    crossover: Literal["uniform", "two_point"],
    mutation_rate: float,
    seed: int,
) -> None:
    made = operators(cardinalities, seed=seed, crossover=crossover, mutation_rate=mutation_rate)
    genomes = [made.random_genome() for _ in range(4)]
    bred = children(made, [Parent(genome, 1.0) for genome in genomes], 12)
    for genome in [*genomes, *(child.genome for child in bred)]:
        assert len(genome) == len(cardinalities)
        assert all(type(gene) is int for gene in genome)
        assert all(0 <= gene < c for gene, c in zip(genome, cardinalities, strict=True))


@pytest.mark.parametrize("crossover", ["uniform", "two_point"])
def test_crossover_alone_keeps_genes_at_their_place(
    crossover: Literal["uniform", "two_point"],
) -> None:
    made = operators([100] * 6, crossover=crossover, mutation_rate=0.0)
    parents = [Parent((i,) * 6, 1.0) for i in range(5)]
    for child in children(made, parents, 100):
        assert child.origin == "crossover"
        assert set(child.genome) <= set(range(5))
        assert len(set(child.genome)) <= 2


def test_mutation_reaches_the_last_option_of_a_slot() -> None:
    made = operators([3, 5], mutation_rate=1.0)
    seen = {child.genome for child in children(made, [Parent((0, 0), 1.0)], 300)}
    assert len(seen) == 15


def test_origin_is_mutation_only_where_a_gene_changed() -> None:
    made = operators([50] * 4, crossover_rate=0.0, mutation_rate=0.2)
    parent = Parent((7, 7, 7, 7), 1.0)
    for child in children(made, [parent], 200):
        assert (child.origin == "mutation") == (child.genome != parent.genome)


def test_selection_prefers_low_losses_and_breeding_leaves_parents_alone() -> None:
    parents = [Parent((i,), float(i)) for i in range(10)]
    made = operators([10], mutation_rate=0.0, tournament_size=3)
    bred = [child.genome[0] for child in children(made, parents, 400)]
    assert sum(bred) / 400 < 3.2  # the mean of the lowest of three is 2.0, of one 4.5
    assert parents == [Parent((i,), float(i)) for i in range(10)]


def test_a_failed_parent_loses_every_tournament_it_shares() -> None:
    parents = [Parent((0,), WORST_LOSS), Parent((1,), 5.0)]
    made = operators([2], mutation_rate=0.0, tournament_size=40)
    assert {child.genome for child in children(made, parents, 50)} == {(1,)}


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_cannot_enter_selection(loss: float) -> None:
    with pytest.raises(ValueError, match="finite loss"):
        next(operators([2]).offspring([Parent((0,), loss)]))


def test_state_survives_json_and_continues_the_same_stream() -> None:
    made = operators([64] * 8)
    parents = [Parent(made.random_genome(), float(i)) for i in range(6)]
    children(made, parents, 7)
    state = json.loads(json.dumps(made.state()))
    expected = children(made, parents, 20)
    other = operators([64] * 8, seed=99)
    other.restore(state)
    assert children(other, parents, 20) == expected


def test_a_damaged_state_is_refused() -> None:
    with pytest.raises(ArtifactError, match="random state is damaged"):
        operators([2]).restore([3, [1, 2], None])


def test_the_global_generator_is_neither_read_nor_moved() -> None:
    before = random.getstate()
    parents = [Parent((i, i), float(i)) for i in range(5)]
    expected = children(operators([9, 9]), parents, 50)
    assert random.getstate() == before

    stop = threading.Event()

    def disturb() -> None:
        while not stop.is_set():
            random.random()

    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        assert children(operators([9, 9]), parents, 50) == expected
    finally:
        stop.set()
        thread.join()
    random.setstate(before)


SET = [20] * 6


@given(
    size=st.integers(1, 8),
    options=st.integers(1, 12),
    crossover=st.sampled_from(["uniform", "two_point"]),
    mutation_rate=st.floats(0, 1),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=60, deadline=None)
def test_a_bred_set_picks_nothing_twice(
    size: int,
    options: int,
    crossover: Literal["uniform", "two_point"],
    mutation_rate: float,
    seed: int,
) -> None:
    made = operators(
        [*[options] * size, 3],
        seed=seed,
        crossover=crossover,
        mutation_rate=mutation_rate,
        exchangeable=range(size),
    )
    genomes = [made.random_genome() for _ in range(4)]
    bred = children(made, [Parent(genome, 1.0) for genome in genomes], 12)
    for genome in [*genomes, *(child.genome for child in bred)]:
        picked = [gene for gene in genome[:size] if gene]
        assert len(set(picked)) == len(picked)
        assert all(0 <= gene < options for gene in genome[:size])


@pytest.mark.parametrize("crossover", ["uniform", "two_point"])
def test_children_of_sets_keep_what_both_parents_pick_wherever_it_stands(
    crossover: Literal["uniform", "two_point"],
) -> None:
    made = operators(SET, crossover=crossover, mutation_rate=0.0, exchangeable=range(6))
    parents = [Parent((1, 2, 3, 4, 5, 6), 1.0), Parent((9, 8, 3, 1, 2, 7), 1.0)]
    for child in children(made, parents, 100):
        assert {1, 2, 3} < set(child.genome) <= {1, 2, 3, 4, 5, 6, 7, 8, 9}
        assert len(set(child.genome)) == 6


def test_parents_with_repeated_picks_still_breed() -> None:
    made = operators(SET, mutation_rate=0.3, exchangeable=range(6))
    parents = [Parent((4, 4, 4, 0, 0, 5), 1.0), Parent((5, 5, 0, 4, 4, 4), 1.0)]
    for child in children(made, parents, 100):
        assert len(child.genome) == 6
        assert all(0 <= gene < 20 for gene in child.genome)


def test_sets_of_any_size_are_drawn_and_stay_balanced_under_mutation_alone() -> None:
    made = Operators(
        space_of([30] * 8 + [3], range(8)),
        crossover="uniform",
        crossover_rate=0.0,
        mutation_rate=0.5,
        tournament_size=2,
        seed=5,
        any_size=True,
    )

    def size(genome: Sequence[int]) -> int:
        return sum(gene > 0 for gene in genome[:8])

    drawn = [made.random_genome() for _ in range(300)]
    assert {size(genome) for genome in drawn} == set(range(9))
    for genome in drawn:
        picked = [gene for gene in genome[:8] if gene]
        assert len(picked) == len(set(picked))
    # a child of the full and of the empty set loses and gains about as much
    lost, gained = (
        [size(child.genome) for child in children(made, [Parent(parent, 0.0)], 300)]
        for parent in ((*range(1, 9), 0), (0,) * 9)
    )
    assert 8 - sum(lost) / 300 == pytest.approx(2.0, abs=0.3)
    assert sum(gained) / 300 == pytest.approx(2.0, abs=0.3)
