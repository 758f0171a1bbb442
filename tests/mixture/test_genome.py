from hypothesis import given
from hypothesis import strategies as st

from clso.mixture.genome import mixture_space, picks

SPACE = mixture_space(4, 6, 3)
GENOMES = st.tuples(*[st.integers(0, 6)] * 4, st.integers(0, 2))


@given(GENOMES)
def test_the_canonical_form_is_idempotent_and_means_the_same(genome: tuple[int, ...]) -> None:
    canonical = SPACE.canonical(genome)
    assert SPACE.canonical(canonical) == canonical
    assert picks(canonical) == picks(genome)


@given(GENOMES, st.permutations(range(4)))
def test_neither_order_nor_repetition_matters(genome: tuple[int, ...], order: list[int]) -> None:
    shuffled = (*(genome[place] for place in order), genome[-1])
    assert SPACE.canonical(shuffled) == SPACE.canonical(genome)


def test_without_functions_the_bucketing_does_not_matter() -> None:
    assert SPACE.canonical((0, 0, 0, 0, 2)) == (0, 0, 0, 0, 0)
    assert SPACE.canonical((3, 0, 3, 1, 2)) == (1, 3, 0, 0, 2)


def test_the_slots_but_the_bucketing_are_exchangeable() -> None:
    assert SPACE.exchangeable == (0, 1, 2, 3)
    assert SPACE.cardinalities == (7, 7, 7, 7, 3)
