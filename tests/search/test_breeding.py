from collections.abc import Callable

import pytest

from clso.genome import Genome, GenomeSpace, Slot
from search.archive import Archive, Scored
from search.breeding import breed, draw
from search.toolbox import Operators, Parent


def space_of(
    *cardinalities: int, canonicalize: Callable[[Genome], Genome] = lambda g: g
) -> GenomeSpace:
    return GenomeSpace(tuple(Slot(f"g{i}", c) for i, c in enumerate(cardinalities)), canonicalize)


def operators_for(space: GenomeSpace, mutation_rate: float = 0.3) -> Operators:
    return Operators(
        space,
        crossover="uniform",
        crossover_rate=0.75,
        mutation_rate=mutation_rate,
        tournament_size=2,
        seed=0,
    )


def test_the_first_draw_has_no_two_genomes_of_one_meaning() -> None:
    space = space_of(6, 6, canonicalize=lambda g: tuple(sorted(g)))
    drawn = draw(operators_for(space), 15)
    assert len({one.canonical for one in drawn}) == 15
    assert {one.origin for one in drawn} == {"init"}


def test_a_space_smaller_than_the_population_is_drawn_once() -> None:
    space = space_of(2, 2)
    assert len(draw(operators_for(space), 10)) == 4


def test_evaluated_children_are_cached_with_their_measured_loss() -> None:
    space, archive = space_of(50, 50), Archive()
    archive.add(Scored((3, 4), (3, 4), 1.25))
    operators = operators_for(space, mutation_rate=0.2)
    children = breed(
        operators, [Parent((3, 4), 1.25)], archive, places=8, factor=1.0, present=set()
    )
    known = [child for child in children if child.canonical == (3, 4)]
    assert len(children) == 8
    assert [(one.status, one.evaluated_loss) for one in known] == [("cached", 1.25)]
    assert all(child.status is None for child in children if child not in known)


def test_no_child_repeats_another_or_what_is_present() -> None:
    space = space_of(6, 6)
    parents = [Parent((i, i), float(i)) for i in range(4)]
    children = breed(
        operators_for(space),
        parents,
        Archive(),
        places=20,
        factor=1.0,
        present={(0, 0), (1, 1)},
    )
    forms = [child.canonical for child in children]
    assert len(forms) == len(set(forms)) == 20
    assert not {(0, 0), (1, 1)} & set(forms)


def test_a_failed_genome_never_comes_back() -> None:
    space, archive = space_of(2), Archive()
    archive.add(Scored((0,), (0,), None))
    children = breed(
        operators_for(space), [Parent((0,), 1.0)], archive, places=2, factor=1.0, present=()
    )
    assert [child.canonical for child in children] == [(1,)]


def test_uniform_draws_help_where_breeding_only_repeats() -> None:
    space = space_of(40)
    children = breed(
        operators_for(space, mutation_rate=0.0),
        [Parent((5,), 1.0)],
        Archive(),
        places=4,
        factor=1.0,
        present=set(),
    )
    assert [child.origin for child in children] == ["crossover", "random", "random", "random"]


@pytest.mark.parametrize("factor", [1.0, 2.5])
def test_the_pool_has_factor_unknown_children_per_place_left(factor: float) -> None:
    space, archive = space_of(30, 30, 30), Archive()
    for i in range(10):
        archive.add(Scored((i, i, i), (i, i, i), float(i)))
    parents = [Parent((i, i, i), float(i)) for i in range(10)]
    children = breed(
        operators_for(space, mutation_rate=0.05),
        parents,
        archive,
        places=10,
        factor=factor,
        present=set(),
    )
    n_cached = sum(child.status == "cached" for child in children)
    assert 0 < n_cached < 10
    assert len(children) - n_cached == -(-factor * (10 - n_cached) // 1)
